//! `why` as text.

use super::table::{or_none, pairs, table, yes_no};
use crate::document::WhyDocument;
use crate::verdict::Failover;

/// Why each node could, or could not, be promoted.
pub(super) fn why(document: &WhyDocument) -> String {
    let primary = or_none(document.primary.as_deref());
    let primary = match document.epoch {
        Some(epoch) => format!("{primary} (epoch {epoch})"),
        None => primary,
    };
    let verdict = &document.failover;
    let head = pairs([
        ("Cluster", document.head.full_name()),
        ("Primary", primary),
        (
            "Failover",
            format!("{}: {}", words(verdict.verdict), verdict.why),
        ),
    ]);
    if document.candidates.is_empty() {
        return head;
    }
    let rows = document.candidates.iter().map(|node| {
        let reason = if node.fenced && !node.promotable {
            format!("it is fenced; {}", node.reason)
        } else {
            node.reason.clone()
        };
        let health = if node.healthy {
            node.health_reason.clone()
        } else {
            format!("NOT HEALTHY: {}", node.health_reason)
        };
        vec![
            node.name.clone(),
            node.role.as_str().to_owned(),
            yes_no(node.promotable),
            reason,
            health,
        ]
    });
    let nodes = table(&["NODE", "ROLE", "PROMOTABLE", "WHY", "HEALTH"], rows);
    format!("{head}\n{nodes}")
}

fn words(verdict: Failover) -> &'static str {
    match verdict {
        Failover::NotNeeded => "not needed",
        Failover::GoingOn => "going on",
        Failover::Suspected => "suspected, not proven",
        Failover::Blocked => "needed, and not possible",
        Failover::AwaitsPerson => "needed, and waiting for a person",
        Failover::Impossible => "not needed, and not possible",
        Failover::Off => "off",
        Failover::Unknown => "not known",
    }
}
