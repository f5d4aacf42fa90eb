//! V6: a node that follows a new primary never cuts what was committed.

use standby_core::Index;

use crate::world::{ProcRef, World};

/// Checked before `proc` cuts its log after `index`.
pub fn check(world: &World, proc: ProcRef, index: Index) {
    let Some(process) = world.proc(proc) else {
        return;
    };
    let mut at = index.next();
    while let (Some(mine), Some(committed)) = (process.log.epoch_at(at), world.history.epoch_at(at))
    {
        if mine == committed {
            let text = format!(
                "{} cuts {at} of epoch {mine}, which was committed",
                process.node
            );
            world.broken("V6", text);
        }
        at = at.next();
    }
}
