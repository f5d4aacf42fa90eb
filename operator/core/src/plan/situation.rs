//! Which state of the table a cluster is in, derived from the recorded view and the reports alone.

use standby_core::{Micros, NodeId, View};

use super::handover::{self, Cause, Move, Readiness};
use super::{Phase, Recovery, steps};
use crate::candidate;
use crate::judge::{self, FailureReason, Primary, Synchronous};
use crate::limits;
use crate::memory::Memory;
use crate::observe::{NodeFacts, NodeReport, NodeRole, Observation, Recorded};

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
}

impl Situation {
    fn of(phase: Phase, why: impl Into<String>) -> Self {
        Self {
            phase,
            why: why.into(),
            failure: None,
            promote: None,
            stepped_down: None,
            missing_synchronous: false,
            replace: Vec::new(),
            recover: None,
            suspicion: None,
            handover: None,
            prepare: None,
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
        Recorded::Absent => without_view(observation),
        Recorded::View(view) => match ahead_of(observation, view) {
            Some(reports) => recovery(observation, Some(view), &reports),
            None => with_view(observation, memory, view, now),
        },
    }
}

/// Reports of nodes that have adopted something that cannot come from the recorded view.
fn ahead_of<'a>(observation: &'a Observation, view: &View) -> Option<Vec<&'a NodeReport>> {
    let ahead: Vec<&NodeReport> = reports(observation)
        .filter(|report| {
            report.view.as_ref().is_some_and(|adopted| {
                adopted.cluster_id == view.cluster_id
                    && (adopted.epoch > view.epoch
                        || (adopted.epoch == view.epoch && adopted != view))
            })
        })
        .collect();
    (!ahead.is_empty()).then_some(ahead)
}

fn reports(observation: &Observation) -> impl Iterator<Item = &NodeReport> {
    observation
        .nodes
        .values()
        .filter_map(|facts: &NodeFacts| facts.report.as_ref())
}

/// No view object. A first view is made only for volumes that never had one (V10).
fn without_view(observation: &Observation) -> Situation {
    let adopted: Vec<&NodeReport> = reports(observation)
        .filter(|report| report.view.is_some())
        .collect();
    if !adopted.is_empty() {
        return recovery(observation, None, &adopted);
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
                if first.is_none() {
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

/// The view object is missing, or older than what nodes have adopted (V10).
fn recovery(
    observation: &Observation,
    recorded: Option<&View>,
    ahead: &[&NodeReport],
) -> Situation {
    let is = recorded.map_or_else(
        || "there is no view object".to_owned(),
        |view| format!("the view object is at epoch {}", view.epoch),
    );
    let highest = ahead
        .iter()
        .filter_map(|report| report.view.as_ref())
        .max_by_key(|v| v.epoch);
    let Some(highest) = highest else {
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
    let nodes = format!("{is}, but nodes have adopted epoch {}", highest.epoch);
    if !missing.is_empty() {
        missing.sort();
        missing.dedup();
        let why = format!(
            "{nodes}; going on without loss needs every node: {}",
            missing.join("; ")
        );
        return Situation::of(Phase::RecoveryBlocked, why);
    }
    let recovery = Recovery {
        above: highest.epoch,
        evidence: evidence.join(", "),
    };
    Situation {
        promote,
        recover: Some((highest.clone(), recovery)),
        ..Situation::of(
            Phase::Recovering,
            format!("{nodes}, and every node has been asked"),
        )
    }
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

fn with_view(observation: &Observation, memory: &Memory, view: &View, now: Micros) -> Situation {
    match judge::primary(observation, view) {
        Primary::Fine => fine(observation, memory, view, now),
        Primary::Adopting { why } => Situation::of(Phase::Adopting, why),
        Primary::Suspected { why } => Situation {
            suspicion: Some(why.clone()),
            ..Situation::of(Phase::Suspected, why)
        },
        Primary::SteppedDown { drained } => stepped_down(observation, memory, view, drained, now),
        Primary::Failed { reason, why } => failed(observation, view, Failure { reason, why }),
    }
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
        && steps::targets(observation, situation, view, primary).is_empty()
}

/// The complete nodes beside the primary.
fn others(view: &View) -> impl Iterator<Item = &NodeId> {
    view.complete.iter().filter(|node| **node != view.primary)
}

/// It stepped down, for good within the epoch (V8): somebody has to be promoted.
fn stepped_down(
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
    let why = if successor.is_none() {
        format!("{name} stepped down, and nobody can take over")
    } else if nobody_else {
        format!("{name} stepped down, and nobody else can take over")
    } else if drained {
        format!("{name} stepped down and the synchronous node has everything")
    } else {
        format!("{name} stepped down in epoch {} and drains", view.epoch)
    };
    let phase = if successor.is_none() {
        Phase::GaveUp
    } else {
        Phase::HandingOver
    };
    Situation {
        promote: successor.filter(|_| drained || overdue || nobody_else),
        stepped_down: Some(drained),
        ..Situation::of(phase, why)
    }
}

/// The primary has failed (§4).
fn failed(observation: &Observation, view: &View, failure: Failure) -> Situation {
    let why = failure.why.clone();
    let itself = failure.reason == FailureReason::Restarted;
    let ordered = observation
        .cluster
        .orders
        .promote
        .as_ref()
        .filter(|order| order.epoch == view.epoch)
        .and_then(|order| {
            candidate::promotable(observation, view, itself)
                .into_iter()
                .find(|node| node.name == order.node)
        });
    let best = candidate::best(observation, view, itself);
    let resumed = best_itself(observation, view, itself);
    let promote = if ordered.is_some() {
        ordered
    } else if observation.cluster.automatic {
        best.clone()
    } else {
        resumed
    };
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

/// The old primary, when it may simply go on in a new epoch.
fn best_itself(observation: &Observation, view: &View, itself: bool) -> Option<NodeId> {
    candidate::promotable(observation, view, itself)
        .into_iter()
        .find(|node| *node == view.primary)
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
            Synchronous::Suspected { why } => suspicion = Some(why),
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
    if !replace.is_empty() {
        return Situation {
            missing_synchronous: replace.iter().any(|(_, failed)| *failed),
            replace,
            suspicion,
            ..Situation::of(Phase::ReplacingSynchronous, words.join("; "))
        };
    }
    if let Some(why) = broken_promise(observation, view, primary) {
        return Situation {
            suspicion,
            ..Situation::of(Phase::EndingPromise, why)
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
