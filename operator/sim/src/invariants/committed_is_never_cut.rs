//! V6: a node that follows a new primary never cuts what was committed.
//!
//! One exception: while the volume of the primary is put back to an earlier state and nobody has noticed
//! yet, nothing can be acknowledged, and a replica that is not complete may follow it. What it cuts
//! stands on the complete nodes, who refuse that primary (V11).

use standby_core::Index;

use crate::world::{ProcRef, World};

/// Checked before `proc` cuts its log after `index`.
pub fn check(world: &World, proc: ProcRef, index: Index) {
    let Some(process) = world.proc(proc) else {
        return;
    };
    let spoiled = |proc| {
        world
            .proc(proc)
            .is_some_and(|p| !world.volumes[p.volume].sound())
    };
    let counts = world
        .api
        .newest()
        .is_some_and(|view| view.complete.contains(&process.node));
    if !counts && world.leader().is_some_and(spoiled) {
        return;
    }
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
