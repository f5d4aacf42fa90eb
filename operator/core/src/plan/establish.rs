//! Whom the primary waits for: making a node synchronous (V4), going alone (V7), ending a promise.

use std::collections::BTreeSet;

use standby_core::{Micros, NodeId, View};

use super::steps::record;
use super::{Basis, Phase, Plan, Situation, handover, rolling};
use crate::judge;
use crate::limits;
use crate::memory::Memory;
use crate::observe::{NodeFacts, NodeReport, Observation};

/// Records the best complete node as synchronous, or the primary as alone where that is wanted.
/// Whether it did.
pub(super) fn establish(
    observation: &Observation,
    memory: &Memory,
    situation: &Situation,
    view: &View,
    now: Micros,
    plan: &mut Plan,
) -> bool {
    let Some(primary) = observation.live(&view.primary) else {
        return false;
    };
    let targets = targets(observation, situation, view, primary);
    let complete = targets.iter().find(|node| {
        primary
            .peer(node)
            .is_some_and(|p| p.complete && p.connected)
    });
    if let Some(node) = complete {
        let next = view.with_synchronous(BTreeSet::from([node.clone()]));
        let why = format!(
            "{} reports that {} has everything",
            primary.node.name, node.name
        );
        plan.tell(
            "Synchronous",
            false,
            format!("{} is the synchronous standby: {why}", node.name),
        );
        record(plan, next, Basis::View(view.clone()), &why);
        return true;
    }
    let single = observation.cluster.wanted.len() == 1;
    // One copy is all that is asked for, and this is it.
    let by_wish = single && observation.wanted(&view.primary.name) && targets.is_empty();
    let lonely = situation.missing_synchronous || by_wish;
    if view.alone || !lonely || !observation.cluster.may_go_alone {
        return false;
    }
    let held = memory.synchronous_missing.held(now);
    let limit = Micros::from_millis(limits::ALONE_AFTER_MS);
    if held < limit && !targets.is_empty() {
        plan.look_when(held, limit);
        return false;
    }
    let why = format!(
        "durability is Available, and {} ({})",
        if targets.is_empty() {
            "nobody else is left"
        } else {
            "nobody else has everything yet"
        },
        situation.why
    );
    plan.tell(
        "Alone",
        !single,
        format!("{} acknowledges alone: {why}", view.primary.name),
    );
    record(plan, view.go_alone(), Basis::View(view.clone()), &why);
    true
}

/// Records the same nodes anew, which ends every promise of the epoch. Whether it did.
pub(super) fn renew(
    observation: &Observation,
    situation: &Situation,
    view: &View,
    plan: &mut Plan,
) -> bool {
    let Some(primary) = observation.live(&view.primary) else {
        return false;
    };
    let next = if view.alone {
        view.go_alone()
    } else {
        let ready = view
            .synchronous
            .iter()
            .all(|node| primary.peer(node).is_some_and(|peer| peer.complete));
        if !ready {
            return false;
        }
        view.with_synchronous(view.synchronous.clone())
    };
    plan.tell("PromiseEnded", true, situation.why.clone());
    record(plan, next, Basis::View(view.clone()), &situation.why);
    true
}

/// Whom the primary shall wait for.
pub(super) fn awaited(
    observation: &Observation,
    situation: &Situation,
    view: &View,
) -> BTreeSet<NodeId> {
    match situation.phase {
        Phase::Establishing
        | Phase::ReplacingSynchronous
        | Phase::Alone
        | Phase::PreparingHandover => {
            let Some(primary) = observation.live(&view.primary) else {
                return BTreeSet::new();
            };
            targets(observation, situation, view, primary)
                .into_iter()
                .take(limits::AWAIT_NODES_MAX)
                .collect()
        }
        // The promotion is recorded and the new primary has not answered yet: it learns at once whom
        // to wait for, which saves a round trip in a failover.
        Phase::Adopting if !view.can_acknowledge() => targets_by_report(observation, view, None)
            .into_iter()
            .take(limits::AWAIT_NODES_MAX)
            .collect(),
        _ => BTreeSet::new(),
    }
}

/// The nodes that could become synchronous, the best first.
pub(super) fn targets(
    observation: &Observation,
    situation: &Situation,
    view: &View,
    primary: &NodeReport,
) -> Vec<NodeId> {
    if let Some(target) = &situation.prepare {
        return vec![target.clone()];
    }
    // While writes go, a node is waited for only if it can keep up; while they wait, anybody helps.
    let hurry = situation.missing_synchronous;
    targets_by_report(observation, view, Some(primary))
        .into_iter()
        .filter(|node| !situation.replace.iter().any(|(old, _)| old == node))
        .filter(|node| hurry || handover::keeps_up(observation, primary, node))
        // A volume that is about to go is better than writes that wait for ever.
        .filter(|node| hurry || observation.node(&node.name).is_some_and(NodeFacts::stays))
        .collect()
}

/// Whether somebody whom the primary hears could take a synchronous node's place at once.
pub(super) fn stands_by(observation: &Observation, view: &View, primary: &NodeReport) -> bool {
    targets_by_report(observation, view, Some(primary))
        .iter()
        .any(|node| {
            !view.synchronous.contains(node) && handover::keeps_up(observation, primary, node)
        })
}

fn targets_by_report(
    observation: &Observation,
    view: &View,
    primary: Option<&NodeReport>,
) -> Vec<NodeId> {
    let mut nodes = Vec::new();
    for (name, facts) in &observation.nodes {
        let Some(report) = &facts.report else {
            continue;
        };
        let node = &report.node;
        let peer = primary.and_then(|primary| primary.peer(node));
        let heard =
            facts.live().is_some() || peer.is_some_and(|peer| judge::peer_alive(observation, peer));
        let fit = heard
            && *node != view.primary
            && observation.wanted(name)
            && facts.staying_pod().is_some()
            && !observation.cluster.orders.fences(name)
            && report.doubt.is_empty()
            && !report.wants_handover
            && report.cluster_id == view.cluster_id;
        if !fit {
            continue;
        }
        let connected = peer.is_some_and(|peer| judge::peer_alive(observation, peer));
        let snapshot = peer.is_some_and(|peer| peer.in_snapshot);
        let near = same_zone(observation, &view.primary, node);
        let durable = peer.map_or(report.durable, |peer| peer.durable);
        let rank = (
            !facts.stays(),
            !connected,
            snapshot,
            // Whoever has to give the role up again soon comes later.
            rolling::ought_to_go(observation, name),
            !view.complete.contains(node),
            // A standby in another zone survives what the primary does not.
            near,
            observation.place(name),
            std::cmp::Reverse(durable),
        );
        nodes.push((rank, node.clone()));
    }
    nodes.sort();
    nodes.into_iter().map(|(_, node)| node).collect()
}

fn same_zone(observation: &Observation, one: &NodeId, other: &NodeId) -> bool {
    let zone = |node: &NodeId| observation.node(&node.name)?.pod.as_ref()?.zone.clone();
    matches!((zone(one), zone(other)), (Some(a), Some(b)) if a == b)
}
