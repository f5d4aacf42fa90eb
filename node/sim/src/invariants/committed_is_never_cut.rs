//! V6: a node that follows a new primary never cuts what was committed, as far as anybody was told.

use standby_core::Index;

use crate::disk::command_of;
use crate::world::World;

/// Checked before `node` cuts its log after `index`.
pub(crate) fn check(world: &World, node: usize, index: Index) {
    let process = world.nodes[node].process.as_ref().expect("it just cut");
    for entry in process
        .log
        .iter()
        .filter(|entry| entry.position.index > index)
    {
        let Some(command) = command_of(entry) else {
            continue;
        };
        assert!(
            !world.clients.history.contains(&command),
            "seed {}: V6: n{node} cuts {command} at {}, which was committed",
            world.report.seed,
            entry.position
        );
    }
}
