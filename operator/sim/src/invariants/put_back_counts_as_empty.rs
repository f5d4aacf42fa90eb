//! V11: a node whose log ends before what it once acknowledged is noticed by its peers, who remember what it
//! acknowledged, and counts as a new, empty volume: nobody takes its word as that of the complete node it was.

use standby_core::replica::RoleKind;
use standby_core::{Index, Message};

use crate::world::{ProcRef, Process, World};

/// Checked when `proc` sends `message`: to acknowledge, it must have been taken in by whoever leads.
pub fn check(world: &World, proc: ProcRef, message: &Message) {
    let (Message::Ack { epoch, .. } | Message::HeartbeatReply { epoch, .. }) = message else {
        return;
    };
    let process = world.proc(proc).expect("it just sent");
    let volume = &world.volumes[process.volume];
    if volume.sound() || volume.damage.is_some() {
        return;
    }
    let Some(view) = process.replica.view() else {
        return;
    };
    let leads = |leader: &Process| {
        leader.node == view.primary
            && leader.replica.epoch() == *epoch
            && leader.replica.role_kind() == RoleKind::Primary
    };
    let leader = world.running().find(|(_, process)| leads(process));
    let Some((_, leader)) = leader.filter(|_| view.complete.contains(&process.node)) else {
        return;
    };
    let known = leader.replica.commit();
    if lacks(world, process, known) {
        let text = format!(
            "{} was put back and lacks {known}, which {} knows to be committed; it acknowledges all the \
             same, complete in {view}",
            process.node, leader.node
        );
        world.broken("V11", text);
    }
}

fn lacks(world: &World, process: &Process, index: Index) -> bool {
    let log = &process.log;
    log.base.index < index && log.epoch_at(index) != world.history.epoch_at(index)
}
