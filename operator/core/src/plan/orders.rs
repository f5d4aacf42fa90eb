//! What becomes of each order that a person gave: accepted, refused and why, or past. What is done about
//! the accepted ones follows from the situation, where the same checks are made.

use standby_core::{Epoch, View};

use super::handover::{self, Readiness};
use super::{Phase, Situation, consent};
use crate::candidate;
use crate::judge::FailureReason;
use crate::memory::Memory;
use crate::observe::Observation;
use crate::orders::{Given, NodeOrder};

/// What becomes of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is being carried out, or waits for what it needs.
    Accepted,
    /// It is as it was ordered.
    Done,
    /// It cannot be understood, or would not be safe.
    Refused,
    /// It is for an epoch or a pod that is past; whether it was carried out then is not known here.
    Past,
}

/// What becomes of one order, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderVerdict {
    /// The annotation's name without its prefix.
    pub order: &'static str,
    /// Its value.
    pub value: String,
    /// What becomes of it.
    pub outcome: Outcome,
    /// Why.
    pub reason: String,
}

/// What becomes of every order that stands.
pub(super) fn verdicts(
    observation: &Observation,
    memory: &Memory,
    situation: &Situation,
) -> Vec<OrderVerdict> {
    let given = observation.cluster.orders.given.iter();
    given
        .filter_map(|given| {
            let (outcome, reason) = match &given.error {
                Some(error) => (Outcome::Refused, error.to_string()),
                None => verdict(observation, memory, situation, given)?,
            };
            Some(OrderVerdict {
                order: given.order,
                value: given.value.clone(),
                outcome,
                reason,
            })
        })
        .collect()
}

type Said = (Outcome, String);

fn accepted(reason: impl Into<String>) -> Said {
    (Outcome::Accepted, reason.into())
}

fn done(reason: impl Into<String>) -> Said {
    (Outcome::Done, reason.into())
}

fn refused(reason: impl Into<String>) -> Said {
    (Outcome::Refused, reason.into())
}

fn past(reason: impl Into<String>) -> Said {
    (Outcome::Past, reason.into())
}

fn verdict(
    observation: &Observation,
    memory: &Memory,
    situation: &Situation,
    given: &Given,
) -> Option<Said> {
    let orders = &observation.cluster.orders;
    Some(match given.order {
        "switchover" => {
            let order = orders.switchover.as_ref()?;
            switchover(observation, memory, situation, order)
        }
        "promote" => promote(observation, memory, situation, orders.promote.as_ref()?),
        "accept-data-loss" => accept_loss(observation, memory, situation)?,
        "accept-recovery" => accept_recovery(observation, situation)?,
        "fence" => fence(observation),
        "restart" => restart(observation),
        "paused" if orders.paused => done("the operator changes nothing"),
        _ => return None,
    })
}

/// An order of another epoch than the recorded one.
fn of_another_epoch(memory: &Memory, view: &View, order: &NodeOrder) -> Option<Said> {
    if order.epoch > view.epoch {
        let is = view.epoch;
        return Some(refused(format!(
            "epoch must be the recorded one, {is}, was {}",
            order.epoch
        )));
    }
    if order.epoch == view.epoch {
        return None;
    }
    if view.primary.name == order.node || handed_over(memory, order.epoch) {
        let now = &view.primary.name;
        return Some(done(format!("{now} is primary in epoch {}", view.epoch)));
    }
    let text = format!(
        "epoch {} is past: the recorded one is {}",
        order.epoch, view.epoch
    );
    Some(past(text))
}

/// Whether the last promotion was a switchover that began in `epoch` or in the one after, in which its
/// target had become synchronous.
fn handed_over(memory: &Memory, epoch: Epoch) -> bool {
    memory.failover.as_ref().is_some_and(|last| {
        last.reason == FailureReason::Handover
            && last.recorded.is_some()
            && (last.from == epoch || last.from == epoch.next())
    })
}

fn switchover(
    observation: &Observation,
    memory: &Memory,
    situation: &Situation,
    order: &NodeOrder,
) -> Said {
    let Some(view) = observation.view() else {
        return refused("no view is recorded yet");
    };
    if handover::ordered(observation, view) != Some(order)
        && let Some(said) = of_another_epoch(memory, view, order)
    {
        return said;
    }
    match situation.phase {
        Phase::HandingOver | Phase::PreparingHandover | Phase::FailingOver => {
            return accepted(situation.why.clone());
        }
        Phase::Adopting | Phase::Establishing | Phase::EndingPromise => {
            return accepted(format!("waits: {}", situation.why));
        }
        _ => {}
    }
    let wanted = match handover::check_order(observation, view, order) {
        Ok(wanted) => wanted,
        Err(why) => return refused(why),
    };
    let Some(primary) = observation.live(&view.primary) else {
        return refused(format!("the cluster is not healthy: {}", situation.why));
    };
    let healthy = situation.phase == Phase::Healthy;
    match handover::readiness(observation, view, primary, &wanted, healthy) {
        Readiness::Now | Readiness::Prepare(_) => accepted(wanted.why),
        Readiness::No(why) if healthy => refused(why),
        Readiness::No(why) => refused(format!("{why}: {}", situation.why)),
    }
}

fn promote(
    observation: &Observation,
    memory: &Memory,
    situation: &Situation,
    order: &NodeOrder,
) -> Said {
    let Some(view) = observation.view() else {
        return refused("no view is recorded yet");
    };
    if let Some(said) = of_another_epoch(memory, view, order) {
        return said;
    }
    let target = situation.promote.as_ref();
    match situation.phase {
        Phase::FailingOver if target.is_some_and(|node| node.name == order.node) => {
            accepted(situation.why.clone())
        }
        Phase::HandingOver => accepted(situation.why.clone()),
        Phase::AwaitingPerson | Phase::FailoverBlocked | Phase::GaveUp | Phase::FailingOver => {
            let verdicts = candidate::candidates(observation);
            let verdict = verdicts.into_iter().find(|v| v.name == order.node);
            match verdict {
                None => refused(format!("there is no node {}", order.node)),
                Some(verdict) => refused(format!("{}: {}", order.node, verdict.why)),
            }
        }
        _ => refused(format!(
            "the primary works ({}): use standby.dev/switchover={}@{}",
            situation.why, order.node, view.epoch
        )),
    }
}

fn accept_loss(observation: &Observation, memory: &Memory, situation: &Situation) -> Option<Said> {
    let consent = observation.cluster.orders.accept_loss.as_ref()?;
    let next = i64::try_from(consent.epoch)
        .unwrap_or(i64::MAX)
        .saturating_add(1);
    if observation
        .losses
        .iter()
        .any(|loss| loss.epoch == next && loss.node == consent.node)
    {
        return Some(done(format!(
            "{} was promoted in epoch {next}",
            consent.node
        )));
    }
    if situation.loss.is_some() {
        return Some(accepted(situation.why.clone()));
    }
    let Some(view) = observation.view() else {
        return Some(refused("no view is recorded"));
    };
    if consent.epoch < view.epoch.0 {
        let is = view.epoch;
        return Some(past(format!(
            "epoch {} is past: the recorded one is {is}",
            consent.epoch
        )));
    }
    Some(
        match consent::check_loss(observation, memory, view, consent) {
            Err(why) => refused(why),
            Ok(_) => refused(format!("nothing needs it now: {}", situation.why)),
        },
    )
}

fn accept_recovery(observation: &Observation, situation: &Situation) -> Option<Said> {
    let consent = observation.cluster.orders.accept_recovery.as_ref()?;
    let Some((highest, recovery)) = &situation.recover else {
        let epoch = i64::try_from(consent.epoch).unwrap_or(i64::MAX);
        let used = observation
            .losses
            .iter()
            .any(|loss| loss.epoch > epoch && loss.by == consent.by);
        return Some(if used {
            done("the view was continued")
        } else {
            past(format!("no view has to be recovered: {}", situation.why))
        });
    };
    if recovery.consent.is_some() {
        return Some(accepted(situation.why.clone()));
    }
    let checked = consent::check_recovery(observation, highest, recovery.loses_up_to);
    Some(match checked? {
        Err(why) => refused(why),
        Ok(_) => refused(format!("nobody could go on: {}", situation.why)),
    })
}

fn fence(observation: &Observation) -> Said {
    let fenced = &observation.cluster.orders.fenced;
    let unknown: Vec<&str> = fenced
        .iter()
        .filter(|name| observation.node(name).is_none())
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        return refused(format!("there is no node {}", unknown.join(", ")));
    }
    let Some(view) = observation.view() else {
        return accepted("no view is recorded yet");
    };
    let roles: Vec<String> = fenced
        .iter()
        .filter_map(|name| {
            if view.primary.name == *name {
                Some(format!("{name} is still primary"))
            } else if view.synchronous.iter().any(|node| node.name == *name) {
                Some(format!("{name} is still synchronous"))
            } else {
                None
            }
        })
        .collect();
    if roles.is_empty() {
        done("no fenced node has a role")
    } else {
        accepted(roles.join("; "))
    }
}

fn restart(observation: &Observation) -> Said {
    let standing: Vec<&str> = observation
        .cluster
        .orders
        .restart
        .iter()
        .filter(|(name, uid)| {
            let pod = observation.node(name).and_then(|facts| facts.pod.as_ref());
            pod.is_some_and(|pod| pod.uid == *uid)
        })
        .map(|(name, _)| name.as_str())
        .collect();
    if standing.is_empty() {
        past("none of these pods is there any more")
    } else {
        accepted(format!("still to be replaced: {}", standing.join(", ")))
    }
}
