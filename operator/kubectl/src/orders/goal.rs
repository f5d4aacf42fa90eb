//! When an order is done, as far as the status tells: what `--wait` waits for. Pure.

use standby_api::{OrderOutcome, OrderStatus, StandbyCluster, StandbyClusterStatus, names};

use crate::document::{OutcomeDocument, short};

/// Texts in the status are cut at about a thousand characters; so much of a value is compared.
const COMPARED_BYTES: usize = 900;

/// What is to come true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Nothing more: it holds as soon as it is written, or held before.
    Nothing,
    /// The operator answers in `status.orders`.
    Answer {
        /// Which order, by its short name.
        order: &'static str,
        /// The annotation's value.
        value: String,
    },
    /// These nodes have no role any more.
    Relieved {
        /// Who.
        nodes: Vec<String>,
        /// The annotation's value: the operator may answer, too.
        value: String,
    },
    /// These pods are there no more.
    Replaced {
        /// The annotation's value.
        value: String,
    },
    /// The operator says that it is paused, or not.
    Paused(bool),
    /// Every node is stopped, or writes are accepted again.
    Asleep(bool),
}

impl Goal {
    /// Whether it is an order that is carried out once, and not a state that lasts.
    #[must_use]
    pub fn is_answered_once(&self) -> bool {
        matches!(self, Self::Answer { .. } | Self::Replaced { .. })
    }

    pub(super) fn answer(annotation: &'static str, value: &str) -> Self {
        Self::Answer {
            order: short(annotation),
            value: value.to_owned(),
        }
    }
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It goes on; what the status says.
    Pending(String),
    /// It has come to an end.
    Ended(OutcomeDocument),
}

/// How far a goal is. `before`: the answers that stood there when the order was given, which are not
/// about this one, even if they are about the same value.
#[must_use]
pub fn progress(goal: &Goal, before: &[OrderStatus], cluster: &StandbyCluster) -> Progress {
    let nothing = StandbyClusterStatus::default();
    let status = cluster.status.as_ref().unwrap_or(&nothing);
    match goal {
        Goal::Nothing => done("nothing was left to do"),
        Goal::Answer { order, value } => answered(order, value, before, status)
            .unwrap_or_else(|| Progress::Pending(phase(status))),
        Goal::Replaced { value } => {
            let order = short(names::ANNOTATION_RESTART);
            match answered(order, value, before, status) {
                // The operator may have seen none of the pods that were to go.
                Some(Progress::Ended(ended)) if ended.outcome == OrderOutcome::Void => {
                    done(&ended.reason)
                }
                Some(answer) => answer,
                None => Progress::Pending(phase(status)),
            }
        }
        Goal::Relieved { nodes, value } => {
            let order = short(names::ANNOTATION_FENCE);
            match answered(order, value, before, status) {
                Some(Progress::Ended(ended)) => Progress::Ended(ended),
                _ if relieved(nodes, status) => done("none of them has a role"),
                other => match gave_up(status) {
                    Some(why) => done(why),
                    None => other.unwrap_or_else(|| Progress::Pending(phase(status))),
                },
            }
        }
        Goal::Paused(on) => {
            let says = status.conditions.iter().any(|condition| {
                condition.type_ == names::CONDITION_RECONCILING && condition.reason == "Paused"
            });
            match (says, *on) {
                (true, true) => done("the operator changes nothing any more"),
                (false, false) => done("the operator goes on"),
                _ => Progress::Pending(phase(status)),
            }
        }
        Goal::Asleep(on) => {
            let seen = status.observed_generation == cluster.metadata.generation;
            let available = status.conditions.iter().any(|condition| {
                condition.type_ == names::CONDITION_AVAILABLE && condition.status == "True"
            });
            match *on {
                true if seen && status.replicas == 0 => done("every node is stopped"),
                false if seen && available => done("writes are accepted"),
                _ => Progress::Pending(phase(status)),
            }
        }
    }
}

fn answered(
    order: &str,
    value: &str,
    before: &[OrderStatus],
    status: &StandbyClusterStatus,
) -> Option<Progress> {
    let answer = status.orders.iter().find(|answer| {
        answer.order == order && same(&answer.value, value) && !before.contains(answer)
    })?;
    if answer.outcome == OrderOutcome::Accepted {
        return Some(Progress::Pending(answer.reason.clone()));
    }
    Some(Progress::Ended(OutcomeDocument {
        outcome: answer.outcome,
        reason: answer.reason.clone(),
        time: Some(answer.time.0),
    }))
}

/// Whether a value in the status, which may be cut, is this one.
fn same(recorded: &str, value: &str) -> bool {
    recorded == value
        || (value.len() > COMPARED_BYTES
            && recorded.len() >= COMPARED_BYTES
            && recorded.as_bytes()[..COMPARED_BYTES] == value.as_bytes()[..COMPARED_BYTES])
}

fn relieved(nodes: &[String], status: &StandbyClusterStatus) -> bool {
    let primary = status.primary.as_ref();
    !primary.is_some_and(|name| nodes.contains(name))
        && !status.synchronous.iter().any(|name| nodes.contains(name))
}

/// Why the primary has stepped down for nobody: it is fenced, and nobody can take over.
fn gave_up(status: &StandbyClusterStatus) -> Option<&str> {
    let stalled = status.conditions.iter().find(|condition| {
        condition.type_ == names::CONDITION_STALLED
            && condition.status == "True"
            && condition.reason == "GaveUp"
    });
    stalled.map(|condition| condition.message.as_str())
}

fn phase(status: &StandbyClusterStatus) -> String {
    let phase = status.phase.as_deref().unwrap_or("no status yet");
    match status.why.as_deref() {
        Some(why) if !why.is_empty() => format!("{phase} ({why})"),
        _ => phase.to_owned(),
    }
}

fn done(reason: &str) -> Progress {
    Progress::Ended(OutcomeDocument {
        outcome: OrderOutcome::Done,
        reason: reason.to_owned(),
        time: None,
    })
}
