//! From an observation to what shall be done, and why. A plan is a printable value: everything an
//! operator does to a cluster stands in it first, with its reason.
//!
//! Nothing here talks to anybody or reads a clock.

mod action;
mod basis;
mod consent;
mod establish;
mod failed;
pub mod handover;
mod hearing;
mod hibernation;
mod nodes;
mod options;
mod orders;
mod recovery;
pub mod rolling;
mod situation;
mod steps;
mod table;
mod volumes;

#[cfg(test)]
mod consent_tests;
#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod move_tests;
#[cfg(test)]
mod recovery_tests;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod safety_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

use std::fmt;

use standby_core::{Epoch, Index, Micros, View, ViewChange};

use crate::candidate::{self, CandidateVerdict};
use crate::judge::FailureReason;
use crate::limits;
use crate::memory::{Failover, Memory};
use crate::observe::Observation;
use crate::orders::RecoveryConsent;

pub use action::{Action, Planned};
pub use basis::Basis;
pub(crate) use consent::known;
pub use options::Choice;
pub use orders::{OrderVerdict, Outcome};
pub use rolling::Turn;
pub use situation::{Situation, situation};
pub use table::Phase;

/// Why a view is recorded although no rule lets it follow the recorded one (V10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The highest epoch that nodes reported.
    pub above: Epoch,
    /// The nodes that reported, and what; one line.
    pub evidence: String,
    /// The highest index that is known to be at risk, when nobody who can go on has every acknowledged
    /// write.
    pub loses_up_to: Option<Index>,
    /// Somebody could not be asked, and a person consented to going on without.
    pub consent: Option<RecoveryConsent>,
}

/// Something that will be done later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Later {
    /// What.
    pub what: String,
    /// Why, and what it waits for.
    pub why: String,
}

/// Something worth an Event. The shell sends each once, until the topic's text changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The Event's reason, one word.
    pub reason: &'static str,
    /// Type `Warning` instead of `Normal`.
    pub warning: bool,
    /// The Event's text.
    pub message: String,
}

/// What shall be done about one cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Where the cluster stands.
    pub phase: Phase,
    /// Why it stands there.
    pub why: String,
    /// What to do, in this order; after a recorded view the rest is void and planned anew.
    pub actions: Vec<Planned>,
    /// A person paused the cluster: what would be done otherwise.
    pub withheld: Option<Vec<Planned>>,
    /// What to tell.
    pub notices: Vec<Notice>,
    /// What will be done once something that it waits for has come.
    pub later: Vec<Later>,
    /// Who could be promoted now.
    pub candidates: Vec<CandidateVerdict>,
    /// What becomes of the orders of people.
    pub orders: Vec<OrderVerdict>,
    /// What a person can do, when one is needed.
    pub options: Vec<Choice>,
    /// Whose pod must be replaced, and whether it is time.
    pub turn: Turn,
    /// How many pods a drain must leave ready now; none: it has no say.
    pub must_stay: Option<usize>,
    /// Look again after so long even if nothing happens.
    pub requeue_after: Micros,
}

impl Plan {
    fn new(situation: &Situation) -> Self {
        Self {
            phase: situation.phase,
            why: situation.why.clone(),
            actions: Vec::new(),
            withheld: None,
            notices: Vec::new(),
            later: Vec::new(),
            candidates: Vec::new(),
            orders: Vec::new(),
            options: Vec::new(),
            turn: Turn::Done,
            must_stay: None,
            requeue_after: Micros::from_millis(limits::REPLAN_MAX_MS),
        }
    }

    fn act(&mut self, action: Action, why: impl Into<String>) {
        self.actions.push(Planned {
            action,
            why: why.into(),
        });
    }

    fn tell(&mut self, reason: &'static str, warning: bool, message: impl Into<String>) {
        self.notices.push(Notice {
            reason,
            warning,
            message: message.into(),
        });
    }

    /// Time alone will change the plan after `wait`.
    fn look_again(&mut self, wait: Micros) {
        let wait = wait.max(Micros::from_millis(limits::REPLAN_MIN_MS));
        self.requeue_after = self.requeue_after.min(wait);
    }

    /// Looks again when something timed has held for `limit`, if it has not yet.
    fn look_when(&mut self, held: Micros, limit: Micros) {
        if held < limit {
            self.look_again(limit.since(held));
        }
    }

    fn deletes_pods(&self) -> bool {
        self.actions
            .iter()
            .any(|planned| matches!(planned.action, Action::DeletePod { .. }))
    }

    /// The view to be recorded, if any.
    #[must_use]
    pub fn view_to_record(&self) -> Option<(&View, &Basis)> {
        self.actions
            .iter()
            .find_map(|planned| match &planned.action {
                Action::RecordView { next, basis } => Some((next, basis)),
                _ => None,
            })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.phase, self.why)?;
        for planned in &self.actions {
            writeln!(f, "- {}", planned.action)?;
            writeln!(f, "    because {}", planned.why)?;
        }
        for notice in &self.notices {
            let kind = if notice.warning { "Warning" } else { "Normal" };
            writeln!(f, "! {kind} {}: {}", notice.reason, notice.message)?;
        }
        for planned in self.withheld.iter().flatten() {
            writeln!(f, "(withheld) {}", planned.action)?;
            writeln!(f, "    because {}", planned.why)?;
        }
        for Later { what, why } in &self.later {
            writeln!(f, "(later) {what}")?;
            writeln!(f, "    because {why}")?;
        }
        for order in &self.orders {
            let OrderVerdict {
                order,
                value,
                outcome,
                reason,
            } = order;
            writeln!(f, "> {order} {value}: {outcome:?}: {reason}")?;
        }
        for choice in &self.options {
            let node = choice.node.as_deref().unwrap_or("-");
            writeln!(f, "? {} {node}: {}", choice.action, choice.cost)?;
        }
        for verdict in &self.candidates {
            let mark = if verdict.promotable { "+" } else { "-" };
            writeln!(f, "{mark} {}: {}", verdict.name, verdict.why)?;
        }
        Ok(())
    }
}

/// What may be recorded on top of `basis`, checked once more right before writing.
pub fn check_record(basis: &Basis, next: &View) -> Result<ViewChange, standby_core::ViewError> {
    match basis {
        Basis::Nothing => next.check_first().map(|()| ViewChange::First),
        Basis::View(view) => view.check_successor(next),
        Basis::Loss { view, .. } => {
            next.check()?;
            if next.epoch != view.epoch.next() {
                return Err(standby_core::ViewError::EpochNotNext {
                    must: view.epoch.next(),
                    given: next.epoch,
                });
            }
            if next.can_acknowledge() || next.complete.len() != 1 {
                return Err(standby_core::ViewError::NewPrimaryNotBare);
            }
            Ok(ViewChange::Promoted)
        }
        Basis::Nodes {
            recovery, recorded, ..
        } => {
            next.check()?;
            let highest = recorded
                .as_ref()
                .map_or(recovery.above, |v| recovery.above.max(v.epoch));
            if next.epoch <= highest || next.can_acknowledge() {
                return Err(standby_core::ViewError::EpochNotNext {
                    must: highest.next(),
                    given: next.epoch,
                });
            }
            Ok(ViewChange::Promoted)
        }
    }
}

/// Plans for one cluster at `now`. `memory` must have taken in the observation already
/// ([`Memory::observe`]); what the plan itself starts timing is noted in it.
#[must_use]
pub fn plan(observation: &Observation, memory: &mut Memory, now: Micros) -> Plan {
    let situation = situation(observation, memory, now);
    note_times(observation, memory, &situation, now);
    let mut plan = Plan::new(&situation);
    plan.candidates = candidate::candidates(observation);
    steps::hot(observation, memory, &situation, now, &mut plan);
    if situation.phase != Phase::Recovering {
        hearing::hear_first(observation, memory, now, &mut plan);
    }
    nodes::plan(observation, &situation, now, &mut plan);
    if observation.cluster.orders.paused && situation.phase != Phase::Deleting {
        withhold(&mut plan);
    }
    tell_actions(&mut plan);
    plan.orders = orders::verdicts(observation, memory, &situation);
    tell_orders(&mut plan);
    plan.options = options::options(observation, memory, &situation);
    plan.later.extend(handover::later(observation, &situation));
    if observation.cluster.policy.prefers() {
        let limit = Micros::from_millis(limits::PREFERRED_AFTER_MS);
        plan.look_when(memory.healthy.held(now), limit);
    }
    plan
}

/// A paused cluster is watched, and nothing of it is changed. Nodes are still told what is recorded, and
/// the address still follows it: both say what is so already.
fn withhold(plan: &mut Plan) {
    let (kept, withheld) = plan.actions.drain(..).partition(|planned: &Planned| {
        matches!(
            planned.action,
            Action::Push { .. } | Action::Announce { .. }
        )
    });
    plan.actions = kept;
    for planned in &mut plan.actions {
        if let Action::Push { await_nodes, .. } = &mut planned.action {
            await_nodes.clear();
        }
    }
    plan.withheld = Some(withheld);
    // They tell of what would have been done.
    plan.notices
        .retain(|notice| notice.reason == "ActionNeeded");
    plan.tell(
        "Paused",
        true,
        "the operator changes nothing: standby.dev/paused is true",
    );
}

/// An order that is refused is told, once, with the reason.
fn tell_orders(plan: &mut Plan) {
    let refused: Vec<String> = plan
        .orders
        .iter()
        .filter(|order| order.outcome == Outcome::Refused)
        .map(|order| format!("{} {}: {}", order.order, order.value, order.reason))
        .collect();
    for message in refused {
        plan.tell("OrderRefused", true, message);
    }
}

/// What is made and deleted is told too.
fn tell_actions(plan: &mut Plan) {
    for planned in &plan.actions {
        if let Some((reason, warning)) = planned.action.event() {
            plan.notices.push(Notice {
                reason,
                warning,
                message: format!("{}: {}", planned.action, planned.why),
            });
        }
    }
}

/// Starts and stops the clocks of what is timed.
fn note_times(observation: &Observation, memory: &mut Memory, situation: &Situation, now: Micros) {
    let Some(view) = observation.view() else {
        return;
    };
    let epoch = view.epoch;
    let failed = situation.failure.is_some();
    let doubted = failed
        || situation.stepped_down.is_some()
        || matches!(situation.phase, Phase::Suspected | Phase::HandingOver);
    let healthy = matches!(
        situation.phase,
        Phase::Healthy | Phase::PreparingHandover | Phase::HandingOver
    );
    memory.healthy.note(healthy, epoch, now);
    memory.primary_doubted.note(doubted, epoch, now);
    memory
        .suspicion
        .note(situation.suspicion.is_some(), epoch, now);
    memory.primary_failed.note(failed, epoch, now);
    memory
        .synchronous_missing
        .note(situation.missing_synchronous, epoch, now);
    memory.adopting.note(
        situation.adopting || situation.phase == Phase::Adopting,
        epoch,
        now,
    );
    memory
        .stepped_down
        .note(situation.stepped_down.is_some(), epoch, now);
    if let (Phase::FailingOver | Phase::HandingOver, Some(target)) =
        (situation.phase, &situation.promote)
    {
        let (reason, why) = match &situation.failure {
            Some(failure) => (failure.reason, failure.why.clone()),
            None => (FailureReason::Handover, situation.why.clone()),
        };
        memory.failover_decided(Failover {
            from: epoch,
            reason,
            why,
            old: view.primary.name.clone(),
            new: target.name.clone(),
            noticed: memory.primary_doubted.since().unwrap_or(now),
            detected: memory.primary_failed.since().unwrap_or(now),
            recorded: None,
            promoted: None,
            announced: None,
            synchronous: None,
        });
    }
}
