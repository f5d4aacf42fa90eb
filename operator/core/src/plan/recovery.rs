//! Without a view that the nodes live by: the first one, and going on after the object was lost or
//! restored from a backup (V10).

use standby_core::{NodeId, View};

use super::situation::Situation;
use super::{Phase, Recovery, consent};
use crate::candidate;
use crate::memory::Memory;
use crate::observe::{NodeFacts, NodeReport, NodeRole, Observation};

/// Views that cannot come from the recorded one: those that nodes have adopted, and one that was seen
/// recorded before something older was put back.
pub(super) fn ahead_of<'a>(
    observation: &'a Observation,
    memory: &'a Memory,
    view: &View,
) -> Option<Vec<&'a View>> {
    let mut ahead: Vec<&View> = adopted(observation)
        .filter(|adopted| {
            adopted.cluster_id == view.cluster_id
                && (adopted.epoch > view.epoch || (adopted.epoch == view.epoch && *adopted != view))
        })
        .collect();
    ahead.extend(memory.once_recorded(observation, view.epoch));
    (!ahead.is_empty()).then_some(ahead)
}

fn adopted(observation: &Observation) -> impl Iterator<Item = &View> {
    reports(observation).filter_map(|report| report.view.as_ref())
}

fn reports(observation: &Observation) -> impl Iterator<Item = &NodeReport> {
    observation
        .nodes
        .values()
        .filter_map(|facts: &NodeFacts| facts.report.as_ref())
}

/// No view object. A first view is made only for volumes that never had one (V10).
pub(super) fn without_view(observation: &Observation, memory: &Memory) -> Situation {
    let mut known: Vec<&View> = adopted(observation).collect();
    if let Some(epoch) = known.iter().map(|view| view.epoch).max() {
        known.extend(memory.once_recorded(observation, epoch));
        return recovery(observation, memory, None, &known);
    }
    let mut awaited = Vec::new();
    let mut first: Option<NodeId> = None;
    // Nodes that exist beside the wanted ones have to be asked too: their volumes may hold data.
    for (name, facts) in &observation.nodes {
        match facts.live() {
            Some(report) if !report.doubt.is_empty() => {
                awaited.push(format!("{name} refuses: {}", report.doubt));
            }
            Some(report) if report.cluster_id != observation.cluster.id => {
                awaited.push(format!("{name} belongs to cluster {}", report.cluster_id));
            }
            Some(_) => {}
            None => awaited.push(format!("{name} has not reported")),
        }
    }
    for name in &observation.cluster.wanted {
        match observation.node(name) {
            None => awaited.push(format!("{name} does not exist yet")),
            Some(facts) => {
                if first.is_none() && !observation.cluster.orders.fences(name) {
                    first = facts.live().map(|report| report.node.clone());
                }
            }
        }
    }
    match first {
        Some(node) if awaited.is_empty() => Situation {
            promote: Some(node),
            ..Situation::of(
                Phase::FirstView,
                "there is no view, and every node reports a volume that never had one",
            )
        },
        _ => Situation::of(
            Phase::AwaitingNodes,
            format!(
                "the first view waits for every node: {}",
                awaited.join("; ")
            ),
        ),
    }
}

fn is_recorded(recorded: Option<&View>) -> String {
    recorded.map_or_else(
        || "there is no view object".to_owned(),
        |view| format!("the view object is at epoch {}", view.epoch),
    )
}

/// The view object is missing, or older than the views `known` (V10).
pub(super) fn recovery(
    observation: &Observation,
    memory: &Memory,
    recorded: Option<&View>,
    known: &[&View],
) -> Situation {
    let is = is_recorded(recorded);
    let Some(&highest) = known.iter().max_by_key(|view| view.epoch) else {
        return Situation::of(
            Phase::RecoveryBlocked,
            format!("{is}, and no node reports a view"),
        );
    };
    let (mut missing, evidence) = asked(observation, highest);
    // A primary that works stays: only the object was lost.
    let in_role = observation
        .live(&highest.primary)
        .filter(|report| report.role == NodeRole::Primary && report.doubt.is_empty())
        .map(|report| report.node.clone());
    let promote = in_role.or_else(|| candidate::best(observation, highest, true));
    if promote.is_none() {
        missing.push(format!(
            "no complete node of epoch {} can be reached",
            highest.epoch
        ));
    }
    let nodes = if adopted(observation).any(|adopted| adopted == highest) {
        format!("{is}, but nodes have adopted epoch {}", highest.epoch)
    } else {
        format!("{is}, but epoch {} was recorded before", highest.epoch)
    };
    let mut recovery = Recovery {
        above: highest.epoch,
        evidence: evidence.join(", "),
        loses_up_to: None,
        consent: None,
    };
    if missing.is_empty() {
        return Situation {
            promote,
            recover: Some((highest.clone(), recovery)),
            ..Situation::of(
                Phase::Recovering,
                format!("{nodes}, and every node has been asked"),
            )
        };
    }
    missing.sort();
    missing.dedup();
    let missing = missing.join("; ");
    // Going on without what is acknowledged is another thing than going on without asking everybody.
    if promote.is_none() {
        recovery.loses_up_to = Some(consent::at_risk(observation, memory, highest));
    }
    let promote = promote.or_else(|| furthest(observation));
    let consent = consent::check_recovery(observation, highest, recovery.loses_up_to);
    let consent = consent.and_then(Result::ok);
    let (phase, why) = match consent.filter(|_| promote.is_some()) {
        Some(consent) => {
            recovery.consent = Some(consent.clone());
            let why = format!(
                "{nodes}; {} consented to going on although not every node was asked: {missing}",
                consent.by
            );
            (Phase::Recovering, why)
        }
        None => (
            Phase::RecoveryBlocked,
            format!("{nodes}; going on without loss needs every node: {missing}"),
        ),
    };
    Situation {
        promote,
        recover: Some((highest.clone(), recovery)),
        ..Situation::of(phase, why)
    }
}

/// The node whose log reaches furthest among those that can be asked and take part: with consent it goes
/// on when no complete node can.
fn furthest(observation: &Observation) -> Option<NodeId> {
    observation
        .nodes
        .iter()
        .filter(|(name, _)| !observation.cluster.orders.fences(name))
        .filter_map(|(_, facts)| facts.live())
        .filter(|report| report.doubt.is_empty() && report.cluster_id == observation.cluster.id)
        .max_by_key(|report| (report.last, std::cmp::Reverse(&report.node)))
        .map(|report| report.node.clone())
}

/// Who cannot be asked, or contradicts `highest`; and what the others said.
fn asked(observation: &Observation, highest: &View) -> (Vec<String>, Vec<String>) {
    let mut missing = Vec::new();
    let mut evidence = Vec::new();
    for (name, facts) in &observation.nodes {
        match facts.live() {
            Some(report) => evidence.push(format!("{name} epoch {}", report.epoch())),
            None => missing.push(format!("{name} cannot be asked")),
        }
    }
    for name in &observation.cluster.wanted {
        if observation.node(name).is_none() {
            missing.push(format!("{name} does not exist"));
        }
    }
    for node in highest.complete.iter().chain(&highest.synchronous) {
        if observation.live(node).is_none() {
            missing.push(format!("{node} of epoch {} cannot be asked", highest.epoch));
        }
    }
    if highest.cluster_id != observation.cluster.id {
        missing.push(format!("it is a view of cluster {}", highest.cluster_id));
    }
    for report in reports(observation) {
        if report
            .view
            .as_ref()
            .is_some_and(|v| v.epoch == highest.epoch && v != highest)
        {
            missing.push(format!(
                "{} has another view of epoch {}",
                report.node, highest.epoch
            ));
        }
    }
    (missing, evidence)
}
