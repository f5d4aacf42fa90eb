//! The primary's pod is removed by force, and its host does not hear of it: the process goes on, and answers
//! reads to those who have a connection, as long as its leases last. Others come anew, are led to the node
//! that takes over, and write there. That node must answer nothing before every such lease is over (V5).

use super::{Cast, until};
use crate::api::Ask;
use crate::time::{MS, SECOND};
use crate::world::World;

/// Whether a client is one of those that stay where they are when clients part.
pub(crate) fn stays(which: usize) -> bool {
    which.is_multiple_of(2)
}

/// Plays it.
pub(super) fn play(world: &mut World, cast: &Cast) {
    let Some(process) = world.proc(cast.primary) else {
        return;
    };
    let (host, ip) = (process.host, process.ip);
    let (old, uid) = (process.node.clone(), process.pod_uid.clone());
    world.clients.parted = Some(ip);
    // What clients asked before is answered.
    world.run_until(world.now + 300 * MS);
    if world.leader() != Some(cast.primary) {
        return;
    }
    let site = world.api_site();
    world.net.set_cut(host, site, true);
    world.net.set_cut(site, host, true);
    world.tell_fault("pod removed by force");
    world.by_hand(Ask::DeletePod(old.name.clone(), uid, true));
    until(world, 30 * SECOND, |world| {
        let view = world.api.newest();
        let serves = world
            .leader()
            .and_then(|proc| world.proc(proc))
            .is_some_and(|process| process.replica.serves());
        serves && view.is_some_and(|view| view.primary != old)
    });
    world.run_until(world.now + SECOND);
}
