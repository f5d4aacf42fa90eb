//! What to do in each state: views, orders to nodes, the read-write address.

use std::collections::BTreeSet;

use standby_core::{Micros, NodeId, View};

use super::{Action, Basis, Phase, Plan, Situation, handover};
use crate::judge;
use crate::limits;
use crate::memory::Memory;
use crate::observe::{NodeFacts, NodeReport, Observation};

/// Plans the hot part: everything that moves the view.
pub(super) fn hot(
    observation: &Observation,
    memory: &Memory,
    situation: &Situation,
    now: Micros,
    plan: &mut Plan,
) {
    if let Some(view) = observation.view() {
        step_with_view(observation, memory, situation, view, now, plan);
    } else {
        step_without_view(observation, situation, plan);
    }
    if let Some(why) = &situation.suspicion {
        let limit = Micros::from_millis(limits::SUSPICION_TOLD_MS);
        let held = memory.suspicion.held(now);
        plan.look_when(held, limit);
        if held >= limit {
            plan.tell("Suspicion", true, why.clone());
        }
    }
    if let Some(why) = doubted_from_outside(observation) {
        plan.tell("PrimaryDoubted", true, why);
    }
    if situation.phase.is_stalled() {
        plan.tell("ActionNeeded", true, situation.why.clone());
    }
}

/// A node that is not complete any more knows of committed entries that the primary lacks: they are
/// lost to the cluster, and its volume is where they can be found (V11).
fn doubted_from_outside(observation: &Observation) -> Option<String> {
    let view = observation.view()?;
    let outside = |report: &&NodeReport| {
        report.doubts_primary
            && report.epoch() == view.epoch
            && !view.complete.contains(&report.node)
    };
    let report = observation
        .nodes
        .values()
        .filter_map(NodeFacts::live)
        .find(outside)?;
    Some(format!(
        "{} refuses {}: {}; acknowledged writes may be lost, keep the volume of {}",
        report.node.name, view.primary.name, report.doubt, report.node.name
    ))
}

fn step_without_view(observation: &Observation, situation: &Situation, plan: &mut Plan) {
    match situation.phase {
        Phase::FirstView => {
            if let Some(primary) = &situation.promote {
                let next = View::first(observation.cluster.id.clone(), primary.clone());
                record(plan, next, Basis::Nothing, &situation.why);
                plan.tell(
                    "FirstView",
                    false,
                    format!("{} becomes primary", primary.name),
                );
            }
        }
        Phase::Recovering => recover(situation, None, plan),
        Phase::Deleting | Phase::ViewUnknown => {}
        _ => {
            push(
                plan,
                BTreeSet::new(),
                false,
                "nodes need to know where their peers are",
            );
            // A primary that works goes on in the view it adopted, whatever became of the object.
            if situation.phase != Phase::RecoveryBlocked {
                plan.act(Action::Withdraw, "no view is recorded");
            }
        }
    }
}

fn step_with_view(
    observation: &Observation,
    memory: &Memory,
    situation: &Situation,
    view: &View,
    now: Micros,
    plan: &mut Plan,
) {
    match situation.phase {
        Phase::Recovering => return recover(situation, Some(view), plan),
        Phase::FailingOver => return promote(observation, situation, view, plan),
        Phase::HandingOver => {
            if situation.promote.is_some() {
                return promote(observation, situation, view, plan);
            }
            if situation.stepped_down.is_some() {
                let limit = Micros::from_millis(limits::DRAIN_MAX_MS);
                plan.look_when(memory.stepped_down.held(now), limit);
            } else {
                let node = view.primary.name.clone();
                plan.tell(
                    "Switchover",
                    false,
                    format!("{node} is relieved: {}", situation.why),
                );
                plan.act(
                    Action::StepDown {
                        node,
                        epoch: view.epoch,
                    },
                    situation.why.clone(),
                );
            }
        }
        Phase::Establishing
        | Phase::ReplacingSynchronous
        | Phase::Alone
        | Phase::PreparingHandover
            if establish(observation, memory, situation, view, now, plan) =>
        {
            return;
        }
        Phase::EndingPromise if renew(observation, situation, view, plan) => return,
        Phase::Deleting | Phase::RecoveryBlocked => return,
        _ => {}
    }
    let awaited = awaited(observation, situation, view);
    let why = match situation.phase {
        Phase::Establishing | Phase::ReplacingSynchronous | Phase::Alone if awaited.is_empty() => {
            "every node must know the recorded view; nobody can be waited for yet"
        }
        _ => "every node must know the recorded view",
    };
    push(
        plan,
        awaited,
        memory.previous_stopped(observation, view),
        why,
    );
    announce(observation, memory, situation, view, now, plan);
    if situation.phase == Phase::Adopting {
        let limit = Micros::from_millis(limits::ADOPT_MAX_MS);
        plan.look_when(memory.adopting.held(now), limit);
    }
}

fn record(plan: &mut Plan, next: View, basis: Basis, why: &str) {
    // The last look before it leaves the core: a breach would lose acknowledged writes.
    let checked = super::check_record(&basis, &next);
    assert!(checked.is_ok(), "a planned view breaks a rule: {checked:?}");
    plan.act(Action::RecordView { next, basis }, why);
}

fn push(plan: &mut Plan, await_nodes: BTreeSet<NodeId>, previous_stopped: bool, why: &str) {
    plan.act(
        Action::Push {
            await_nodes,
            previous_stopped,
        },
        why,
    );
}

fn recover(situation: &Situation, recorded: Option<&View>, plan: &mut Plan) {
    let (Some((highest, recovery)), Some(primary)) = (&situation.recover, &situation.promote)
    else {
        return;
    };
    let next = highest.promote(primary.clone());
    let basis = Basis::Nodes {
        recorded: recorded.cloned(),
        recovery: recovery.clone(),
    };
    plan.tell("ViewRecovered", true, format!("{}: {next}", situation.why));
    record(plan, next, basis, &situation.why);
}

fn promote(observation: &Observation, situation: &Situation, view: &View, plan: &mut Plan) {
    let Some(target) = &situation.promote else {
        return;
    };
    let mut next = view.promote(target.clone());
    let whole: BTreeSet<NodeId> = judge::doubters(observation, view)
        .map(|report| report.node.clone())
        .collect();
    if whole.contains(target) {
        // The others may lack what these know to be committed (V11).
        next.complete = whole;
    }
    let old = &view.primary.name;
    let text = if *target == view.primary {
        format!(
            "{old} goes on as primary in epoch {}: {}",
            next.epoch, situation.why
        )
    } else {
        format!(
            "{} takes over from {old} in epoch {}: {}",
            target.name, next.epoch, situation.why
        )
    };
    let planned = situation.failure.is_none();
    plan.tell(
        if planned { "Switchover" } else { "Failover" },
        !planned,
        text,
    );
    record(plan, next, Basis::View(view.clone()), &situation.why);
}

/// Records the best complete node as synchronous, or the primary as alone where that is wanted.
/// Whether it did.
fn establish(
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
fn renew(observation: &Observation, situation: &Situation, view: &View, plan: &mut Plan) -> bool {
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
fn awaited(observation: &Observation, situation: &Situation, view: &View) -> BTreeSet<NodeId> {
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
        .collect()
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
            && facts.stays()
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
            !connected,
            snapshot,
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

/// The read-write address: the recorded primary's, as soon as it is recorded, or nobody's when it has
/// failed and nobody can be promoted. Otherwise it is left alone: a second change within a second
/// takes up to a second to reach the hosts.
fn announce(
    observation: &Observation,
    memory: &Memory,
    situation: &Situation,
    view: &View,
    now: Micros,
    plan: &mut Plan,
) {
    if matches!(
        situation.phase,
        Phase::FailoverBlocked | Phase::AwaitingPerson | Phase::GaveUp
    ) {
        let held = memory.primary_failed.held(now);
        let limit = Micros::from_millis(limits::BLOCKED_BEFORE_WITHDRAWN_MS);
        if held < limit {
            plan.look_when(held, limit);
            return;
        }
        let why = "the primary has failed and nobody can be promoted: refuse connections at once";
        plan.act(Action::Withdraw, why);
        return;
    }
    let node = &view.primary.name;
    let address = observation
        .node(node)
        .and_then(|facts| facts.pod.as_ref())
        .and_then(|pod| pod.ip.clone());
    if let Some(address) = address {
        let why = format!("{node} is primary in epoch {}", view.epoch);
        plan.act(
            Action::Announce {
                node: node.clone(),
                address,
            },
            why,
        );
    }
}
