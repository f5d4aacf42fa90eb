//! V3, V4, V7, V10: every recorded view may follow the one before it; `alone` only where durability is
//! `Available`; a first view only for volumes that never had one.

use standby_api::ConsentKind;
use standby_core::{Epoch, View};

use crate::world::World;

/// Checked when an operator is about to record `view`.
pub fn check(world: &World, which: usize, view: &View, consent: Option<ConsentKind>) {
    let before = world.api.recorded();
    let verdict = match &before {
        _ if consent.is_some() => view.check(),
        None => view.check_first(),
        Some(before) => before.check_successor(view).map(|_| ()),
    };
    if let Err(error) = verdict {
        world.broken("V3", format!("operator {which} records {view}: {error}"));
    }
    if view.alone && !world.profile.available {
        world.broken(
            "V7",
            format!("operator {which} records {view} where durability is Strict"),
        );
    }
    if let Some((known, _)) = world.api.views.get(&view.epoch)
        && known != view
        && consent.is_none()
        && adopted_somewhere(world, known)
    {
        let text = format!("operator {which} records {view}, nodes live by {known}");
        world.broken("V10", text);
    }
    if before.is_none() && consent.is_none() {
        first(world, view);
    }
}

fn adopted_somewhere(world: &World, view: &View) -> bool {
    let mut volumes = world.volumes.iter().filter(|volume| !volume.gone);
    volumes.any(|volume| volume.durable.view.as_ref() == Some(view))
}

fn first(world: &World, view: &View) {
    for volume in world.volumes.iter().filter(|volume| !volume.gone) {
        let adopted = volume
            .durable
            .view
            .as_ref()
            .map_or(Epoch(0), |view| view.epoch);
        if adopted > Epoch(0) {
            let text = format!(
                "{view} is no first view: {} has adopted {adopted}",
                volume.node
            );
            world.broken("V10", text);
        }
    }
}
