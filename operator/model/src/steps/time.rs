//! Leases and reads (V5), with time reduced to what counts: the order of things.
//!
//! The timeline holds, in the order in which they last happened, leases ("`holder` was granted one by
//! `granter`") and notes ("this node granted or acknowledged in that epoch", "it started"). A lease
//! holds for a time L from when its heartbeat was sent; who noted something serves nothing as primary
//! until L and the drift of clocks have passed since then. So when a note's time is over, so are all
//! leases before it: things leave the timeline at its beginning. Within that order anything may take
//! any time.

use super::{Action, Out};
use crate::fault::Fault;
use crate::state::{Epoch, Id, Set, State, TIMELINE};

const LEASE: u8 = 0x80;
const NOTE: u8 = 0x40;

fn lease(holder: Id, granter: Id) -> u8 {
    LEASE | (holder << 2) | granter
}

fn note_of(id: Id, epoch: Epoch) -> u8 {
    NOTE | (id << 3) | epoch
}

fn is_lease(item: u8) -> bool {
    item & LEASE != 0
}

fn holder(item: u8) -> Id {
    (item >> 2) & 3
}

fn noted_by(item: u8, id: Id) -> bool {
    item & NOTE != 0 && (item >> 3) & 3 == id
}

fn items(state: &State) -> impl Iterator<Item = u8> {
    state.timeline.into_iter().take_while(|item| *item != 0)
}

fn keep(state: &mut State, wanted: impl Fn(u8) -> bool) {
    let mut kept = [0; TIMELINE];
    for (slot, item) in kept.iter_mut().zip(items(state).filter(|i| wanted(*i))) {
        *slot = item;
    }
    state.timeline = kept;
}

/// It happens now.
fn put(state: &mut State, item: u8) {
    keep(state, |other| other != item);
    let free = state.timeline.iter_mut().find(|slot| **slot == 0);
    *free.expect("the bounds keep the timeline short") = item;
}

/// Notes that `id` granted a lease or acknowledged something in `epoch`; in epoch zero: started.
pub(super) fn note(state: &mut State, out: &Out, id: Id, epoch: Epoch) {
    if out.rules.bounds.reads {
        put(state, note_of(id, epoch));
    }
}

/// The primary's leases go with its role.
pub(super) fn resign(state: &mut State, id: Id) {
    keep(state, |item| !is_lease(item) || holder(item) != id);
}

/// What a process knew of its grants goes with it.
pub(super) fn forget(state: &mut State, id: Id) {
    keep(state, |item| !noted_by(item, id));
}

/// Whether a node may not serve yet.
pub(super) fn holds_back(state: &State, id: Id) -> bool {
    items(state).any(|item| noted_by(item, id))
}

/// Whether a primary may answer a linearizable read.
pub(crate) fn may_read(state: &State, id: Id, fault: Option<Fault>) -> bool {
    let node = state.node(id);
    let view = state.view(node.epoch);
    let granted = items(state)
        .filter(|item| is_lease(*item) && holder(*item) == id)
        .fold(Set::NONE, |set, item| set.with(item & 3));
    let granters = match fault {
        Some(Fault::LeaseBySynchronousOnly) => view.synchronous(),
        Some(Fault::ReadWithoutLease) => Set::NONE,
        _ => view.synchronous().or(node.awaits),
    };
    node.leads && view.can_acknowledge() && node.committed > 0 && granters.within(granted)
}

/// Brings the timeline to its shortest form. Notes at its beginning hold up nothing: no lease from
/// before them is left. The order among leases, and among notes, between which nothing else happened
/// means nothing.
pub(crate) fn settle(state: &mut State) {
    let first = items(state).position(is_lease);
    let line = match first {
        None => [0; TIMELINE],
        Some(at) => {
            let mut line = state.timeline;
            line.rotate_left(at);
            line[TIMELINE - at..].fill(0);
            line
        }
    };
    state.timeline = line;
    let used = items(state).count();
    for run in state.timeline[..used].chunk_by_mut(|a, b| is_lease(*a) == is_lease(*b)) {
        run.sort_unstable();
    }
}

/// The same timeline with other names for the nodes.
pub(crate) fn rename(line: [u8; TIMELINE], name: impl Fn(Id) -> Id) -> [u8; TIMELINE] {
    line.map(|item| {
        if item == 0 {
            0
        } else if is_lease(item) {
            lease(name(holder(item)), name(item & 3))
        } else {
            note_of(name((item >> 3) & 3), item & 7)
        }
    })
}

pub(super) fn steps(state: &State, out: &mut Out) {
    if items(state).next().is_some() {
        pass(state, out);
    }
    for id in state.here() {
        if state.node(id).leads {
            for other in state.here().filter(|other| *other != id) {
                grant(state, id, other, out);
            }
            proof(state, id, out);
        }
    }
}

fn pass(state: &State, out: &mut Out) {
    let mut next = *state;
    let leases = items(state).take_while(|item| is_lease(*item)).count();
    next.timeline.rotate_left(leases);
    next.timeline[TIMELINE - leases..].fill(0);
    out.step(Action::Pass, next);
}

/// A matched follower answers a heartbeat: a lease, and a note that it granted one.
fn grant(state: &State, id: Id, other: Id, out: &mut Out) {
    let (primary, follower) = (state.node(id), state.node(other));
    let epoch = primary.epoch;
    let lower = follower.epoch > epoch && out.has(Fault::GrantOfLowerEpoch);
    let same = follower.epoch == epoch && follower.log.is_prefix_of(primary.log);
    // Only a view that can acknowledge answers reads.
    if !(same || lower) || !state.view(epoch).can_acknowledge() {
        return;
    }
    let mut next = *state;
    put(&mut next, lease(id, other));
    if out.has(Fault::GrantWhileStoring) {
        // Another view is being stored: the grant slips through once more, and nobody notes it.
        out.step(Action::Broken(other, id), next);
    }
    if !lower {
        note(&mut next, out, other, epoch);
    }
    out.step(Action::Grant(other, id), next);
}

/// Whoever led the epoch before is proven not to serve any more: leases of that epoch are void, those of
/// earlier ones were held by others.
fn proof(state: &State, id: Id, out: &mut Out) {
    let epoch = state.node(id).epoch;
    let before = epoch - 1;
    let leads = |other: Id| state.node(other).leads && state.node(other).epoch == before;
    let proven = !state.here().any(leads);
    let holds = items(state).any(|item| item == note_of(id, before));
    if !(proven || out.has(Fault::PromotedOnSuspicion)) {
        return;
    }
    let mut next = *state;
    if out.has(Fault::ProofTakenForAll) {
        forget(&mut next, id);
    } else if holds {
        keep(&mut next, |item| item != note_of(id, before));
    } else {
        return;
    }
    out.step(Action::Proof(id), next);
}
