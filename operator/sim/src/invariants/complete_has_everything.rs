//! V3, V4: every node that the recorded view calls complete has every acknowledged write on disk.

use super::acknowledged_is_durable::holds;
use crate::world::World;

/// Checked when a view is recorded.
pub fn check(world: &World) {
    let (Some(view), Some(position)) = (world.api.recorded(), world.history.acknowledged) else {
        return;
    };
    for holder in &view.complete {
        if let Some(false) = holds(world, holder, position) {
            let text = format!("{holder} is complete in {view} without acknowledged {position}");
            world.broken("V4", text);
        }
    }
}
