//! The primary's volume is put back to an earlier state, and it is made primary once more: the operator that
//! takes over remembers nothing, and hears nobody else. Then the standby is heard again, which knows what was
//! committed: it cuts nothing of that, says so, and is promoted (V6, V11).

use super::{Cast, until};
use crate::time::SECOND;
use crate::world::World;

/// Plays it.
pub(super) fn play(world: &mut World, cast: &Cast) {
    let Some(process) = world.proc(cast.primary) else {
        return;
    };
    let (volume, old) = (process.volume, process.node.clone());
    let copy = world.volumes[volume].durable.clone();
    world.run_until(world.now + 3 * SECOND);
    // What the other knows to be committed is what gives the loss away. Whoever may go on alone does.
    let known = world
        .proc(cast.standby)
        .is_some_and(|standby| copy.log.last().index < standby.replica.commit());
    let epoch = world.api.newest().map(|view| view.epoch);
    let same_view = epoch.is_some() && copy.view.as_ref().map(|view| view.epoch) == epoch;
    let same_cast = world.leader() == Some(cast.primary) && world.standby() == Some(cast.standby);
    if !known || !same_view || !same_cast || world.profile.available {
        return;
    }
    world.stop(cast.standby, true);
    for other in &cast.others {
        world.stop(*other, true);
    }
    for which in 0..world.operators.len() {
        world.operator_dies(which, Some(SECOND));
    }
    world.put_back(cast.primary, copy);
    let leads_again = until(world, 40 * SECOND, |world| {
        let view = world.api.newest();
        let leader = world.leader().and_then(|proc| world.proc(proc));
        view.zip(leader).is_some_and(|(view, leader)| {
            view.primary == old && Some(view.epoch) != epoch && leader.replica.epoch() == view.epoch
        })
    });
    if !leads_again {
        return;
    }
    world.stop(cast.standby, false);
    until(world, 30 * SECOND, |world| {
        let view = world.api.newest();
        view.is_some_and(|view| view.primary != old)
    });
}
