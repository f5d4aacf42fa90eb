//! What operators do, however many there are and however old what they know is: record the next view,
//! if the recorded one is still the one they decided on.

use super::{Action, Out, unchecked};
use crate::check::{self, Breach};
use crate::fault::Fault;
use crate::state::{Epoch, Id, Set, State};
use crate::views::{Code, Wish};

pub(super) fn steps(state: &State, out: &mut Out) {
    if state.recorded >= out.rules.bounds.epochs {
        return;
    }
    let highest = state.highest();
    if highest > state.recorded {
        recover(state, highest, out);
        // Somebody knows that the object is old, and tells (V10).
        if !out.rules.bounds.blind {
            return;
        }
    }
    if state.recorded == 0 {
        first(state, out);
        return;
    }
    let view = state.view(state.recorded);
    for id in view.complete().iter() {
        wish(state, Wish::Promote(id), out);
    }
    for parts in 1..16 {
        let set = Set(parts);
        if set.within(state.reported) {
            wish(state, Wish::Synchronous(set), out);
        }
    }
    if state.left.alone > 0 || view.alone() {
        wish(state, Wish::Alone, out);
    }
    broken(state, view, out);
}

/// A first view is made only for volumes that never had one (V10).
fn first(state: &State, out: &mut Out) {
    if state.highest() > 0 && !out.has(Fault::StartAfresh) {
        return;
    }
    for id in state.here() {
        let view = out.rules.views.first(id);
        record(state, 1, view, Action::First(id), out);
    }
}

fn wish(state: &State, wish: Wish, out: &mut Out) {
    let view = state.view(state.recorded);
    if let Some(next) = out.rules.views.next(view, wish) {
        record(state, state.recorded + 1, next, Action::Record(wish), out);
    }
}

/// The view object is missing or older than what nodes have: continued above the highest epoch, once
/// every node was asked (V10).
fn recover(state: &State, highest: Epoch, out: &mut Out) {
    let mut from = highest;
    let mut above = highest;
    if out.has(Fault::StartAfresh) && state.recorded == 0 {
        first(state, out);
    }
    if out.has(Fault::ContinueAboveRecorded) {
        above = state.recorded;
    }
    if out.has(Fault::ContinueWithoutAsking) {
        let lowest = state.here().map(|id| state.node(id).epoch);
        from = lowest.filter(|e| *e > state.recorded).min().unwrap_or(from);
        above = from;
    }
    let view = state.view(from);
    let named = view.complete().or(view.synchronous());
    let here = state.here().fold(Set::NONE, Set::with);
    if !named.within(here) || above >= out.rules.bounds.epochs {
        return;
    }
    for id in view.complete().iter() {
        if let Some(next) = out.rules.views.next(view, Wish::Recover(id)) {
            record(state, above + 1, next, Action::Recover(id), out);
        }
    }
}

/// Writes the view object.
pub(super) fn record(state: &State, epoch: Epoch, view: Code, action: Action, out: &mut Out) {
    let mut next = *state;
    let was = state.view(epoch);
    let adopted = state.here().any(|id| state.node(id).epoch == epoch);
    if was.is_some() && was != view && adopted {
        out.breach(action, Breach::TwoViews(epoch));
        return;
    }
    if view.alone() && !state.view(state.recorded).alone() {
        next.left.alone -= 1;
    }
    if out.has(Fault::TrustCachedView) {
        let known = if was.primary() == view.primary() {
            state.reported_before.or(state.reported)
        } else {
            Set::NONE
        };
        next.reported_before = known;
    }
    if state.highest() < epoch {
        // Whoever may have opened it is lost with his volume, and nobody followed him there.
        next.opened &= !(1 << epoch);
    }
    next.views[usize::from(epoch)] = view;
    next.recorded = epoch;
    next.reported = Set::NONE;
    out.step(action, next);
}

/// What primaries of the recorded view tell: whom they have seen to have everything (V4). It is told at
/// once, and never forgotten while the view stands: whoever acts on less could have acted before.
pub(super) fn report(state: &mut State, out: &Out) {
    let epoch = state.recorded;
    let view = state.view(epoch);
    if epoch == 0 {
        return;
    }
    let primary = *state.node(view.primary());
    if !primary.leads || primary.epoch != epoch {
        return;
    }
    // Those of the view itself had everything when it was recorded, and have been waited for since.
    state.reported = state.reported.or(view.synchronous());
    let bare = !view.can_acknowledge();
    let everything = primary.committed.max(1);
    let partly = out.has(Fault::CompleteWithPartOfLog);
    let unawaited = out.has(Fault::PromiseIgnored);
    for id in state.here() {
        if id == view.primary() {
            continue;
        }
        let waited = bare || unawaited || primary.awaits.has(id);
        let matched = state.node(id).epoch == epoch && check::matched(state, view.primary(), id);
        let has = primary.acked_by(id) >= everything || (partly && matched);
        if waited && has {
            state.reported = state.reported.with(id);
        }
    }
}

/// What operators do that break a rule.
fn broken(state: &State, view: Code, out: &mut Out) {
    let (epoch, primary) = (state.recorded + 1, view.primary());
    for id in state.here() {
        let action = Action::Broken(id, id);
        match out.rules.fault {
            Some(Fault::RecordUnreported) if id != primary => {
                wish(state, Wish::Synchronous(Set::of(id)), out);
            }
            Some(Fault::TrustCachedView) if state.reported_before.has(id) => {
                wish(state, Wish::Synchronous(Set::of(id)), out);
            }
            Some(Fault::PromoteIncomplete) => {
                let next = unchecked(id, Set::NONE, view.complete().with(id));
                record(state, epoch, next, action, out);
            }
            Some(Fault::NewPrimaryNotBare) if !view.complete().has(id) => {
                for to in view.complete().without(primary).iter() {
                    let next = unchecked(to, Set::of(id), Set::of(to).with(id));
                    record(state, epoch, next, action, out);
                }
            }
            Some(Fault::CompleteGrowsInBareView) if !view.can_acknowledge() => {
                let next = unchecked(primary, Set::NONE, view.complete().with(id));
                record(state, epoch, next, action, out);
            }
            Some(Fault::NoCompareAndSwap) => over_written(state, id, out),
            _ => {}
        }
    }
}

/// A decision on the view before the recorded one, written all the same.
fn over_written(state: &State, id: Id, out: &mut Out) {
    let before = state.view(state.recorded.saturating_sub(1));
    if let Some(next) = out.rules.views.next(before, Wish::Promote(id))
        && next != state.view(state.recorded)
    {
        record(state, state.recorded, next, Action::Broken(id, id), out);
    }
}
