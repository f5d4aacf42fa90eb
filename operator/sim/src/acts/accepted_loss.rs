//! A fenced primary gives up its role while nobody can follow; then a node that is not complete returns,
//! and a person consents to promoting it. The person looks first: the node lacks nothing that was
//! acknowledged, which no rule can know.

use standby_api::names;
use standby_operator_core::plan::Phase;

use super::{Cast, until};
use crate::time::SECOND;
use crate::world::{ProcRef, World};

/// Plays it.
pub(super) fn play(world: &mut World, cast: &Cast) {
    let third = cast.others[0];
    world.clients.stopped = true;
    let whole = until(world, 10 * SECOND, |world| lacks_nothing(world, third));
    if !whole {
        return;
    }
    let (Some(primary), Some(heir)) = (name_of(world, cast.primary), name_of(world, third)) else {
        return;
    };
    world.stop(cast.standby, true);
    for other in &cast.others {
        world.stop(*other, true);
    }
    world.tell_fault("order: fence");
    world.annotate(names::ANNOTATION_FENCE, &primary);
    let gave_up = until(world, 45 * SECOND, |world| {
        world.phase() == Some(Phase::GaveUp)
    });
    if !gave_up || !lacks_nothing(world, third) {
        return;
    }
    world.stop(third, false);
    world.run_until(world.now + SECOND);
    consent(world, &heir);
    until(world, 20 * SECOND, |world| {
        let view = world.api.newest();
        view.is_some_and(|view| view.primary.name == heir)
    });
    world.withdraw(names::ANNOTATION_ACCEPT_DATA_LOSS);
}

fn name_of(world: &World, proc: ProcRef) -> Option<String> {
    Some(world.proc(proc)?.node.name.clone())
}

/// Whether a node has everything on its disk that anybody has in any log: what is not acknowledged yet may
/// be, later, by those who are stopped now.
fn lacks_nothing(world: &World, proc: ProcRef) -> bool {
    let Some(process) = world.proc(proc) else {
        return false;
    };
    let everywhere = world.running().map(|(_, process)| process.log.last());
    let durable = world.volumes[process.volume].durable.log.last();
    durable.index >= world.history.last() && everywhere.max() == Some(durable)
}

fn consent(world: &mut World, heir: &str) {
    let Some(epoch) = world.api.newest().map(|view| view.epoch.0) else {
        return;
    };
    let highest = world
        .running()
        .map(|(_, process)| process.log.last().index.0);
    let highest = highest.max().unwrap_or_default();
    let consent = serde_json::json!({
        "cluster": "apps/db", "epoch": epoch, "node": heir, "losesUpTo": highest + 10,
        "by": "people", "why": "the others are gone for good",
    });
    world.tell_fault("order: accept data loss");
    world.annotate(names::ANNOTATION_ACCEPT_DATA_LOSS, &consent.to_string());
}
