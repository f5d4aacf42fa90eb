//! V10: a view object that is missing, or older than what nodes have adopted, is continued above the
//! highest epoch that any node of the cluster has adopted.

use standby_core::View;

use crate::world::World;

/// Checked when an operator is about to record `next`, a recovered view.
pub fn check(world: &World, next: &View) {
    for volume in &world.volumes {
        if volume.gone {
            continue;
        }
        if let Some(adopted) = &volume.durable.view
            && adopted.epoch >= next.epoch
        {
            let text = format!(
                "{next} is no recovery: {} has adopted {adopted}",
                volume.node
            );
            world.broken("V10", text);
        }
    }
}
