//! V3, V4: every node that the recorded view calls complete has every acknowledged write on disk.

use crate::world::World;

/// Checked when a view is recorded.
pub(crate) fn check(world: &World) {
    let view = world.recorded().expect("one was just recorded");
    for holder in &view.complete {
        let Some(at) = world.sound(holder) else {
            continue;
        };
        let durable = &world.nodes[at].disk.durable;
        for command in &world.clients.acknowledged {
            assert!(
                durable.holds(*command),
                "seed {}: V4: {holder} is complete in {view} without acknowledged {command}",
                world.report.seed
            );
        }
    }
}
