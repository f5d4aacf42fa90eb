//! The API server and every operator are away: writes go on in the current view (V9).

use crate::invariants::writes_go_on_undirected;
use crate::time::SECOND;
use crate::world::World;

/// Plays it.
pub(super) fn play(world: &mut World) {
    let Some(view) = world.api.newest().cloned() else {
        return;
    };
    world.tell_fault("nobody directs");
    for which in 0..world.operators.len() {
        world.operator_dies(which, None);
    }
    world.api.up = false;
    world.api.hung = world.rng.permille(500);
    let end = world.now + world.rng.between(20 * SECOND, 90 * SECOND);
    while world.now < end {
        let written = world.report.acknowledged;
        world.run_until(world.now + writes_go_on_undirected::SPAN);
        writes_go_on_undirected::check(world, &view, written);
    }
}
