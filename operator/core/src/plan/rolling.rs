//! Which pod must be replaced next, and why; and when none may be. At most one node is taken from
//! the cluster at a time, and only while all the others work: replicas first, then the synchronous
//! standby after another has taken its place, the primary last after a switchover.
//!
//! Decided anew at every look from what is there, so that another operator goes on in the middle.
//! Whether a replacement fits the state the cluster is in is decided in [`super::nodes`]; that a node
//! gives up its role first, in [`crate::judge`].

use standby_core::View;

use super::{Phase, Situation};
use crate::judge;
use crate::limits;
use crate::observe::{LinkState, NodeFacts, NodeReport, NodeRole, Observation, PodFacts};
use crate::policy::MayMove;

/// Why a pod must be replaced. The first is the most urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A person ordered it.
    Ordered,
    /// Its host takes no new pods and is about to be emptied.
    Cordoned,
    /// It was made from another specification than the one in force.
    Outdated,
    /// Its volume has grown, and its file system grows when it is mounted anew.
    FileSystem,
}

impl Cause {
    /// Whether this waits for a maintenance window. A person who names a pod, or empties a host, has
    /// chosen the time.
    fn waits_for_window(self) -> bool {
        matches!(self, Self::Outdated | Self::FileSystem)
    }

    fn in_words(self, name: &str, pod: &PodFacts) -> String {
        let host = pod.host.as_deref().unwrap_or("of the pod");
        match self {
            Self::Ordered => format!("a person ordered the restart of {name}"),
            Self::Cordoned => format!("{name} is on host {host}, which is cordoned"),
            Self::Outdated => format!("{name} was made from an earlier specification"),
            Self::FileSystem => {
                format!("the volume of {name} has grown, and is to be mounted anew")
            }
        }
    }
}

/// Whose turn it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Turn {
    /// Every pod is as it should be, or cannot be bettered.
    #[default]
    Done,
    /// Pods must be replaced, but none now.
    Waits {
        /// So many.
        left: usize,
        /// Whom it waits for, if it is for a node.
        on: Option<String>,
        /// Why, in words.
        why: String,
    },
    /// This pod is replaced now: it takes no role from anybody that somebody else could have.
    Replace {
        /// The node.
        node: String,
        /// Exactly this pod object.
        uid: String,
        /// Nothing runs in it, so that nothing is taken away.
        dead: bool,
        /// So many, with this one.
        left: usize,
        /// Why, in words.
        why: String,
    },
    /// This node gives up its role first.
    Relieve {
        /// The node.
        node: String,
        /// It is a synchronous node; otherwise it is the primary.
        synchronous: bool,
        /// So many, with this one.
        left: usize,
        /// Why, in words.
        why: String,
    },
}

impl Turn {
    /// How many pods must be replaced.
    #[must_use]
    pub fn left(&self) -> usize {
        match self {
            Self::Done => 0,
            Self::Waits { left, .. } | Self::Replace { left, .. } | Self::Relieve { left, .. } => {
                *left
            }
        }
    }
}

/// A node whose pod must be replaced.
struct Due<'a> {
    name: &'a str,
    facts: &'a NodeFacts,
    pod: &'a PodFacts,
    cause: Cause,
    /// Its volume cannot leave the host: only its role can.
    role_only: bool,
}

impl Due<'_> {
    fn why(&self) -> String {
        self.cause.in_words(self.name, self.pod)
    }
}

/// Whether, and why, the pod of a node must be replaced.
fn due<'a>(observation: &'a Observation, name: &'a str) -> Option<Due<'a>> {
    let facts = observation.node(name)?;
    // What is being deleted is replaced already.
    let pod = facts.staying_pod().filter(|_| facts.stays())?;
    let upkeep = &observation.cluster.upkeep;
    let claim = facts.claim.as_ref();
    let ordered = observation.cluster.orders.restarts(name, &pod.uid);
    let bound = claim.is_some_and(|claim| claim.bound_to_host.is_some()) || !upkeep.room;
    let cause = if ordered {
        Cause::Ordered
    } else if pod.cordoned && !bound {
        Cause::Cordoned
    } else if pod.built_from.as_deref() != Some(&upkeep.built_from) {
        Cause::Outdated
    } else if claim.is_some_and(|claim| claim.grows_when_mounted) {
        Cause::FileSystem
    } else if pod.cordoned {
        return Some(Due {
            name,
            facts,
            pod,
            cause: Cause::Cordoned,
            role_only: true,
        });
    } else {
        return None;
    };
    Some(Due {
        name,
        facts,
        pod,
        cause,
        role_only: false,
    })
}

/// Whether a node ought to have no role if others can have it: its pod must be replaced, or its host
/// is about to be emptied.
#[must_use]
pub fn ought_to_go(observation: &Observation, name: &str) -> bool {
    due(observation, name).is_some()
}

/// Decides whose turn it is.
#[must_use]
pub fn turn(observation: &Observation) -> Turn {
    let mut all: Vec<Due<'_>> = observation
        .cluster
        .wanted
        .iter()
        .filter_map(|name| due(observation, name))
        .collect();
    // The most urgent first, then the highest number, as when a cluster is made smaller.
    all.reverse();
    all.sort_by_key(|due| due.cause);
    let left = all.iter().filter(|due| !due.role_only).count();
    if all.is_empty() {
        return Turn::Done;
    }
    let dead = |due: &&Due<'_>| !due.role_only && nothing_runs(due.facts);
    if let Some(due) = all.iter().find(dead) {
        return replace(due, true, left);
    }
    let waits = |on: Option<&str>, why: String| match left {
        0 => Turn::Done,
        _ => Turn::Waits {
            left,
            on: on.map(ToOwned::to_owned),
            why,
        },
    };
    if let MayMove::NotBefore(next) = observation.cluster.policy.may_move(observation.wall) {
        all.retain(|due| !due.cause.waits_for_window());
        if all.is_empty() {
            let next = next.map_or("there is none".into(), |at| format!("from {at} on"));
            return waits(None, format!("for the next maintenance window ({next})"));
        }
    }
    let Some((view, primary)) = leads(observation) else {
        return waits(None, "the primary is not in its role".into());
    };
    for name in &observation.cluster.wanted {
        if let Err(why) = fine(observation, view, primary, name) {
            return waits(Some(name), format!("{name}: {why}"));
        }
    }
    choose(observation, view, &all, left)
        .unwrap_or_else(|| waits(None, "no other node can take over".into()))
}

/// Everybody works: who is next?
fn choose(observation: &Observation, view: &View, all: &[Due<'_>], left: usize) -> Option<Turn> {
    let replica = |due: &&Due<'_>| !due.role_only && !holds_role(view, due.name);
    if let Some(due) = all.iter().find(replica) {
        return Some(replace(due, false, left));
    }
    let others: Vec<&String> = observation
        .cluster
        .wanted
        .iter()
        .filter(|name| !holds_role(view, name) && !observation.cluster.orders.fences(name))
        .collect();
    let synchronous = |due: &&Due<'_>| is_synchronous(view, due.name);
    for due in all.iter().filter(synchronous) {
        let better = others.iter().any(|name| !ought_to_go(observation, name));
        if better || (!due.role_only && !others.is_empty()) {
            return Some(relieve(due, true, left));
        }
        if !due.role_only {
            return Some(replace(due, false, left));
        }
    }
    let due = all.iter().find(|due| view.primary.name == due.name)?;
    let single = observation.cluster.wanted.len() == 1;
    if single {
        return (!due.role_only).then(|| replace(due, false, left));
    }
    let heir = view
        .synchronous
        .iter()
        .any(|node| !due.role_only || !ought_to_go(observation, &node.name));
    heir.then(|| relieve(due, false, left))
}

fn replace(due: &Due<'_>, dead: bool, left: usize) -> Turn {
    Turn::Replace {
        node: due.name.to_owned(),
        uid: due.pod.uid.clone(),
        dead,
        left,
        why: due.why(),
    }
}

fn relieve(due: &Due<'_>, synchronous: bool, left: usize) -> Turn {
    Turn::Relieve {
        node: due.name.to_owned(),
        synchronous,
        left,
        why: due.why(),
    }
}

fn is_synchronous(view: &View, name: &str) -> bool {
    view.synchronous.iter().any(|node| node.name == name)
}

/// Whether the view needs this pod's volume: primary, synchronous, or one that has everything.
fn holds_role(view: &View, name: &str) -> bool {
    std::iter::once(&view.primary)
        .chain(&view.synchronous)
        .chain(&view.complete)
        .any(|node| node.name == name)
}

/// The recorded view and its primary's report, while writes go.
fn leads(observation: &Observation) -> Option<(&View, &NodeReport)> {
    let view = observation.view()?;
    let report = observation.live(&view.primary)?;
    (view.can_acknowledge() && report.role == NodeRole::Primary).then_some((view, report))
}

/// Kubernetes and the operator agree that no process runs in the pod.
fn nothing_runs(facts: &NodeFacts) -> bool {
    facts.live().is_none()
        && facts
            .staying_pod()
            .is_some_and(|pod| pod.over || pod.container.ended || pod.container.running.is_none())
}

/// Whether a node does its part and is there to stay.
fn fine(
    observation: &Observation,
    view: &View,
    primary: &NodeReport,
    name: &str,
) -> Result<(), String> {
    works(observation, view, primary, name)?;
    let stays = observation.node(name).is_some_and(NodeFacts::stays);
    stays
        .then_some(())
        .ok_or_else(|| "its volume is about to go".into())
}

/// Whether a node does its part: it leads, or follows without lagging.
fn works(
    observation: &Observation,
    view: &View,
    primary: &NodeReport,
    name: &str,
) -> Result<(), String> {
    let facts = observation.node(name).ok_or("it does not exist yet")?;
    let Some(pod) = &facts.pod else {
        return Err("it has no pod".into());
    };
    if pod.deleting_since.is_some() {
        return Err("its pod is being deleted".into());
    }
    let Some(report) = facts.live() else {
        let why =
            judge::gone_for_operator(facts).unwrap_or_else(|| "it has not reported yet".to_owned());
        return Err(match pod.waits.as_str() {
            "" => why,
            waits => waits.to_owned(),
        });
    };
    if !report.doubt.is_empty() {
        return Err(format!("it refuses: {}", report.doubt));
    }
    if report.epoch() != view.epoch {
        return Err(format!("it has not adopted epoch {}", view.epoch));
    }
    if report.node == view.primary {
        let served = report.role == NodeRole::Primary && report.serving;
        return served
            .then_some(())
            .ok_or_else(|| "it is primary and does not serve yet".into());
    }
    let follows = report.role == NodeRole::Follower
        && report.link.is_some_and(|link| link.state == LinkState::Up);
    let peer = primary
        .peer(&report.node)
        .filter(|peer| follows && judge::peer_alive(observation, peer))
        .ok_or("it does not follow the primary yet")?;
    let lag = primary.commit.0.saturating_sub(peer.durable.0);
    if peer.in_snapshot || lag > limits::HEAL_LAG_ENTRIES_MAX {
        return Err(format!("it is being filled, {lag} entries behind"));
    }
    Ok(())
}

/// Whether a pod may be taken from a cluster that works, and if not, for whom to wait. One in which
/// nothing runs may always be.
pub(super) fn may_take(observation: &Observation, name: &str) -> Result<(), String> {
    if observation.node(name).is_some_and(nothing_runs) {
        return Ok(());
    }
    let Some((view, primary)) = leads(observation) else {
        return Err("the primary, which is not in its role".into());
    };
    for other in observation.cluster.wanted.iter().filter(|o| *o != name) {
        works(observation, view, primary, other).map_err(|why| format!("{other}: {why}"))?;
    }
    Ok(())
}

/// Whether a node that does not come to work may be replaced by a newer pod: the view does not need
/// it, and it is due anyway.
pub(super) fn may_give_up(observation: &Observation, name: &str) -> bool {
    let needed = observation.view().is_none_or(|view| holds_role(view, name));
    !needed && due(observation, name).is_some_and(|due| !due.role_only)
}

/// How many of the cluster's pods a drain must leave ready, now; none when it has no say. While every
/// node works, one may go. While one does not, only that one may, so that no drain takes the second.
pub(super) fn must_stay(
    observation: &Observation,
    situation: &Situation,
    turn: &Turn,
) -> Option<usize> {
    let wanted = observation.cluster.wanted.len();
    if wanted < 2 {
        return None;
    }
    let pods = observation
        .nodes
        .values()
        .filter(|facts| facts.pod.is_some());
    let all = pods.count().max(wanted);
    let kubelet_knows = observation.cluster.wanted.iter().any(|name| {
        observation
            .node(name)
            .and_then(|facts| facts.pod.as_ref())
            .is_none_or(|pod| !pod.ready)
    });
    let works = leads(observation).is_some_and(|(view, primary)| {
        observation
            .cluster
            .wanted
            .iter()
            .all(|name| fine(observation, view, primary, name).is_ok())
    });
    let moving = matches!(turn, Turn::Replace { .. } | Turn::Relieve { .. });
    let one = kubelet_knows || (works && !moving && situation.phase == Phase::Healthy);
    Some(if one { all - 1 } else { all })
}
