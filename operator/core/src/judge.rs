//! What the facts say about the primary, and the synchronous nodes. Verdicts are
//! values with their reasons in words; what to do about them is decided in [`crate::plan`].

use std::fmt;

use standby_core::{Micros, NodeId, View};

use crate::observe::{
    LinkState, NodeFacts, NodeReport, NodeRole, Observation, Peer, PrimaryLink, Stream,
};
use crate::plan::rolling::{self, Turn};

/// Why a primary counts as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureReason {
    /// The pod that it led in does not exist, whether or not there is another by its name.
    PodGone,
    /// Kubernetes says its container has ended.
    ContainerTerminated,
    /// Its process restarted: primacy belongs to a run (V3).
    Restarted,
    /// Another volume stands under its name.
    VolumeReplaced,
    /// Operator and synchronous node have both lost it, or the operator has in a view in which
    /// nothing can be acknowledged.
    Unreachable,
    /// Its commits do not move although writes wait.
    WritePathStuck,
    /// It refuses its role.
    InDoubt,
    /// A complete node knows of committed entries that it lacks (V11).
    LacksCommitted,
    /// It asked for a switchover (V8).
    Handover,
}

impl FailureReason {
    /// Whether it rests on what others do not hear, or on time, and not on a fact about the process.
    #[must_use]
    pub fn is_suspicion(self) -> bool {
        matches!(self, Self::Unreachable | Self::WritePathStuck)
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// How the primary of the recorded view is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Primary {
    /// In its role.
    Fine,
    /// Has not adopted the view yet.
    Adopting {
        /// In words.
        why: String,
    },
    /// Lost by the operator alone, which is no failure.
    Suspected {
        /// In words.
        why: String,
    },
    /// Stepped down within the epoch.
    SteppedDown {
        /// The synchronous nodes have everything.
        drained: bool,
    },
    /// Failed.
    Failed {
        /// The rule.
        reason: FailureReason,
        /// In words.
        why: String,
    },
}

/// The complete nodes that know of committed entries which the primary of `view` lacks (V11): its
/// volume was rolled back, and whoever followed it since may have cut what was acknowledged. Only
/// these are known to have everything then.
pub fn doubters<'a>(
    observation: &'a Observation,
    view: &'a View,
) -> impl Iterator<Item = &'a NodeReport> {
    view.complete
        .iter()
        .filter(|node| **node != view.primary)
        .filter_map(|node| observation.live(node))
        .filter(|report| report.doubts_primary && report.epoch() == view.epoch)
}

fn failed(reason: FailureReason, why: impl Into<String>) -> Primary {
    Primary::Failed {
        reason,
        why: why.into(),
    }
}

/// Judges the primary of `view`.
#[must_use]
pub fn primary(observation: &Observation, view: &View) -> Primary {
    let name = &view.primary.name;
    if let Some(report) = doubters(observation, view).next() {
        let why = format!("{} refuses {name}: {}", report.node.name, report.doubt);
        return failed(FailureReason::LacksCommitted, why);
    }
    let Some(facts) = observation.node(name) else {
        return failed(FailureReason::PodGone, format!("pod {name} does not exist"));
    };
    if let Some(report) = facts.live() {
        return reporting_primary(observation, view, report);
    }
    let Some(pod) = &facts.pod else {
        return failed(FailureReason::PodGone, format!("pod {name} does not exist"));
    };
    if pod.over || pod.container.ended {
        let why = format!(
            "Kubernetes reports the container of {name} as terminated ({})",
            pod.container.ended_why
        );
        return failed(FailureReason::ContainerTerminated, why);
    }
    if !pod.container.has_started() {
        // Whoever leads has run. A pod that waits for its host would otherwise hide for ever that the one
        // before is gone. Of one that has started, the planner's memory tells.
        let why = format!("the pod that {name} led in does not exist, another was made since");
        return failed(FailureReason::PodGone, why);
    }
    let loss = match &facts.stream {
        Stream::Lost(loss) => format!("operator: {loss}"),
        Stream::Alive => {
            return Primary::Adopting {
                why: format!("waiting for a first report of {name}"),
            };
        }
        Stream::None => "operator: it has no address".to_owned(),
    };
    unreachable_primary(observation, view, &loss)
}

/// The operator cannot reach it. Who else?
fn unreachable_primary(observation: &Observation, view: &View, loss: &str) -> Primary {
    let name = &view.primary.name;
    if !view.can_acknowledge() {
        let why = format!(
            "{name} is lost ({loss}), and in epoch {} nothing can be acknowledged, so the \
             operator's word is enough",
            view.epoch
        );
        return failed(FailureReason::Unreachable, why);
    }
    let mut words = vec![loss.to_owned()];
    let mut confirmed = false;
    for node in &view.synchronous {
        let Some(report) = observation.live(node) else {
            words.push(format!("{}: cannot be asked", node.name));
            continue;
        };
        let link = report.link.unwrap_or_default();
        let confirms = link_lost(observation, &link);
        if confirms {
            confirmed = true;
        }
        words.push(format!("{}: {}", node.name, link_in_words(&link)));
        if !confirms && link.commits_stuck >= observation.cluster.write_stuck {
            let why = format!(
                "{name} cannot be reached and its commits have not moved for {} ms, as {} sees them",
                link.commits_stuck.as_millis(),
                node.name
            );
            return failed(FailureReason::WritePathStuck, why);
        }
    }
    let words = words.join("; ");
    if confirmed {
        failed(
            FailureReason::Unreachable,
            format!("{name} is lost ({words})"),
        )
    } else if view.alone {
        Primary::Suspected {
            why: format!(
                "{name} is lost ({words}); it acknowledges alone, nobody else has everything"
            ),
        }
    } else {
        Primary::Suspected {
            why: format!("only the operator has lost {name} ({words}): that is no failure"),
        }
    }
}

/// Whether a synchronous node has lost the primary.
fn link_lost(observation: &Observation, link: &PrimaryLink) -> bool {
    let thresholds = &observation.cluster.thresholds;
    match link.state {
        LinkState::Refused | LinkState::NotPrimary => true,
        LinkState::Silent => thresholds.exceeded_by(link.silent, link.phi),
        LinkState::Up | LinkState::Unknown => false,
    }
}

fn link_in_words(link: &PrimaryLink) -> String {
    match link.state {
        LinkState::Up => "hears it".into(),
        LinkState::Silent => {
            format!(
                "silent for {} ms (phi {:.1})",
                link.silent.as_millis(),
                link.phi
            )
        }
        LinkState::Refused => "connection refused".into(),
        LinkState::NotPrimary => "says that it is not primary".into(),
        LinkState::Unknown => "says nothing of it".into(),
    }
}

/// It reports. What does it say?
fn reporting_primary(observation: &Observation, view: &View, report: &NodeReport) -> Primary {
    let name = &view.primary.name;
    if report.node != view.primary {
        let why = format!(
            "{name} runs on volume {}, the view names {}",
            report.node.volume, view.primary.volume
        );
        return failed(FailureReason::VolumeReplaced, why);
    }
    let behind = report.epoch() < view.epoch;
    let restarted = report.role == NodeRole::Restarted;
    // A doubt about the view it has adopted ends with the next one.
    if !report.doubt.is_empty() && !(report.doubts_primary && (behind || restarted)) {
        let why = format!("{name} refuses its role: {}", report.doubt);
        return failed(FailureReason::InDoubt, why);
    }
    if behind {
        let why = format!(
            "{name} has adopted epoch {} and not yet {}",
            report.epoch(),
            view.epoch
        );
        return Primary::Adopting { why };
    }
    match report.role {
        NodeRole::Restarted => {
            let mut why = format!("the process of {name} restarted in epoch {}", view.epoch);
            if !report.doubt.is_empty() {
                why = format!("{why}: {}", report.doubt);
            }
            return failed(FailureReason::Restarted, why);
        }
        NodeRole::SteppedDown => {
            return Primary::SteppedDown {
                drained: report.drained,
            };
        }
        NodeRole::Unassigned | NodeRole::Follower => {
            let why = format!("{name} does not call itself primary yet");
            return Primary::Adopting { why };
        }
        NodeRole::Primary => {}
    }
    if let Some(why) = stuck(observation, view, report) {
        return failed(FailureReason::WritePathStuck, why);
    }
    Primary::Fine
}

/// Whether the primary itself says that its disk holds up the writes.
fn stuck(observation: &Observation, view: &View, report: &NodeReport) -> Option<String> {
    let limit = observation.cluster.write_stuck;
    let stall = report.stall.as_ref()?;
    if stall.local_disk && stall.waiting >= limit && !view.synchronous.is_empty() {
        return Some(format!(
            "writes on {} have waited for its own disk for {} ms",
            report.node.name,
            stall.waiting.as_millis()
        ));
    }
    None
}

/// How a synchronous node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Synchronous {
    /// Acknowledges.
    Fine,
    /// Only one of operator and primary has lost it, which is no failure.
    Suspected {
        /// In words.
        why: String,
    },
    /// Its connection stands, and the primary has heard nothing from it for so long that it counts as lost:
    /// nothing it acknowledges arrives. Whoever else can do that should take its place.
    Unheard {
        /// In words.
        why: String,
    },
    /// Works, but will leave: replace it, without hurry.
    Leaving {
        /// In words.
        why: String,
    },
    /// Failed: writes wait for it in vain.
    Failed {
        /// In words.
        why: String,
    },
}

/// Judges a synchronous node, by the operator's stream and the primary's link to it.
#[must_use]
pub fn synchronous(observation: &Observation, primary: &NodeReport, node: &NodeId) -> Synchronous {
    let name = &node.name;
    let Some(facts) = observation.node(name) else {
        return Synchronous::Failed {
            why: format!("pod {name} does not exist"),
        };
    };
    let peer = primary.peer(node);
    let heard_by_primary = peer.is_some_and(|peer| peer_alive(observation, peer));
    if let Some(report) = facts.live() {
        if report.node != *node {
            let why = format!(
                "{name} runs on volume {}, the view names {}",
                report.node.volume, node.volume
            );
            return Synchronous::Failed { why };
        }
        if !report.doubt.is_empty() {
            return Synchronous::Failed {
                why: format!("{name} refuses: {}", report.doubt),
            };
        }
    }
    if holds_up_writes(observation, primary, node) {
        let why = format!("writes on {} wait for {name} in vain", primary.node.name);
        return Synchronous::Failed { why };
    }
    if !heard_by_primary {
        let by_primary = format!("{} has lost {name}", primary.node.name);
        if let Some(gone) = gone_for_operator(facts) {
            return Synchronous::Failed {
                why: format!("{by_primary}; {gone}"),
            };
        }
        // Right after a change of view followers connect anew: only a lasting cut counts.
        let lasting = observation.cluster.thresholds.silence_min;
        if let Some(link) = facts.live().and_then(|report| report.link.as_ref())
            && link_lost(observation, link)
            && peer.is_some_and(|peer| peer.silent >= lasting)
        {
            let why = format!(
                "{by_primary}, and {name} has lost it: {}",
                link_in_words(link)
            );
            return Synchronous::Failed { why };
        }
        if peer.is_some_and(|peer| peer.connected) {
            let why = format!(
                "{} hears nothing from {name} although its connection stands",
                primary.node.name
            );
            return Synchronous::Unheard { why };
        }
        return Synchronous::Suspected { why: by_primary };
    }
    if let Some(gone) = gone_for_operator(facts) {
        return Synchronous::Suspected {
            why: format!("only the operator has lost {name}: {gone}"),
        };
    }
    let fenced = || {
        let fenced = observation.cluster.orders.fences(name);
        fenced.then(|| format!("{name} is fenced"))
    };
    match ending(observation, name, facts).or_else(fenced) {
        Some(why) => Synchronous::Leaving { why },
        None => Synchronous::Fine,
    }
}

/// Why a node that works will not be there for long.
pub(crate) fn ending(observation: &Observation, name: &str, facts: &NodeFacts) -> Option<String> {
    let pod = facts.pod.as_ref();
    if pod.is_some_and(|pod| pod.deleting_since.is_some()) {
        return Some(format!("pod {name} is being deleted"));
    }
    if facts.claim.as_ref().is_some_and(|claim| claim.deleting) {
        return Some(format!("the volume claim of {name} is being deleted"));
    }
    if facts.claim.as_ref().is_some_and(|claim| claim.lost) {
        return Some(format!("the volume of {name} is lost"));
    }
    if !observation.wanted(name) {
        return Some(format!("{name} is above spec.instances"));
    }
    match rolling::turn(observation) {
        // Of the primary's turn the planned moves take care.
        Turn::Relieve {
            node,
            synchronous: true,
            why,
            ..
        } if node == name => Some(why),
        _ => None,
    }
}

/// Why the operator cannot reach a node; none while it can.
pub(crate) fn gone_for_operator(facts: &NodeFacts) -> Option<String> {
    if facts.live().is_some() {
        return None;
    }
    match (&facts.pod, &facts.stream) {
        (None, _) => Some("its pod does not exist".into()),
        (Some(pod), _) if pod.over || pod.container.ended => Some(format!(
            "its container has terminated ({})",
            pod.container.ended_why
        )),
        (_, Stream::Lost(loss)) => Some(format!("operator: {loss}")),
        (_, Stream::None) => Some("it has no address".into()),
        (_, Stream::Alive) => None,
    }
}

/// Whether the primary hears a follower well enough to wait for it: a silence counts as it does on every
/// other stream. One that takes in a snapshot answers no heartbeats.
#[must_use]
pub fn peer_alive(observation: &Observation, peer: &Peer) -> bool {
    let thresholds = &observation.cluster.thresholds;
    let phi = if peer.in_snapshot { 0.0 } else { peer.phi };
    peer.connected && !thresholds.exceeded_by(peer.silent, phi)
}

/// Whether writes have waited for exactly this node longer than a stuck write path may last.
#[must_use]
pub fn holds_up_writes(observation: &Observation, primary: &NodeReport, node: &NodeId) -> bool {
    stalled_by(primary, node).is_some_and(|waiting| waiting >= observation.cluster.write_stuck)
}

/// For how long writes have waited for this node.
#[must_use]
pub fn stalled_by(primary: &NodeReport, node: &NodeId) -> Option<Micros> {
    let stall = primary.stall.as_ref()?;
    (!stall.local_disk && stall.nodes.contains(node)).then_some(stall.waiting)
}
