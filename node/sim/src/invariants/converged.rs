//! After the faults: nothing acknowledged was lost, nothing was applied twice, and every node has come
//! to the same state.

use std::collections::BTreeSet;

use crate::world::World;

/// Checked at the end of a run.
pub(crate) fn check(world: &World) {
    let seed = world.report.seed;
    let history: BTreeSet<_> = world.clients.history.iter().collect();
    assert_eq!(
        history.len(),
        world.clients.history.len(),
        "seed {seed}: F4: applied twice"
    );
    for command in &world.clients.acknowledged {
        assert!(
            history.contains(command),
            "seed {seed}: acknowledged {command} is lost"
        );
    }
    for (at, node) in world.nodes.iter().enumerate() {
        assert!(
            !node.disk.spoiled,
            "seed {seed}: V11: nobody noticed that n{at} lost what it had acknowledged"
        );
        let process = node.process.as_ref().expect("every node was started again");
        assert!(
            process.state.len() == world.clients.history.len(),
            "seed {seed}: n{at} has not caught up: {} of {} ({:?})",
            process.state.len(),
            world.clients.history.len(),
            process.replica.status(world.micros(at))
        );
    }
}
