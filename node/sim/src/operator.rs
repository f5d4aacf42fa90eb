//! Operators with stale knowledge, two at a time: each looks at what it can reach, decides on what it
//! saw (possibly long ago), and tries to record. The compare-and-swap on the view is all that holds
//! them together. They promote more readily than the product's planner does, to reach more states.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use rand::seq::IndexedRandom;
use standby_core::replica::{RoleKind, Status};
use standby_core::{ClusterId, NodeId, View};

use crate::world::{Event, World};

const MS: u64 = 1_000;
/// A primary unseen for so long is failed.
const GIVE_UP: u64 = 300 * MS;

/// What one operator believes.
#[derive(Debug, Default)]
pub struct Operator {
    /// The last report of each node, and when it came.
    reports: BTreeMap<usize, (u64, Status)>,
}

impl Operator {
    /// Forgets what a place said under its former identity.
    pub fn forget(&mut self, node: usize) {
        self.reports.remove(&node);
    }

    /// When it last heard from a place.
    pub fn heard_at(&self, node: usize) -> Option<u64> {
        self.reports.get(&node).map(|(at, _)| *at)
    }
}

/// One operator looks, decides and acts.
pub fn act(world: &mut World, which: usize) {
    let again = world.rng.random_range(5 * MS..60 * MS);
    world.schedule(again, Event::Operator(which));
    look(world, which);
    if !world.api_up {
        return;
    }
    let Some(view) = world.recorded().cloned() else {
        let primary = world.rng.random_range(0..world.nodes.len());
        let primary = world.nodes[primary].disk.node.clone();
        record(world, None, View::first(ClusterId("sim".into()), primary));
        return;
    };
    push(world, which, &view);
    if let Some(next) = decide(world, which, &view) {
        record(world, Some(view.epoch), next);
    }
}

/// Reports arrive from most nodes; from the others the last one stands.
fn look(world: &mut World, which: usize) {
    let now = world.now;
    for node in 0..world.nodes.len() {
        let micros = world.micros(node);
        let awake = world.nodes[node].paused_until <= now && !world.faults.hides(node);
        let reached = awake && (world.rng.random_bool(0.7) || world.watching());
        if let Some(process) = world.nodes[node].process.as_ref().filter(|_| reached) {
            let status = process.replica.status(micros);
            world.operators[which].reports.insert(node, (now, status));
        }
    }
}

fn record(world: &mut World, based_on: Option<standby_core::Epoch>, view: View) {
    let after = world.rng.random_range(MS..40 * MS);
    world.schedule(after, Event::Record { based_on, view });
}

fn push(world: &mut World, which: usize, view: &View) {
    let mut await_nodes = BTreeSet::new();
    let others: Vec<NodeId> = world
        .nodes
        .iter()
        .map(|node| node.disk.node.clone())
        .filter(|node| *node != view.primary && !view.synchronous.contains(node))
        .collect();
    let stalled = report_of(world, which, &view.primary).is_some_and(|(_, status)| {
        status
            .write_stall
            .as_ref()
            .is_some_and(|stall| stall.waiting.0 > 100 * MS)
    });
    if (stalled || world.rng.random_bool(0.02))
        && let Some(node) = others.choose(&mut world.rng)
    {
        await_nodes.insert(node.clone());
    }
    let previous_stopped = proven_stopped(world, view);
    for node in 0..world.nodes.len() {
        let after = world.rng.random_range(100..5 * MS);
        if world.faults.hides(node) {
            continue;
        }
        let event = Event::Push {
            node,
            view: view.clone(),
            await_nodes: await_nodes.clone(),
            previous_stopped,
        };
        world.schedule(after, event);
    }
}

/// Whether the process that was primary in the epoch before cannot serve any more: it does not run, or
/// what runs there was started after this view was recorded.
fn proven_stopped(world: &World, view: &View) -> bool {
    let Some((before, _)) = world.views.range(..view.epoch).next_back().map(|(_, v)| v) else {
        return false;
    };
    // A volume that was destroyed took its process with it.
    world
        .index_of(&before.primary)
        .is_none_or(|node| world.nodes[node].process.is_none())
}

fn report_of<'a>(world: &'a World, which: usize, node: &NodeId) -> Option<&'a (u64, Status)> {
    let at = world.index_of(node)?;
    world.operators[which].reports.get(&at)
}

fn decide(world: &mut World, which: usize, view: &View) -> Option<View> {
    let primary = report_of(world, which, &view.primary).cloned();
    let fresh = primary
        .filter(|(at, _)| world.now - at < GIVE_UP)
        .map(|(_, status)| status);
    let leads = |status: &Status| {
        matches!(status.role, RoleKind::Primary | RoleKind::SteppedDown)
            && status.view.as_ref() == Some(view)
    };
    // Rarely a living primary is failed, too: safety must not rest on the detector.
    let false_alarm = world.faults.active() && !world.watching() && world.rng.random_bool(0.004);
    match fresh {
        Some(status) if leads(&status) && !false_alarm => established(world, view, &status),
        Some(status) if status.role != RoleKind::Restarted && !false_alarm => None,
        _ => promote(world, which, view),
    }
}

/// With a primary that leads: give it synchronous nodes, replace those that stall, hand over.
fn established(world: &mut World, view: &View, status: &Status) -> Option<View> {
    let complete: Vec<NodeId> = status
        .peers
        .iter()
        .filter(|peer| peer.complete)
        .map(|peer| peer.node.clone())
        .collect();
    if status.role == RoleKind::SteppedDown {
        let drained = status.drained || world.rng.random_bool(0.02);
        let other = view.complete.iter().find(|node| **node != view.primary);
        let target = other.unwrap_or(&view.primary).clone();
        return drained.then(|| view.promote(target));
    }
    if world.faults.active()
        && !world.watching()
        && world.rng.random_bool(0.002)
        && view.can_acknowledge()
        && let Some(node) = world.index_of(&view.primary)
    {
        world.schedule(
            MS,
            Event::StepDown {
                node,
                epoch: view.epoch,
            },
        );
        return None;
    }
    let stalled = status
        .write_stall
        .as_ref()
        .is_some_and(|stall| stall.waiting.0 > 150 * MS);
    let fresh: Vec<_> = complete
        .iter()
        .filter(|n| !view.synchronous.contains(*n))
        .collect();
    if view.can_acknowledge() && !view.alone && !stalled && world.rng.random_bool(0.98) {
        return None;
    }
    if let Some(node) = fresh.choose(&mut world.rng) {
        let mut synchronous = BTreeSet::from([(*node).clone()]);
        if world.rng.random_bool(0.2) {
            synchronous.extend(complete);
        }
        return Some(view.with_synchronous(synchronous));
    }
    // A promise to a node that never came ends only with the epoch.
    let waited: Vec<_> = status
        .write_stall
        .iter()
        .flat_map(|stall| &stall.nodes)
        .collect();
    let remaining: BTreeSet<_> = view
        .synchronous
        .iter()
        .filter(|node| !waited.contains(node))
        .cloned()
        .collect();
    if stalled && !remaining.is_empty() && world.rng.random_bool(0.1) {
        return Some(view.with_synchronous(remaining));
    }
    let give_up = !view.alone && world.faults.available && world.rng.random_bool(0.05);
    (give_up && (stalled || !view.can_acknowledge())).then(|| view.go_alone())
}

fn promote(world: &mut World, which: usize, view: &View) -> Option<View> {
    let alive: Vec<NodeId> = view
        .complete
        .iter()
        .filter(|node| {
            report_of(world, which, node).is_some_and(|(at, _)| world.now - at < GIVE_UP)
        })
        .cloned()
        .collect();
    alive
        .choose(&mut world.rng)
        .map(|node| view.promote(node.clone()))
}
