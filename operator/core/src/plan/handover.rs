//! Planned moves of the primary's role (V8): why a primary that works ought to hand it over, to whom,
//! and whether that can be done now. The one place where all of these wishes meet: an order, a fence, a
//! process or pod that ends, a pod that is to be replaced, a better place.
//!
//! Nothing here relieves a primary that has failed: that is a failover.

use std::fmt;

use standby_api::names;
use standby_core::{Micros, NodeId, View};

use super::{Later, Phase, Situation, nodes};
use crate::candidate;
use crate::judge::{self, Synchronous};
use crate::limits;
use crate::memory::Memory;
use crate::observe::{NodeFacts, NodeReport, NodeRole, Observation};
use crate::orders::NodeOrder;
use crate::policy::MayMove;

/// What asks for a move, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A person fenced the primary: it gives up its role even if nobody can take over.
    Fenced,
    /// The primary's process, pod or volume is about to end.
    Ends,
    /// A person ordered it.
    Ordered,
    /// The primary's pod is the next to be replaced: a restart, a rolling change, a drain.
    Replaced,
    /// Another node is in a better place.
    Preferred,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A move that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// What asks for it.
    pub cause: Cause,
    /// Why, in words.
    pub why: String,
    /// The pod that shall be primary; none: whoever is best.
    pub to: Option<String>,
}

/// Whether a move can be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// A synchronous node can take over at once.
    Now,
    /// This node has to be made synchronous first.
    Prepare(NodeId),
    /// It cannot, and why.
    No(String),
}

/// The move that is wanted of the primary of `view`, which is in its role.
#[must_use]
pub fn wanted(
    observation: &Observation,
    memory: &Memory,
    view: &View,
    now: Micros,
) -> Option<Move> {
    let name = &view.primary.name;
    let any = |cause, why| Move {
        cause,
        why,
        to: None,
    };
    if observation.cluster.orders.fences(name) {
        return Some(any(Cause::Fenced, format!("{name} is fenced")));
    }
    let facts = observation.node(name)?;
    if let Some(why) = ends(observation, name, facts) {
        return Some(any(Cause::Ends, why));
    }
    if let Some(order) = ordered(observation, view)
        && let Ok(order) = check_order(observation, view, order)
    {
        return Some(order);
    }
    if let Some(asked) = asked_by_client(observation, view) {
        return Some(asked);
    }
    if let Some(why) = nodes::primary_is_next(observation, view) {
        return Some(any(Cause::Replaced, why));
    }
    preferred(observation, memory, view, now)
}

/// Why a primary that works will not be there for long.
fn ends(observation: &Observation, name: &str, facts: &NodeFacts) -> Option<String> {
    if facts.live().is_some_and(|report| report.wants_handover) {
        return Some(format!("{name} is told to end and asks for a switchover"));
    }
    // Moving the role away from a volume that is about to go must not leave a view in which nothing
    // can be acknowledged.
    let needed =
        facts.staying_pod().is_some() && !facts.stays() && !pair_without(observation, name);
    judge::ending(observation, name, facts).filter(|_| !needed)
}

/// Whether two nodes with volumes that are there to stay work beside this one.
fn pair_without(observation: &Observation, name: &str) -> bool {
    let others = observation
        .cluster
        .wanted
        .iter()
        .filter(|other| *other != name);
    let stay = others
        .filter_map(|other| observation.node(other))
        .filter(|facts| facts.stays() && facts.live().is_some());
    stay.count() >= 2
}

/// The order for a switchover that is in force in `view`.
///
/// An order holds for the epoch it names. It also holds in the one after, if its node is synchronous
/// there: making it synchronous took an epoch, and left the primary what it was, since a new primary is
/// recorded with nobody first (V4).
#[must_use]
pub fn ordered<'a>(observation: &'a Observation, view: &View) -> Option<&'a NodeOrder> {
    let orders = &observation.cluster.orders;
    let synchronous = |name: &str| view.synchronous.iter().any(|node| node.name == name);
    let switchover = orders.switchover.as_ref().filter(|order| {
        order.epoch == view.epoch || (order.epoch.next() == view.epoch && synchronous(&order.node))
    });
    let promote = orders
        .promote
        .as_ref()
        .filter(|order| order.epoch == view.epoch && synchronous(&order.node));
    switchover.or(promote)
}

/// Whether an order could ever be carried out as things are, or why not.
pub fn check_order(
    observation: &Observation,
    view: &View,
    order: &NodeOrder,
) -> Result<Move, String> {
    let name = &order.node;
    let why = format!("a person asked for {name} in epoch {}", order.epoch);
    let made = |to| Move {
        cause: Cause::Ordered,
        why: why.clone(),
        to,
    };
    if name == names::SWITCHOVER_ANY {
        return Ok(made(None));
    }
    if view.primary.name == *name {
        return Err(format!("{name} is primary already"));
    }
    match unfit(observation, view, name) {
        Some(why) => Err(why),
        None => Ok(made(Some(name.clone()))),
    }
}

/// A client of the primary asked for a switchover to a synchronous node.
fn asked_by_client(observation: &Observation, view: &View) -> Option<Move> {
    let report = observation.live(&view.primary)?;
    let name = report.wants_switchover_to.as_ref()?;
    let synchronous = view.synchronous.iter().any(|node| node.name == *name);
    (synchronous && unfit(observation, view, name).is_none()).then(|| Move {
        cause: Cause::Ordered,
        why: format!("a client asked for {name}"),
        to: Some(name.clone()),
    })
}

/// Why a node cannot become primary by a planned move.
pub(super) fn unfit(observation: &Observation, view: &View, name: &str) -> Option<String> {
    let Some(facts) = observation.node(name) else {
        return Some(format!("there is no node {name}"));
    };
    if !observation.wanted(name) {
        return Some(format!("{name} is above spec.instances"));
    }
    if observation.cluster.orders.fences(name) {
        return Some(format!("{name} is fenced"));
    }
    if !facts.stays() {
        return Some(format!("{name} is being deleted"));
    }
    let Some(report) = facts.live() else {
        let gone = judge::gone_for_operator(facts);
        let gone = gone.unwrap_or_else(|| "it has not reported yet".into());
        return Some(format!("{name} cannot be reached: {gone}"));
    };
    if !report.doubt.is_empty() {
        return Some(format!("{name} refuses: {}", report.doubt));
    }
    if report.wants_handover {
        return Some(format!("{name} is told to end"));
    }
    (report.cluster_id != view.cluster_id).then(|| format!("{name} belongs to another cluster"))
}

/// A better place for the primary, once the cluster has been healthy for a while and inside a window.
fn preferred(observation: &Observation, memory: &Memory, view: &View, now: Micros) -> Option<Move> {
    let settled = memory.healthy.held(now) >= Micros::from_millis(limits::PREFERRED_AFTER_MS);
    let flapping = memory.suspicions(observation, now) >= observation.cluster.policy.limit.count;
    if !observation.cluster.policy.prefers() || !settled || flapping {
        return None;
    }
    let name = better(observation, view)?;
    (observation.cluster.policy.may_move(observation.wall) == MayMove::Yes).then(|| Move {
        cause: Cause::Preferred,
        why: format!(
            "failover.preference puts {name} before {}",
            view.primary.name
        ),
        to: Some(name),
    })
}

/// A move that is wanted and waits, for a window or for the cluster to have been healthy for a while; and
/// a promotion that is held back.
pub(super) fn later(observation: &Observation, situation: &Situation) -> Option<Later> {
    let view = observation.view()?;
    if matches!(situation.phase, Phase::HeldBack | Phase::Confirming) {
        let target = candidate::best(observation, view, false)?;
        return Some(Later {
            what: format!("promote {}", target.name),
            why: situation.why.clone(),
        });
    }
    let quiet = situation.phase == Phase::Healthy && situation.handover.is_none();
    if !quiet || !observation.cluster.policy.prefers() {
        return None;
    }
    let name = better(observation, view)?;
    let waits = match observation.cluster.policy.may_move(observation.wall) {
        MayMove::NotBefore(Some(at)) => format!("the next maintenance window opens at {at}"),
        MayMove::NotBefore(None) => "no maintenance window ever opens".into(),
        MayMove::Yes => format!(
            "the cluster has to be healthy for {} s first",
            limits::PREFERRED_AFTER_MS / 1_000
        ),
    };
    Some(Later {
        what: format!("switch over to {name}"),
        why: format!(
            "failover.preference puts {name} before {}; {waits}",
            view.primary.name
        ),
    })
}

/// The node in the best place, when that is better than the primary's and the node could take over.
#[must_use]
pub fn better(observation: &Observation, view: &View) -> Option<String> {
    let primary = observation.live(&view.primary)?;
    let here = observation.place(&view.primary.name);
    observation
        .nodes
        .iter()
        .filter(|(name, _)| observation.place(name) < here)
        .filter(|(name, _)| unfit(observation, view, name).is_none())
        .filter(|(_, facts)| {
            let follower = facts.live().filter(|r| r.role == NodeRole::Follower);
            follower.is_some_and(|report| {
                view.synchronous.contains(&report.node)
                    || keeps_up(observation, primary, &report.node)
            })
        })
        .map(|(name, _)| name.clone())
        .min_by_key(|name| observation.place(name))
}

/// Whether a follower is near enough to be waited for while writes go.
#[must_use]
pub fn keeps_up(observation: &Observation, primary: &NodeReport, node: &NodeId) -> bool {
    primary.peer(node).is_some_and(|peer| {
        let lag = primary.commit.0.saturating_sub(peer.durable.0);
        judge::peer_alive(observation, peer)
            && !peer.in_snapshot
            && lag <= limits::HEAL_LAG_ENTRIES_MAX
    })
}

/// Whether the primary can hand over now as it is wanted. `healthy`: nothing else is wrong.
#[must_use]
pub fn readiness(
    observation: &Observation,
    view: &View,
    primary: &NodeReport,
    wanted: &Move,
    healthy: bool,
) -> Readiness {
    let fine = |node: &&NodeId| judge::synchronous(observation, primary, node) == Synchronous::Fine;
    let Some(name) = &wanted.to else {
        return if view.synchronous.iter().any(|node| fine(&node)) {
            Readiness::Now
        } else {
            Readiness::No("no synchronous node can take over".into())
        };
    };
    if let Some(node) = view.synchronous.iter().find(|node| node.name == *name) {
        return if fine(&node) {
            Readiness::Now
        } else {
            Readiness::No(format!("{name} does not answer as it should"))
        };
    }
    let Some(report) = observation.node(name).and_then(NodeFacts::live) else {
        return Readiness::No(format!("{name} cannot be reached"));
    };
    if !healthy {
        return Readiness::No("the cluster is not healthy".into());
    }
    if !keeps_up(observation, primary, &report.node) {
        let behind = primary.peer(&report.node).map(|peer| {
            if peer.in_snapshot {
                "it is being filled".to_owned()
            } else {
                let lag = primary.commit.0.saturating_sub(peer.durable.0);
                format!("it is {lag} entries behind")
            }
        });
        let behind = behind.unwrap_or_else(|| "it does not follow the primary".into());
        return Readiness::No(format!("{name} has not caught up: {behind}"));
    }
    Readiness::Prepare(report.node.clone())
}

/// Whom to promote once the primary of `view` has stepped down and drained: the one that was asked for,
/// or the best.
#[must_use]
pub fn successor(
    observation: &Observation,
    memory: &Memory,
    view: &View,
    now: Micros,
) -> Option<NodeId> {
    let could = candidate::promotable(observation, view, true);
    let named = wanted(observation, memory, view, now).and_then(|wanted| wanted.to);
    let named = named.and_then(|name| could.iter().find(|node| node.name == name).cloned());
    named.or_else(|| could.into_iter().next())
}
