//! V1: a write is acknowledged only when it is durable on the primary and on every synchronous node of
//! the view it was acknowledged in; in a view that cannot acknowledge nothing is.

use standby_core::Epoch;

use crate::world::World;

/// Checked when `node` acknowledges `command` in `epoch`.
pub(crate) fn check(world: &World, node: usize, epoch: Epoch, command: u64) {
    let seed = world.report.seed;
    let (view, _) = world
        .views
        .get(&epoch)
        .expect("a node only adopts recorded views");
    assert!(
        view.can_acknowledge(),
        "seed {seed}: V1: n{node} acknowledged in bare {view}"
    );
    assert_eq!(
        view.primary, world.nodes[node].disk.node,
        "seed {seed}: V3: not the primary"
    );
    let current = world.recorded().expect("a view is recorded");
    // Also everybody who might be promoted now must have it, whatever view it was acknowledged in.
    for holder in view.complete.iter().chain(&current.complete) {
        // A volume that was destroyed or spoiled holds nothing for certain; the others must.
        let Some(at) = world.sound(holder) else {
            continue;
        };
        assert!(
            world.nodes[at].disk.durable.holds(command),
            "seed {seed}: V1: {command} acknowledged by n{node} in {view} is not on {holder}"
        );
    }
}
