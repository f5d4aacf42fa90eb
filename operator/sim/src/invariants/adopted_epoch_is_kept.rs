//! V2: a node that has stored epoch e never again accepts entries, or grants leases, for an epoch below
//! e.

use standby_core::{Epoch, Message};

use crate::world::{ProcRef, World};

/// Checked when `proc` sends `message`.
pub fn check(world: &World, proc: ProcRef, message: &Message) {
    let (Message::Ack { epoch, .. } | Message::HeartbeatReply { epoch, .. }) = message else {
        return;
    };
    let process = world.proc(proc).expect("it just sent");
    let stored = &world.volumes[process.volume].durable.view;
    let stored = stored.as_ref().map_or(Epoch(0), |view| view.epoch);
    if *epoch != stored {
        let text = format!(
            "{} answers in epoch {epoch} with {stored} stored",
            process.node
        );
        world.broken("V2", text);
    }
}

/// Checked when a volume stored a view: it must be one that was recorded.
pub fn stored(world: &World, volume: usize) {
    let Some(view) = world.volumes[volume].durable.view.clone() else {
        return;
    };
    let view = view.without_loss();
    let recorded = world
        .api
        .views
        .get(&view.epoch)
        .map(|(recorded, _)| recorded);
    if recorded != Some(&view) && !world.api.given_up.contains(&view) {
        let text = format!(
            "{} adopted {view}, recorded was {recorded:?}",
            world.volumes[volume].node
        );
        world.broken("V2", text);
    }
}
