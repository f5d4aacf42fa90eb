//! V8: a planned switchover stops the old primary first, lets the synchronous node have everything, then
//! changes the view.

use standby_core::View;
use standby_core::replica::RoleKind;

use super::acknowledged_is_durable::holds;
use crate::world::World;

/// Checked when an operator is about to record `next` over `before` as the end of a planned move.
pub fn check(world: &World, before: &View, next: &View) {
    let old = world.running().find(|(_, process)| {
        process.node == before.primary && process.replica.epoch() == before.epoch
    });
    let Some((_, process)) = old else {
        return;
    };
    let role = process.replica.role_kind();
    if role == RoleKind::Primary {
        let text = format!(
            "{next} is recorded while {} may still acknowledge in {before}",
            process.node
        );
        world.broken("V8", text);
    }
    // After the step-down its log grows no more.
    let status = process.replica.status(process.clock.at(world.now));
    let last = process.replica.log().last();
    if role == RoleKind::SteppedDown
        && status.drained
        && before.synchronous.contains(&next.primary)
        && holds(world, &next.primary, last) == Some(false)
    {
        let text = format!(
            "{next} is recorded, and {} lacks {last} of {}",
            next.primary, process.node
        );
        world.broken("V8", text);
    }
}
