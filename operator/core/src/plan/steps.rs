//! What to do in each state: views, orders to nodes, the read-write address.

use std::collections::BTreeSet;

use standby_api::DataLoss;
use standby_core::{Epoch, Micros, NodeId, View};

use super::consent::{self, AcceptedLoss};
use super::{Action, Basis, Phase, Plan, Situation, establish, hearing, hibernation};
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
        step_without_view(observation, memory, situation, plan);
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

fn step_without_view(
    observation: &Observation,
    memory: &Memory,
    situation: &Situation,
    plan: &mut Plan,
) {
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
        Phase::Recovering => recover(observation, memory, situation, None, plan),
        Phase::Deleting | Phase::ViewUnknown => {}
        Phase::Hibernating | Phase::Hibernated => plan.act(Action::Withdraw, &situation.why),
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
        Phase::Recovering => return recover(observation, memory, situation, Some(view), plan),
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
            if establish::establish(observation, memory, situation, view, now, plan) =>
        {
            return;
        }
        Phase::Confirming => {
            if let Some(limit) = situation.wait_until {
                plan.look_when(memory.in_epoch.held(now), limit);
            }
        }
        Phase::HeldBack => {
            plan.tell("FailoverHeldBack", true, situation.why.clone());
            if let Some(limit) = situation.wait_until {
                plan.look_when(memory.primary_failed.held(now), limit);
            }
        }
        Phase::Hibernating | Phase::Hibernated => {
            return hibernation::step(memory, situation, view, now, plan);
        }
        Phase::EndingPromise if establish::renew(observation, situation, view, plan) => return,
        Phase::Deleting | Phase::RecoveryBlocked => return,
        _ => {}
    }
    let awaited = establish::awaited(observation, situation, view);
    let why = match situation.phase {
        Phase::Establishing | Phase::ReplacingSynchronous | Phase::Alone if awaited.is_empty() => {
            "every node must know the recorded view; nobody can be waited for yet"
        }
        _ => "every node must know the recorded view",
    };
    tell(observation, memory, view, now, (awaited, why), plan);
    announce(observation, memory, situation, view, now, plan);
    if situation.phase == Phase::Adopting {
        let limit = Micros::from_millis(limits::ADOPT_MAX_MS);
        plan.look_when(memory.adopting.held(now), limit);
    }
}

/// Tells every node the recorded view, once one has confirmed it or none may still tell of a later one.
fn tell(
    observation: &Observation,
    memory: &Memory,
    view: &View,
    now: Micros,
    (awaited, why): (BTreeSet<NodeId>, &str),
    plan: &mut Plan,
) {
    let heard = hearing::unheard(observation, memory, view, now).is_empty();
    if heard || memory.confirmed == Some(view.epoch) {
        let previous_stopped = memory.previous_stopped(observation, view);
        push(plan, awaited, previous_stopped, why);
    }
}

pub(super) fn record(plan: &mut Plan, next: View, basis: Basis, why: &str) {
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

fn recover(
    observation: &Observation,
    memory: &Memory,
    situation: &Situation,
    recorded: Option<&View>,
    plan: &mut Plan,
) {
    let (Some((highest, recovery)), Some(primary)) = (&situation.recover, &situation.promote)
    else {
        return;
    };
    let mut next = highest.promote(primary.clone());
    if !highest.complete.contains(primary) {
        next.complete = BTreeSet::from([primary.clone()]);
    }
    let consent = recovery.consent.as_ref();
    if consent.is_some() {
        next.epoch = Epoch(
            highest
                .epoch
                .0
                .saturating_add(limits::RECOVERY_EPOCH_MARGIN),
        );
    }
    let kept = consent.map(|consent| consent::recovered(observation, memory, consent, &next));
    let basis = Basis::Nodes {
        recorded: recorded.cloned(),
        recovery: recovery.clone(),
        record: kept,
    };
    plan.tell("ViewRecovered", true, format!("{}: {next}", situation.why));
    record(plan, next, basis, &situation.why);
}

fn promote(observation: &Observation, situation: &Situation, view: &View, plan: &mut Plan) {
    let Some(target) = &situation.promote else {
        return;
    };
    if let Some(loss) = &situation.loss {
        return promote_with_loss(loss, situation, view, plan);
    }
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

/// Promotes a node that may lack acknowledged writes, as a person consented to.
fn promote_with_loss(loss: &AcceptedLoss, situation: &Situation, view: &View, plan: &mut Plan) {
    // As it is recorded: what was given up stands beside the view.
    let next = view
        .promote_with_loss(loss.node.clone(), loss.up_to())
        .without_loss();
    let DataLoss {
        node,
        from,
        by,
        why,
        ..
    } = &loss.record;
    plan.tell(
        "DataLossAccepted",
        true,
        format!(
            "{node} takes over from {} in epoch {} and may lack what was acknowledged after entry \
             {from}, up to entry {}: accepted by {by}: {why}",
            view.primary.name,
            next.epoch,
            loss.up_to()
        ),
    );
    let basis = Basis::Loss {
        view: view.clone(),
        record: loss.record.clone(),
    };
    record(plan, next, basis, &situation.why);
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
        Phase::FailoverBlocked | Phase::AwaitingPerson | Phase::GaveUp | Phase::Starting
    ) {
        let failed = memory.primary_failed.held(now);
        let held = failed.max(memory.stepped_down.held(now));
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
