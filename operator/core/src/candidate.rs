//! Who could be promoted, who is the best of them, and why the others cannot (V3). One judgement,
//! which the planner acts on and people read.

use standby_core::{Epoch, NodeId, View};

use crate::judge;
use crate::observe::{NodeFacts, NodeReport, NodeRole, Observation};

/// Whether a node could be promoted now without losing anything, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandidateVerdict {
    /// The pod's name.
    pub name: String,
    /// The node, when its volume is known.
    pub node: Option<NodeId>,
    /// It could.
    pub promotable: bool,
    /// Why, or why not; one line.
    pub why: String,
}

/// Why a complete node that reports must not lead all the same.
fn barred(observation: &Observation, view: &View, report: &NodeReport) -> Option<String> {
    if observation.cluster.orders.fences(&report.node.name) {
        return Some("it is fenced".into());
    }
    if !report.doubt.is_empty() && !report.doubts_primary {
        return Some(format!("it refuses: {}", report.doubt));
    }
    if report.epoch() > view.epoch.max(Epoch(1)) {
        return Some(format!(
            "it has adopted epoch {}, above the recorded one",
            report.epoch()
        ));
    }
    let mut doubters = judge::doubters(observation, view).peekable();
    if doubters.peek().is_some() && !doubters.any(|doubter| doubter.node == report.node) {
        return Some("it may have cut acknowledged writes after a primary that lacks them".into());
    }
    None
}

/// Nodes that could be promoted, the best first. `itself`: the old primary is one of them.
pub(crate) fn promotable(observation: &Observation, view: &View, itself: bool) -> Vec<NodeId> {
    let mut nodes: Vec<(u8, _, std::cmp::Reverse<_>, NodeId)> = view
        .complete
        .iter()
        .filter(|node| itself || **node != view.primary)
        .filter_map(|node| {
            let report = observation.live(node)?;
            if barred(observation, view, report).is_some() {
                return None;
            }
            // A node that is about to go is the last resort.
            let going = !observation.node(&node.name)?.stays() || report.wants_handover;
            let rank = match (
                going,
                view.synchronous.contains(node),
                *node == view.primary,
            ) {
                (false, true, _) => 0,
                (false, false, false) => 1,
                (false, false, true) => 2,
                (true, ..) => 3,
            };
            let place = observation.place(&node.name);
            Some((rank, place, std::cmp::Reverse(report.last), node.clone()))
        })
        .collect();
    nodes.sort();
    nodes.into_iter().map(|(.., node)| node).collect()
}

/// The best of [`promotable`].
pub(crate) fn best(observation: &Observation, view: &View, itself: bool) -> Option<NodeId> {
    promotable(observation, view, itself).into_iter().next()
}

/// Judges every node there is, in order of their names.
#[must_use]
pub fn candidates(observation: &Observation) -> Vec<CandidateVerdict> {
    let Some(view) = observation.view() else {
        return observation
            .nodes
            .keys()
            .map(|name| CandidateVerdict {
                name: name.clone(),
                node: None,
                promotable: false,
                why: "no view is recorded yet".into(),
            })
            .collect();
    };
    observation
        .nodes
        .iter()
        .map(|(name, facts)| candidate(observation, view, name, facts))
        .collect()
}

fn candidate(
    observation: &Observation,
    view: &View,
    name: &str,
    facts: &NodeFacts,
) -> CandidateVerdict {
    let verdict = |node: Option<&NodeId>, promotable: bool, why: String| CandidateVerdict {
        name: name.to_owned(),
        node: node.cloned(),
        promotable,
        why,
    };
    let recorded = view.complete.iter().find(|node| node.name == name);
    let Some(report) = facts.live() else {
        let why =
            judge::gone_for_operator(facts).unwrap_or_else(|| "it has not reported yet".into());
        return verdict(recorded, false, why);
    };
    let node = Some(&report.node);
    if !view.complete.contains(&report.node) {
        let why = match recorded {
            Some(was) => format!(
                "it runs on volume {}; the one with every acknowledged write was {}",
                report.node.volume, was.volume
            ),
            None => format!(
                "it may lack acknowledged writes: not complete in epoch {}",
                view.epoch
            ),
        };
        return verdict(node, false, why);
    }
    if let Some(why) = barred(observation, view, report) {
        return verdict(node, false, why);
    }
    if report.node == view.primary {
        let why = match report.role {
            NodeRole::Restarted => "it was primary, has restarted and has every acknowledged write",
            NodeRole::SteppedDown => "it stepped down and has every acknowledged write",
            _ => "it is primary",
        };
        return verdict(node, true, why.into());
    }
    let why = format!(
        "it has every acknowledged write (complete in epoch {})",
        view.epoch
    );
    verdict(node, true, why)
}
