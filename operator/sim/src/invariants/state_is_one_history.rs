//! V6: all nodes apply the same entries in the same order and come to the same state, which is the
//! model's; nothing applied is ever undone.

use standby_core::Entry;
use standby_etcd::state::Outcome;
use standby_interface::StateMachine;

use crate::world::{ProcRef, World};

/// Checked after `proc` applied `entry`.
pub fn check(world: &mut World, proc: ProcRef, entry: &Entry, outcome: &Outcome) {
    let now = world.now;
    if let Err(what) = world.history.applied(entry, outcome, now) {
        let node = world.proc(proc).map(|process| process.node.to_string());
        let text = format!("{}: {what}", node.unwrap_or_default());
        world.broken("V6", text);
    }
}

/// Checked after `proc` applied a group.
pub fn revision(world: &World, proc: ProcRef) {
    let Some(process) = world.proc(proc) else {
        return;
    };
    let applied = process.state.applied();
    let is = process.view.current_revision();
    if let Some(must) = world.history.revision_at(applied.index)
        && is != must
    {
        let text = format!(
            "{} is at revision {is} after {applied}, not {must}",
            process.node
        );
        world.broken("V6", text);
    }
}
