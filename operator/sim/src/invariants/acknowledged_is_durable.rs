//! V1: a write is acknowledged only when it is durable on the primary and on every synchronous node of
//! the view it was acknowledged in; in a view that cannot acknowledge nothing is.

use standby_core::{NodeId, Position};

use crate::world::{ProcRef, World};

/// Checked when `proc` acknowledges the entry at `position`.
pub fn check(world: &mut World, proc: ProcRef, position: Position) {
    let process = world.proc(proc).expect("it just acknowledged");
    let epoch = process.replica.epoch();
    let Some((view, _)) = world.api.views.get(&epoch) else {
        let text = format!(
            "{} adopted epoch {epoch}, which was never recorded",
            process.node
        );
        world.broken("V1", text);
    };
    if !view.can_acknowledge() {
        let text = format!("{} acknowledged {position} in bare {view}", process.node);
        world.broken("V1", text);
    }
    if view.primary != process.node {
        let text = format!("{} acknowledged {position}, but {view}", process.node);
        world.broken("V3", text);
    }
    // Whoever might be promoted now must have it too, whatever view it was acknowledged in.
    let recorded = world.api.newest();
    let holders = view
        .complete
        .iter()
        .chain(recorded.iter().flat_map(|view| &view.complete));
    for holder in holders {
        if let Some(false) = holds(world, holder, position) {
            let text = format!(
                "{position}, acknowledged by {} in {view}, is not on {holder}",
                process.node
            );
            world.broken("V1", text);
        }
    }
    world.history.acknowledged = world.history.acknowledged.max(Some(position));
}

/// Whether a node's volume has an entry on disk; none when the volume is gone or spoiled: then it holds
/// nothing for certain.
pub fn holds(world: &World, node: &NodeId, position: Position) -> Option<bool> {
    let volume = world.volumes.iter().find(|volume| volume.node == *node)?;
    if !volume.sound() {
        return None;
    }
    let log = &volume.durable.log;
    let released = log.base.index >= position.index;
    Some(released || log.epoch_at(position.index) == Some(position.epoch))
}
