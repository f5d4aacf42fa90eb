//! What nodes do: store views, write, find the last common entry, append, acknowledge, commit.

use super::{Action, Out, time};
use crate::check::{self, Breach};
use crate::fault::Fault;
use crate::log::{ENTRIES_MAX, Log};
use crate::state::{Epoch, Id, Node, Set, State};

pub(super) fn steps(state: &State, out: &mut Out) {
    for id in state.here() {
        adopt(state, id, out);
        if !state.node(id).leads {
            continue;
        }
        write(state, id, out);
        commit(state, id, out);
        for other in state.here().filter(|other| *other != id) {
            replicate(state, id, other, out);
            promise(state, id, other, out);
        }
    }
}

/// A recorded view may come from an operator at any time; one that is not recorded any more (the object
/// was put back to an earlier one) only from a node that has stored it (V9).
fn told(state: &State, epoch: Epoch) -> bool {
    let by_nodes = || state.here().any(|id| state.node(id).epoch == epoch);
    state.view(epoch).is_some() && (epoch <= state.recorded || by_nodes())
}

fn adopt(state: &State, id: Id, out: &mut Out) {
    let stored = state.node(id).epoch;
    for epoch in 1..8 {
        let lower = out.has(Fault::AdoptLowerEpoch) && epoch != stored;
        if (epoch > stored || lower) && told(state, epoch) {
            adopt_one(state, id, epoch, out);
        }
    }
}

/// The disk works in order: what was written before the view was told is on it when the view is. What a
/// primary takes while it stores the next view may follow later.
fn adopt_one(state: &State, id: Id, epoch: Epoch, out: &mut Out) {
    let action = Action::Adopt(id, epoch);
    let stored = state.node(id).epoch;
    let mut next = *state;
    time::resign(&mut next, id);
    let node = next.node_mut(id);
    let comes_from_before = node.leads && stored + 1 == epoch;
    let earlier = node.acked;
    let tail = if node.leads {
        node.log.count(stored) - node.committed
    } else {
        0
    };
    node.resign();
    node.epoch = epoch;
    let view = state.view(epoch);
    // Whoever did not lead the epoch before begins only where nothing can be acknowledged (V3).
    let may = comes_from_before || !view.can_acknowledge() || out.has(Fault::LeadUnseenView);
    if view.primary() == id && may {
        // Each epoch opens with an entry of its own (V6); it goes to disk like any other.
        let opened = state.opened & (1 << epoch) != 0;
        if opened || node.log.last_epoch() >= epoch {
            out.breach(action, Breach::WrittenTwice(id, epoch));
            return;
        }
        node.leads = true;
        node.loose = tail;
        node.log = node.log.with(epoch, 1);
        if out.has(Fault::AcknowledgementOfEarlierEpoch) {
            node.acked = earlier;
        }
        next.opened |= 1 << epoch;
    }
    out.step(action, next);
}

fn write(state: &State, id: Id, out: &mut Out) {
    let node = state.node(id);
    let count = node.log.count(node.epoch);
    if state.left.writes == 0 || count >= ENTRIES_MAX {
        return;
    }
    let mut next = *state;
    next.left.writes -= 1;
    next.node_mut(id).log = node.log.with(node.epoch, count + 1);
    out.step(Action::Write(id), next);
}

/// Whom a primary waits for: the view's synchronous nodes and those it was told (V4).
fn waits_for(state: &State, id: Id, out: &Out) -> Set {
    let node = state.node(id);
    let synchronous = state.view(node.epoch).synchronous();
    match out.rules.fault {
        Some(Fault::AcknowledgeOnOwnDisk) => Set::NONE,
        Some(Fault::PromiseIgnored) => synchronous,
        _ => synchronous.or(node.awaits),
    }
}

/// The next entry is committed when it is durable here and on every node that is waited for (V1).
fn commit(state: &State, id: Id, out: &mut Out) {
    let node = *state.node(id);
    let view = state.view(node.epoch);
    let count = node.committed + 1;
    let may = view.can_acknowledge() || out.has(Fault::CommitInBareView);
    let waits = waits_for(state, id, out);
    let held = waits.iter().all(|other| node.acked_by(other) >= count);
    let after = !time::holds_back(state, id) || out.has(Fault::ServeBeforeLeaseIsOver);
    if !may || !held || !after || count > node.log.count(node.epoch) {
        return;
    }
    let action = Action::Commit(id);
    let mut next = *state;
    next.node_mut(id).committed = count;
    next.node_mut(id).loose = 0;
    let committed = next.node(id).committed_log();
    if let Err(breach) = check::commit(state, id, committed) {
        out.breach(action, breach);
        return;
    }
    if state.committed.is_prefix_of(committed) {
        next.committed = committed;
    }
    out.step(action, next);
}

/// How much of its log a primary sends to a follower: all of it to those that are waited for, what is
/// committed to the others (V1).
fn sent_to(state: &State, primary: Node, other: Id) -> Log {
    let view = state.view(primary.epoch);
    let waited = view.synchronous().or(primary.awaits).has(other);
    if waited || !view.can_acknowledge() {
        primary.log
    } else {
        primary.committed_log()
    }
}

fn replicate(state: &State, id: Id, other: Id, out: &mut Out) {
    let (primary, follower) = (*state.node(id), *state.node(other));
    let lower = follower.epoch > primary.epoch && out.has(Fault::AppendOfLowerEpoch);
    if follower.epoch != primary.epoch && !lower {
        return;
    }
    let common = follower.log.common(primary.log);
    if common != follower.log && !lower {
        cut(state, id, other, common, out);
        if out.has(Fault::TailKept) {
            kept(state, id, other, out);
        }
        return;
    }
    if out.has(Fault::CutCommitted) && !common.is_empty() {
        cut(state, id, other, common.first(common.len() - 1), out);
    }
    // What it has already, and may not be known to the primary's present run, it acknowledges too.
    let Some(log) = common.next_of(sent_to(state, primary, other)) else {
        return;
    };
    if lower && !follower.log.is_prefix_of(log) {
        return;
    }
    let mut next = *state;
    next.node_mut(other).log = log;
    let has = log.count(primary.epoch);
    next.node_mut(id).note_ack(other, has);
    if !out.has(Fault::AcknowledgementGrantsNothing) {
        time::note(&mut next, out, other, primary.epoch);
    }
    out.step(Action::Append(other, id), next);
}

/// A follower cuts what parts from the primary's log (V6).
fn cut(state: &State, id: Id, other: Id, to: Log, out: &mut Out) {
    let action = Action::Cut(other, id);
    if let Err(breach) = check::cut(state, other, to) {
        out.breach(action, breach);
        return;
    }
    let mut next = *state;
    next.node_mut(other).log = to;
    out.step(action, next);
}

/// What [`Fault::TailKept`] does: the primary's last entry is taken behind a tail that differs.
fn kept(state: &State, id: Id, other: Id, out: &mut Out) {
    let (primary, follower) = (state.node(id), state.node(other));
    let count = follower.log.count(primary.epoch) + 1;
    if count > primary.log.count(primary.epoch) {
        return;
    }
    let mut next = *state;
    next.node_mut(other).log = follower.log.with(primary.epoch, count);
    next.node_mut(id).note_ack(other, count);
    out.step(Action::Broken(other, id), next);
}

/// A promise to wait ends only with the epoch (V4).
fn promise(state: &State, id: Id, other: Id, out: &mut Out) {
    let node = state.node(id);
    let view = state.view(node.epoch);
    if view.synchronous().has(other) {
        if out.has(Fault::AloneUnrecorded) {
            let mut next = *state;
            next.node_mut(id).note_ack(other, 3);
            out.step(Action::Broken(id, other), next);
        }
        return;
    }
    let mut next = *state;
    let awaits = &mut next.node_mut(id).awaits;
    if !awaits.has(other) {
        *awaits = awaits.with(other);
        out.step(Action::Promise(id, other), next);
    } else if out.has(Fault::PromiseTakenBack) {
        *awaits = awaits.without(other);
        out.step(Action::Broken(id, other), next);
    }
}
