//! V2: a node that has stored epoch e never again accepts entries, or grants leases, for an epoch below
//! e.

use standby_core::{Epoch, Message};

use crate::world::World;

/// Checked when `node` sends `message`.
pub(crate) fn check(world: &World, node: usize, message: &Message) {
    let (Message::Ack { epoch, .. } | Message::HeartbeatReply { epoch, .. }) = message else {
        return;
    };
    let stored = world.nodes[node]
        .disk
        .durable
        .view
        .as_ref()
        .map_or(Epoch(0), |view| view.epoch);
    assert!(
        *epoch == stored,
        "seed {}: V2: n{node} answers in epoch {epoch} with {stored} stored",
        world.report.seed
    );
}
