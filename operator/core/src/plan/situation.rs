//! Which state of the table a cluster is in, derived from the recorded view and the reports alone.

use standby_core::{Micros, NodeId, View};

use super::consent::{self, AcceptedLoss};
use super::handover::{self, Cause, Move, Readiness};
use super::{Phase, Recovery, establish, failed, hibernation, recovery};
use crate::candidate;
use crate::judge::{self, FailureReason, Primary, Synchronous};
use crate::limits;
use crate::memory::Memory;
use crate::observe::{NodeReport, NodeRole, Observation, Recorded};

/// What failed and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The rule.
    pub reason: FailureReason,
    /// In words.
    pub why: String,
}

/// Where a cluster stands, and everything the step needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Situation {
    /// The state.
    pub phase: Phase,
    /// Why, in words.
    pub why: String,
    /// The primary has failed.
    pub failure: Option<Failure>,
    /// Whom to promote now (also: whom the first or the recovered view names).
    pub promote: Option<NodeId>,
    /// The primary has not adopted the recorded view.
    pub adopting: bool,
    /// The primary has stepped down; whether it has drained.
    pub stepped_down: Option<bool>,
    /// No synchronous node acknowledges in a view that should have one.
    pub missing_synchronous: bool,
    /// Synchronous nodes that must be replaced, failed ones (`true`) and leaving ones (`false`).
    pub replace: Vec<(NodeId, bool)>,
    /// The view that recovery starts from (V10).
    pub recover: Option<(View, Recovery)>,
    /// A suspicion that changes nothing, in words.
    pub suspicion: Option<String>,
    /// The planned move that is wanted of the primary.
    pub handover: Option<Move>,
    /// The node that is made synchronous for it first.
    pub prepare: Option<NodeId>,
    /// What a person accepted to lose by promoting [`Situation::promote`].
    pub loss: Option<AcceptedLoss>,
    /// How long this state may last before time alone ends it.
    pub wait_until: Option<Micros>,
    /// Every pod is to end now: nobody writes any more.
    pub end_pods: bool,
}

impl Situation {
    pub(super) fn of(phase: Phase, why: impl Into<String>) -> Self {
        Self {
            phase,
            why: why.into(),
            failure: None,
            promote: None,
            adopting: false,
            stepped_down: None,
            missing_synchronous: false,
            replace: Vec::new(),
            recover: None,
            suspicion: None,
            handover: None,
            prepare: None,
            loss: None,
            wait_until: None,
            end_pods: false,
        }
    }
}

/// Derives the state.
#[must_use]
pub fn situation(observation: &Observation, memory: &Memory, now: Micros) -> Situation {
    if observation.cluster.deleting {
        return Situation::of(Phase::Deleting, "the cluster is being deleted");
    }
    match &observation.recorded {
        Recorded::Unknown => Situation::of(
            Phase::ViewUnknown,
            "the recorded view could not be read yet",
        ),
        _ if observation.cluster.hibernated => hibernation::situation(observation, memory, now),
        Recorded::Absent => recovery::without_view(observation, memory),
        Recorded::View(view) => match recovery::ahead_of(observation, memory, view) {
            Some(views) => recovery::recovery(observation, memory, Some(view), &views),
            None => with_view(observation, memory, view, now),
        },
    }
}

fn with_view(observation: &Observation, memory: &Memory, view: &View, now: Micros) -> Situation {
    match judge::primary(observation, view) {
        Primary::Fine => fine(observation, memory, view, now),
        Primary::Adopting { why } => adopting(observation, memory, view, why, now),
        Primary::Suspected { why } => suspected(observation, memory, view, why, now),
        Primary::SteppedDown { drained } => {
            failed::stepped_down(observation, memory, view, drained, now)
        }
        Primary::Failed { reason, why } => {
            failed::failed(observation, memory, view, Failure { reason, why }, now)
        }
    }
}

/// The primary is told its view and has not stored it. One that answers and still cannot do that for long
/// has a disk that hangs or is full, and says nothing of it: whoever else has everything leads instead.
fn adopting(
    observation: &Observation,
    memory: &Memory,
    view: &View,
    why: String,
    now: Micros,
) -> Situation {
    let held = memory.adopting.held(now);
    let overdue = held >= Micros::from_millis(limits::ADOPT_MAX_MS);
    let behind = observation
        .live(&view.primary)
        .is_some_and(|report| report.epoch() < view.epoch);
    let stuck = overdue && behind && candidate::best(observation, view, false).is_some();
    let situation = if stuck {
        let failure = Failure {
            reason: FailureReason::WritePathStuck,
            why: format!("{why} for {} ms", held.as_millis()),
        };
        failed::failed(observation, memory, view, failure, now)
    } else {
        Situation::of(Phase::Adopting, why)
    };
    Situation {
        adopting: true,
        ..situation
    }
}

/// Only the operator has lost it. If nobody but it has everything, a person may give up on it all the same.
fn suspected(
    observation: &Observation,
    memory: &Memory,
    view: &View,
    why: String,
    now: Micros,
) -> Situation {
    if led_in_another_pod(observation, memory, view) {
        let name = &view.primary.name;
        let failure = Failure {
            reason: FailureReason::PodGone,
            why: format!("the pod that {name} led in does not exist, another was made since"),
        };
        return failed::failed(observation, memory, view, failure, now);
    }
    if view.alone
        && let Some(loss) = consent::accepted_loss(observation, memory, view)
    {
        let failure = Failure {
            reason: FailureReason::Unreachable,
            why: why.clone(),
        };
        return failed::with_loss(loss, &why, Some(failure));
    }
    Situation {
        suspicion: Some(why.clone()),
        ..Situation::of(Phase::Suspected, why)
    }
}

/// Whether the primary was seen to lead in a pod that is not there any more. What that pod's process said
/// went with its stream; this is what is remembered of it.
fn led_in_another_pod(observation: &Observation, memory: &Memory, view: &View) -> bool {
    let pod = observation
        .node(&view.primary.name)
        .and_then(|facts| facts.pod.as_ref());
    let holder = memory
        .holder
        .as_ref()
        .filter(|holder| holder.node == view.primary);
    matches!((pod, holder), (Some(pod), Some(holder)) if pod.uid != holder.pod_uid)
}

/// The primary works. Ought it to hand over its role, and can it?
fn fine(observation: &Observation, memory: &Memory, view: &View, now: Micros) -> Situation {
    let Some(primary) = observation.live(&view.primary) else {
        return Situation::of(Phase::Adopting, "the primary has not reported");
    };
    let mut situation = in_role(observation, view, primary);
    let Some(wanted) = handover::wanted(observation, memory, view, now) else {
        return situation;
    };
    let healthy = situation.phase == Phase::Healthy;
    match handover::readiness(observation, view, primary, &wanted, healthy) {
        Readiness::Now => Situation {
            handover: Some(wanted.clone()),
            ..Situation::of(Phase::HandingOver, wanted.why)
        },
        Readiness::Prepare(target) => Situation {
            why: format!("{}; {} is made synchronous first", wanted.why, target.name),
            phase: Phase::PreparingHandover,
            handover: Some(wanted),
            prepare: Some(target),
            ..situation
        },
        Readiness::No(_) if gives_up(observation, view, primary, &wanted, &situation) => {
            Situation {
                handover: Some(wanted.clone()),
                ..Situation::of(
                    Phase::HandingOver,
                    format!("{}, and nobody can take over: writes stop", wanted.why),
                )
            }
        }
        // A wish that can wait is told where it was expressed.
        Readiness::No(_) if wanted.cause >= Cause::Ordered => Situation {
            handover: Some(wanted),
            ..situation
        },
        Readiness::No(why) => {
            let note = format!("{}, but {why}", wanted.why);
            situation.why = format!("{}; {note}", situation.why);
            situation.suspicion = Some(note);
            situation.handover = Some(wanted);
            situation
        }
    }
}

/// A fenced primary gives up its role even if nobody can take over, unless somebody is about to be
/// able to.
fn gives_up(
    observation: &Observation,
    view: &View,
    primary: &NodeReport,
    wanted: &Move,
    situation: &Situation,
) -> bool {
    wanted.cause == Cause::Fenced
        && establish::targets(observation, situation, view, primary).is_empty()
}

/// The primary is in its role. How are those it waits for?
fn in_role(observation: &Observation, view: &View, primary: &NodeReport) -> Situation {
    debug_assert_eq!(primary.role, NodeRole::Primary);
    if !view.can_acknowledge() {
        Situation {
            missing_synchronous: true,
            ..Situation::of(
                Phase::Establishing,
                format!("epoch {} has no synchronous node yet", view.epoch),
            )
        }
    } else if view.alone {
        alone(observation, view, primary)
    } else {
        synchronous(observation, view, primary)
    }
}

fn alone(observation: &Observation, view: &View, primary: &NodeReport) -> Situation {
    if let Some(why) = broken_promise(observation, view, primary) {
        return Situation::of(Phase::EndingPromise, why);
    }
    Situation::of(
        Phase::Alone,
        format!("{} acknowledges by itself", view.primary.name),
    )
}

fn synchronous(observation: &Observation, view: &View, primary: &NodeReport) -> Situation {
    let mut words = Vec::new();
    let mut replace = Vec::new();
    let mut suspicion = None;
    for node in &view.synchronous {
        match judge::synchronous(observation, primary, node) {
            Synchronous::Fine => {}
            Synchronous::Unheard { why } if establish::stands_by(observation, view, primary) => {
                words.push(why);
                replace.push((node.clone(), true));
            }
            Synchronous::Suspected { why } | Synchronous::Unheard { why } => suspicion = Some(why),
            Synchronous::Leaving { why } => {
                words.push(why);
                replace.push((node.clone(), false));
            }
            Synchronous::Failed { why } => {
                words.push(why);
                replace.push((node.clone(), true));
            }
        }
    }
    let missing = replace.iter().any(|(_, failed)| *failed);
    // Those that will leave still acknowledge: writes wait for nobody but the one that was promised.
    let broken = broken_promise(observation, view, primary).filter(|_| !missing);
    if let Some(why) = broken {
        return Situation {
            suspicion,
            ..Situation::of(Phase::EndingPromise, why)
        };
    }
    if !replace.is_empty() {
        return Situation {
            missing_synchronous: missing,
            replace,
            suspicion,
            ..Situation::of(Phase::ReplacingSynchronous, words.join("; "))
        };
    }
    let names: Vec<&str> = view.synchronous.iter().map(|n| n.name.as_str()).collect();
    let mut why = format!(
        "{} acknowledges with {}",
        view.primary.name,
        names.join(", ")
    );
    if let Some(suspicion) = &suspicion {
        why = format!("{why}; {suspicion}");
    }
    Situation {
        suspicion,
        ..Situation::of(Phase::Healthy, why)
    }
}

/// A node that was promised and is not in the view keeps writes waiting: a promise ends only with
/// the epoch.
fn broken_promise(observation: &Observation, view: &View, primary: &NodeReport) -> Option<String> {
    let limit = Micros::from_millis(limits::AWAITED_STALLED_MS);
    primary.peers.iter().find_map(|peer| {
        let promised = peer.awaited && !view.synchronous.contains(&peer.node);
        if !promised {
            return None;
        }
        // A node that refuses (its volume was rolled back, V11) will never have everything.
        let refuses = observation
            .live(&peer.node)
            .filter(|report| !report.doubt.is_empty());
        if let Some(report) = refuses {
            return Some(format!(
                "{} was told to wait for {}, which refuses: {}",
                primary.node.name, peer.node.name, report.doubt
            ));
        }
        let stalled = judge::stalled_by(primary, &peer.node).is_some_and(|w| w >= limit);
        let lost = !judge::peer_alive(observation, peer);
        (stalled || lost).then(|| {
            format!(
                "{} was told to wait for {}, which does not keep up",
                primary.node.name, peer.node.name
            )
        })
    })
}
