//! The API server's store is put back to the view of the middle of a failover. The operator that takes over
//! reads it, and hears the node that was stopped all the while: the primary of that view is down, and the
//! nodes that live by a later one speak a moment later (V10).

use standby_operator_core::plan::Phase;

use super::{Cast, until};
use crate::time::{MS, SECOND};
use crate::world::{ProcRef, World};

/// Plays it.
pub(super) fn play(world: &mut World, cast: &Cast) {
    world.stop(cast.primary, true);
    let Some(old) = world.proc(cast.primary).map(|process| process.node.clone()) else {
        return;
    };
    let half_way = until(world, 60 * SECOND, |world| {
        let view = world.api.newest();
        view.is_some_and(|view| {
            view.primary != old && !view.can_acknowledge() && view.complete.contains(&old)
        })
    });
    if !half_way || world.leader() != Some(cast.standby) {
        return;
    }
    let backup = world.api.objects.clone();
    if !until(world, 20 * SECOND, |world| over(world, cast)) {
        return;
    }
    for which in 0..world.operators.len() {
        world.operator_dies(which, Some(SECOND));
    }
    world.tell_fault("API server restored");
    world.api.restore(&backup, false, false);
    world.objects_changed();
    for other in &cast.others {
        world.stop(*other, true);
    }
    if !until(world, 15 * SECOND, |world| {
        world.leading_operator().is_some()
    }) {
        return;
    }
    speak(world, cast);
    until(world, 30 * SECOND, |world| {
        world.phase() == Some(Phase::Healthy)
    });
}

/// The new primary is down when the operator begins, and back soon; then the others are heard too.
fn speak(world: &mut World, cast: &Cast) {
    let Some(volume) = world.proc(cast.standby).map(|process| process.volume) else {
        return;
    };
    world.tell_fault("crash");
    world.process_ends(cast.standby, "it crashed");
    world.start_soon(volume);
    world.stop(cast.primary, false);
    until(world, 3 * SECOND, |world| {
        world.phase() == Some(Phase::Confirming)
    });
    // What is read live takes its time, and reports come meanwhile.
    world.api.slow = SECOND;
    until(world, 3 * SECOND, |world| {
        let mut running = world.running();
        running.any(|(_, process)| process.volume == volume)
    });
    let after = world.rng.between(10 * MS, 700 * MS);
    world.run_until(world.now + after);
    for other in &cast.others {
        world.stop(*other, false);
    }
}

/// Whether the failover is over, and everybody who runs lives by its last view.
fn over(world: &World, cast: &Cast) -> bool {
    let Some(view) = world.api.newest() else {
        return false;
    };
    let adopted = |proc: &ProcRef| {
        let process = world.proc(*proc)?;
        let view = world.volumes[process.volume].durable.view.as_ref()?;
        Some(view.epoch)
    };
    let mut all = cast.others.iter().chain([&cast.standby]);
    view.can_acknowledge() && all.all(|proc| adopted(proc) == Some(view.epoch))
}
