//! The primary has failed, or has stepped down: who follows it, what holds that up, and who has to be
//! asked.

use standby_core::{Micros, NodeId, View};

use super::consent::{self, AcceptedLoss};
use super::situation::{Failure, Situation};
use super::{Phase, handover, hearing};
use crate::candidate;
use crate::judge::{self, FailureReason};
use crate::limits;
use crate::memory::Memory;
use crate::observe::Observation;

/// The complete nodes beside the primary.
fn others(view: &View) -> impl Iterator<Item = &NodeId> {
    view.complete.iter().filter(|node| **node != view.primary)
}

/// It stepped down, for good within the epoch (V8): somebody has to be promoted.
pub(super) fn stepped_down(
    observation: &Observation,
    memory: &Memory,
    view: &View,
    drained: bool,
    now: Micros,
) -> Situation {
    let waited = memory.stepped_down.held(now);
    let overdue = waited >= Micros::from_millis(limits::DRAIN_MAX_MS);
    let name = &view.primary.name;
    let successor = handover::successor(observation, memory, view, now);
    // With no other left to wait for, the one that stepped down has everything itself.
    let nobody_else = successor.as_ref() == Some(&view.primary)
        && others(view).all(|node| {
            let facts = observation.node(&node.name);
            facts.is_none_or(|facts| judge::gone_for_operator(facts).is_some())
        });
    if successor.is_none() {
        let why = format!("{name} stepped down, and nobody can take over");
        let loss = consent::accepted_loss(observation, memory, view);
        return match loss {
            Some(loss) => with_loss(loss, &why, None),
            None => Situation {
                stepped_down: Some(drained),
                ..Situation::of(Phase::GaveUp, why)
            },
        };
    }
    let why = if nobody_else {
        format!("{name} stepped down, and nobody else can take over")
    } else if drained {
        format!("{name} stepped down and the synchronous node has everything")
    } else {
        format!("{name} stepped down in epoch {} and drains", view.epoch)
    };
    Situation {
        promote: successor.filter(|_| drained || overdue || nobody_else),
        stepped_down: Some(drained),
        ..Situation::of(Phase::HandingOver, why)
    }
}

/// A person accepted what may be lost.
pub(super) fn with_loss(loss: AcceptedLoss, why: &str, failure: Option<Failure>) -> Situation {
    let why = format!(
        "{why}; {} accepted the loss of entries up to {}",
        loss.record.by,
        loss.up_to()
    );
    Situation {
        promote: Some(loss.node.clone()),
        loss: Some(loss),
        failure,
        ..Situation::of(Phase::FailingOver, why)
    }
}

/// The primary has failed (§4).
pub(super) fn failed(
    observation: &Observation,
    memory: &Memory,
    view: &View,
    failure: Failure,
    now: Micros,
) -> Situation {
    let (itself, why) = may_go_on(observation, memory, view, &failure);
    let could = candidate::promotable(observation, view, itself);
    let best = could.first().cloned();
    let ordered = ordered(observation, view, &could);
    if best.is_some()
        && let Some(mut waits) = unconfirmed(observation, memory, view, now)
    {
        waits.why = format!("{why}; {}", waits.why);
        waits.failure = Some(failure);
        return waits;
    }
    if ordered.is_none()
        && best.is_some()
        && observation.cluster.automatic
        && let Some(mut waits) = held_back(observation, memory, &failure, now)
    {
        waits.failure = Some(failure);
        return waits;
    }
    // The old primary may simply go on in a new epoch: nobody has to be asked for that.
    let resumed = could.iter().find(|node| **node == view.primary).cloned();
    let promote = match ordered {
        Some(node) => Some(node),
        None if observation.cluster.automatic => best.clone(),
        None => resumed,
    };
    if promote.is_none()
        && let Some(loss) = consent::accepted_loss(observation, memory, view)
    {
        return with_loss(loss, &why, Some(failure));
    }
    let (phase, why) = match (&promote, &best) {
        (Some(_), _) => (Phase::FailingOver, why),
        (None, Some(could)) => (
            Phase::AwaitingPerson,
            format!(
                "{why}; failover.mode is Manual: restart {}, or annotate \
                 standby.dev/promote={}@{} to promote {}, which has every acknowledged write",
                view.primary.name, could.name, view.epoch, could.name
            ),
        ),
        (None, None) if starting(observation, memory, view, now) => (
            Phase::Starting,
            format!("{why}; a node that has every acknowledged write is being started"),
        ),
        (None, None) => {
            let names: Vec<&str> = view.complete.iter().map(|n| n.name.as_str()).collect();
            (
                Phase::FailoverBlocked,
                format!(
                    "{why}; nobody can be promoted: only {} have every acknowledged write, and \
                     none of them can take over now",
                    names.join(", ")
                ),
            )
        }
    };
    Situation {
        failure: Some(failure),
        promote,
        ..Situation::of(phase, why)
    }
}

/// Whether the old primary may go on by itself, in a new epoch, and what there is to say of its failure:
/// its process restarted, and nothing tells that its volume is not the one it was.
fn may_go_on(
    observation: &Observation,
    memory: &Memory,
    view: &View,
    failure: &Failure,
) -> (bool, String) {
    if failure.reason != FailureReason::Restarted {
        return (false, failure.why.clone());
    }
    match put_back(observation, memory, view) {
        Some(what) => (false, format!("{}; {what}", failure.why)),
        None => (true, failure.why.clone()),
    }
}

/// How the volume of a primary that restarted is known to have been put back to an earlier state (V11):
/// another node that has everything, or it itself before, said that more was committed than its log holds
/// now. Of a single complete node nobody else could have more.
fn put_back(observation: &Observation, memory: &Memory, view: &View) -> Option<String> {
    others(view).next()?;
    let report = observation.live(&view.primary)?;
    let committed = memory.committed_in(view.epoch)?;
    (report.last.index < committed).then(|| {
        format!(
            "its log ends at {}, and entries up to {committed} were committed: its volume was put back \
             to an earlier state (V11)",
            report.last.index
        )
    })
}

/// Whether a node that has everything is on its way, and has not been for long: all pods were deleted
/// at once, or a cluster wakes.
fn starting(observation: &Observation, memory: &Memory, view: &View, now: Micros) -> bool {
    let limit = Micros::from_millis(limits::STARTING_MAX_MS);
    memory.primary_failed.held(now) < limit
        && view.complete.iter().any(|node| {
            let Some(facts) = observation.node(&node.name) else {
                return false;
            };
            let volume = facts.claim.as_ref();
            let kept = volume.is_some_and(|claim| !claim.deleting && !claim.lost);
            let comes = facts.pod.as_ref().is_none_or(|pod| {
                let young = now.since(pod.since) < limit;
                young && pod.deleting_since.is_none() && !pod.over && !pod.container.ended
            });
            // One that reports and cannot be promoted has another volume, or refuses.
            kept && comes && facts.live().is_none() && facts.host_away(now) == Micros(0)
        })
}

/// The node that a person ordered to be promoted in this epoch, if it can be.
fn ordered(observation: &Observation, view: &View, could: &[NodeId]) -> Option<NodeId> {
    let orders = &observation.cluster.orders;
    [&orders.promote, &orders.switchover]
        .into_iter()
        .flatten()
        .filter(|order| order.epoch == view.epoch)
        .find_map(|order| could.iter().find(|node| node.name == order.node))
        .cloned()
}

/// Right after its start an operator knows only what is recorded. If that was restored from a backup, the
/// nodes live by something later, and a failover in what is recorded would go astray until they say so
/// (V10): so all are given a moment to speak, a shorter one if some have confirmed the view.
fn unconfirmed(
    observation: &Observation,
    memory: &Memory,
    view: &View,
    now: Micros,
) -> Option<Situation> {
    let unheard = hearing::unheard(observation, memory, view, now);
    if unheard.is_empty() {
        return None;
    }
    let confirmed = memory.confirmed == Some(view.epoch);
    let why = format!(
        "{} node has confirmed epoch {} since this operator took over: {} may still tell of a later one",
        if confirmed { "not every" } else { "no" },
        view.epoch,
        unheard.join(", ")
    );
    Some(Situation {
        wait_until: Some(hearing::time_to_speak(observation, memory, view)),
        ..Situation::of(Phase::Confirming, why)
    })
}

/// Failovers on suspicion follow each other ever more slowly once there have been as many as the limit
/// says: a network that comes and goes must not send the role around without end. What is proven is never
/// held back, and nobody has to do anything for it to go on.
fn held_back(
    observation: &Observation,
    memory: &Memory,
    failure: &Failure,
    now: Micros,
) -> Option<Situation> {
    let limit = &observation.cluster.policy.limit;
    let count = memory.suspicions(observation, now);
    if !failure.reason.is_suspicion() || count < limit.count {
        return None;
    }
    let doublings = u32::try_from(count - limit.count + 1).unwrap_or(u32::MAX);
    let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
    let wait = Micros(
        observation
            .cluster
            .thresholds
            .silence_max
            .0
            .saturating_mul(factor),
    )
    .min(limit.within);
    if memory.primary_failed.held(now) >= wait {
        return None;
    }
    let why = format!(
        "{}; there were {count} failovers on suspicion within {} s, so this one waits until the \
         suspicion has lasted {} s, or the end of the primary is proven",
        failure.why,
        limit.within.as_millis() / 1_000,
        wait.as_millis() / 1_000
    );
    Some(Situation {
        wait_until: Some(wait),
        ..Situation::of(Phase::HeldBack, why)
    })
}
