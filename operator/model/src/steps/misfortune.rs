//! What goes wrong: processes end, volumes are lost, the view object is lost or put back.

use super::{Action, Out, time};
use crate::fault::Fault;
use crate::state::{Id, Node, Place, Set, State};
use crate::views::Code;

pub(super) fn steps(state: &State, out: &mut Out) {
    for id in state.here() {
        restart(state, id, out);
        if state.left.losses > 0 {
            lose(state, id, out);
        }
        if state.left.put_back > 0 {
            put_back(state, id, out);
        }
    }
    if state.left.restores > 0 {
        restore(state, out);
    }
}

/// A primary loses its role for good in this epoch (V3), and of its log what is not on disk: of what it
/// has not committed, any end. A follower has on disk what it acknowledged, and loses nothing; that
/// leases it granted may still hold is why it waits after its start (V5), which is never less than what
/// it would have waited without.
fn restart(state: &State, id: Id, out: &mut Out) {
    let node = *state.node(id);
    let count = node.log.count(node.epoch);
    if out.has(Fault::AdoptBeforeStored) && node.epoch > 1 {
        let mut next = *state;
        next.node_mut(id).resign();
        next.node_mut(id).epoch = node.epoch - 1;
        out.step(Action::Broken(id, id), next);
    }
    if !node.leads {
        let forgets = out.has(Fault::RestartForgetsGrants) && out.rules.bounds.reads;
        if forgets || (out.has(Fault::AcknowledgeBeforeDisk) && count > 0) {
            let mut next = *state;
            time::forget(&mut next, id);
            if !forgets {
                next.node_mut(id).log = node.log.with(node.epoch, count - 1);
            }
            out.step(Action::Restart(id, 1), next);
        }
        return;
    }
    let safe = if out.has(Fault::CommitBeforeOwnDisk) {
        0
    } else {
        node.committed
    };
    let last = node.log.len();
    for lost in 0..=(count - safe + node.loose) {
        let kept = node.log.first(last - lost);
        let mut next = *state;
        time::resign(&mut next, id);
        time::forget(&mut next, id);
        if !out.has(Fault::RestartForgetsGrants) {
            time::note(&mut next, out, id, 0);
        }
        let process = next.node_mut(id);
        process.resign();
        process.log = kept;
        if out.has(Fault::ResumeInSameEpoch) {
            process.leads = true;
            process.committed = node.committed.min(kept.count(node.epoch));
        }
        out.step(Action::Restart(id, lost), next);
    }
}

/// While its process is down, a primary's volume is put back to what it was just before it stored its
/// view. Only while nothing was acknowledged in that view: what a volume that was put back may lack is not
/// part of the model (V11), that it may write the same places twice is (V3).
fn put_back(state: &State, id: Id, out: &mut Out) {
    let node = *state.node(id);
    if !node.leads || !state.view_of(id).can_acknowledge() || node.committed > 0 {
        return;
    }
    let mut next = *state;
    next.left.put_back -= 1;
    time::resign(&mut next, id);
    time::forget(&mut next, id);
    time::note(&mut next, out, id, 0);
    let process = next.node_mut(id);
    process.resign();
    process.epoch = node.epoch - 1;
    process.log = node.log.upto(node.epoch, 0);
    out.step(Action::PutBack(id), next);
}

/// The volume is gone; whoever comes in its place has another identity. The last copy of what was
/// acknowledged is not lost: that can happen to a primary that acknowledged alone, and is its price (V7).
fn lose(state: &State, id: Id, out: &mut Out) {
    let holds = |other: Id| state.committed.is_prefix_of(state.node(other).log);
    if !state.here().any(|other| other != id && holds(other)) {
        return;
    }
    let mut next = *state;
    next.left.losses -= 1;
    time::resign(&mut next, id);
    time::forget(&mut next, id);
    *next.node_mut(id) = Node {
        place: Place::Lost,
        ..Node::default()
    };
    let unborn = next.nodes.iter_mut().find(|n| n.place == Place::Unborn);
    if out.has(Fault::NameReused) {
        next.node_mut(id).place = Place::Here;
    } else if let Some(replacement) = unborn {
        replacement.place = Place::Here;
    }
    out.step(Action::LoseVolume(id), next);
}

/// The object becomes what it was in an earlier epoch, or is missing. What was recorded since and no
/// node has stored is gone: an order that was on its way since before the API server was restored does
/// not arrive any more.
fn restore(state: &State, out: &mut Out) {
    for epoch in 0..state.recorded {
        let kept = epoch == 0 || state.view(epoch).is_some();
        if !kept {
            continue;
        }
        let mut next = *state;
        next.left.restores -= 1;
        next.recorded = epoch;
        next.reported = Set::NONE;
        for later in epoch + 1..8 {
            let stored = state.here().any(|id| state.node(id).epoch == later);
            if !stored {
                next.views[usize::from(later)] = Code::NONE;
            }
        }
        out.step(Action::Restore(epoch), next);
    }
}
