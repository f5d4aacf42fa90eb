//! `plan` as text.

use super::cluster::options;
use super::standing;
use super::table::{one_line, pairs};
use crate::document::PlanDocument;

/// What comes next, and why.
pub(super) fn plan(document: &PlanDocument) -> String {
    let unseen = || "the operator has not looked at it yet".to_owned();
    let mut rows = vec![
        ("Cluster", document.head.full_name()),
        ("Status", document.phase.clone().unwrap_or_else(unseen)),
    ];
    rows.extend(document.why.clone().map(|why| ("Why", why)));
    if document.paused {
        let text = "yes: nothing of this is done before `kubectl standby resume`";
        rows.push(("Paused", text.into()));
    }
    let standing = standing(&document.orders);
    if !standing.is_empty() {
        rows.push(("Ordered", standing));
    }
    if !document.current {
        let text = "the specification has changed since this was planned";
        rows.push(("Note", text.into()));
    }
    let next = match (document.next.is_empty(), document.paused) {
        (true, _) => "\nNothing is to be done.\n",
        (false, true) => "\nWhat would be done:\n",
        (false, false) => "\nWhat is done next:\n",
    };
    let mut parts = vec![pairs(rows), next.to_owned()];
    for (number, step) in document.next.iter().enumerate() {
        let (action, why) = (one_line(&step.action), one_line(&step.why));
        parts.push(format!(
            "{:>3}. {action}\n     because: {why}\n",
            number + 1
        ));
    }
    let options = options(&document.head, &document.options);
    parts.extend(options.map(|options| format!("\n{options}")));
    parts.concat()
}
