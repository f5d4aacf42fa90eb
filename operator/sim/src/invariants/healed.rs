//! After the faults: writes go, the planner calls the cluster healthy (or alone, where that is all that
//! was asked for), and every node has come to the same state.

use standby_interface::StateMachine;
use standby_operator_core::plan::Phase;

use crate::time::SECOND;
use crate::world::World;

/// Why the cluster is not healed; none when it is.
#[must_use]
pub fn missing(world: &World) -> Option<String> {
    let Some(operator) = world.operators.iter().find(|operator| operator.leading) else {
        return Some("no operator leads".into());
    };
    let Some((phase, why, since)) = operator
        .actor
        .as_ref()
        .and_then(|actor| actor.phase.clone())
    else {
        return Some("the leading operator has not planned yet".into());
    };
    let settled = match phase {
        Phase::Healthy => true,
        Phase::Alone => world.wanted() == 1,
        _ => false,
    };
    if !settled {
        return Some(format!("{phase}: {why}"));
    }
    if world.now < since + SECOND {
        return Some(format!("{phase}, only just"));
    }
    if let Some(volume) = world
        .volumes
        .iter()
        .find(|volume| !volume.gone && volume.spoiled)
    {
        return Some(format!(
            "nobody noticed that {} lost what it had acknowledged",
            volume.node
        ));
    }
    let pods = world.api.objects.pods.iter();
    if let Some((name, _)) = pods.clone().find(|(_, pod)| pod.deleting.is_some()) {
        return Some(format!("pod {name} is being deleted"));
    }
    if let Some(name) = orphan(world) {
        return Some(format!("{name} runs in a pod that was removed"));
    }
    let running = world.running().count();
    if running < world.wanted() {
        return Some(format!(
            "{running} nodes run, {} are wanted",
            world.wanted()
        ));
    }
    for (_, process) in world.running() {
        let applied = process.state.applied().index;
        if applied.0 + 200 < world.history.last().0 {
            return Some(format!(
                "{} has applied {applied} of {}",
                process.node,
                world.history.last()
            ));
        }
    }
    None
}

/// A process whose pod was removed by force: its host has not heard of it yet.
fn orphan(world: &World) -> Option<&str> {
    let known = |uid: &String| {
        let mut pods = world.api.objects.pods.iter();
        pods.any(|(_, pod)| pod.uid == *uid)
    };
    let hosts = world.hosts.all.iter();
    hosts
        .flat_map(|host| &host.pods)
        .find(|(uid, pod)| pod.proc.is_some() && !known(uid))
        .map(|(_, pod)| pod.name.as_str())
}

/// Whether every node has applied all there is.
#[must_use]
pub fn all_applied(world: &World) -> bool {
    let last = world.history.last();
    let mut running = world.running();
    running.all(|(_, process)| process.state.applied().index == last)
}

/// Checked when nobody writes any more and everything has arrived.
pub fn converged(world: &World) {
    for (_, process) in world.running() {
        let applied = process.state.applied().index;
        if applied != world.history.last() {
            let text = format!(
                "{} has applied {applied} of {}",
                process.node,
                world.history.last()
            );
            world.broken("converged", text);
        }
    }
    for (at, watcher) in world.watchers.iter().enumerate() {
        let unseen = world
            .history
            .model
            .events_between(watcher.next, i64::MAX)
            .count();
        let served = watcher.at.is_some_and(|proc| world.proc(proc).is_some());
        if served && watcher.end.len() == 1 && unseen > 0 {
            let text = format!(
                "watcher {at} lacks {unseen} events from {} on",
                watcher.next
            );
            world.broken("watch", text);
        }
    }
    for volume in world.volumes.iter().filter(|volume| !volume.gone) {
        if volume.spoiled {
            let text = format!(
                "nobody noticed that {} lost what it had acknowledged",
                volume.node
            );
            world.broken("V11", text);
        }
    }
}
