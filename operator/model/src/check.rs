//! What must hold, in the words of the rules (`docs/architecture.md`).

use std::fmt;

use crate::log::Log;
use crate::state::{Epoch, Id, Place, State};
use crate::steps::{Rules, time};

/// A rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// V1: committed without a copy on a synchronous node.
    #[error("V1: db-{} commits what is not on synchronous node db-{}", .0 + 1, .1 + 1)]
    NotOnSynchronous(Id, Id),
    /// V1, V3: what was acknowledged before is not part of what is acknowledged now: it is lost.
    #[error("V1, V3: db-{} acknowledges a history without what was acknowledged before: a write is lost", .0 + 1)]
    HistoryLost(Id),
    /// V4: a node that may be promoted lacks an acknowledged write.
    #[error("V4: db-{} is complete in epoch {} and lacks an acknowledged write", .0 + 1, .1)]
    CompleteLacks(Id, Epoch),
    /// V6: two runs wrote the same places of the log.
    #[error("V3, V6: db-{} opens epoch {}, which was opened before: places of the log are written twice", .0 + 1, .1)]
    WrittenTwice(Id, Epoch),
    /// V6: a follower cut what was committed.
    #[error("V6: db-{} cuts what was committed", .0 + 1)]
    CommittedCut(Id),
    /// V5: a read that does not see an acknowledged write.
    #[error("V5: db-{} may answer a read without a write that was acknowledged", .0 + 1)]
    StaleRead(Id),
    /// V3, V10: two views have the same epoch.
    #[error("V3, V10: another view of epoch {0} is recorded, which nodes have stored already")]
    TwoViews(Epoch),
}

/// A breach and what led to it, in words.
#[derive(Debug)]
pub struct Violation {
    /// What was broken.
    pub breach: Breach,
    /// The steps, the last one breaks the rule.
    pub steps: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "{:>3}. {step}", number + 1)?;
        }
        write!(f, "     {}", self.breach)
    }
}

/// Whether `other` has found the last entry in common with this primary.
#[must_use]
pub fn matched(state: &State, primary: Id, other: Id) -> bool {
    state.node(other).log.is_prefix_of(state.node(primary).log)
}

/// Checked when `id` commits, so that `committed` is acknowledged (V1, V6). It may do so late, when others
/// have gone on from there; but never beside them.
pub fn commit(state: &State, id: Id, committed: Log) -> Result<(), Breach> {
    let known = state.committed;
    if !known.is_prefix_of(committed) && !committed.is_prefix_of(known) {
        return Err(Breach::HistoryLost(id));
    }
    let view = state.view_of(id);
    for other in view.synchronous().iter() {
        let node = state.node(other);
        if node.place == Place::Here && !committed.is_prefix_of(node.log) {
            return Err(Breach::NotOnSynchronous(id, other));
        }
    }
    Ok(())
}

/// Checked when `id` cuts its log to `to` (V6). A copy that nobody counts on may be cut: a new node that
/// follows a primary of long ago has entries of which it does not know that they are committed.
pub fn cut(state: &State, id: Id, to: Log) -> Result<(), Breach> {
    let counted = state.view(state.recorded).complete().has(id);
    let had = state.node(id).log.common(state.committed);
    if counted && !had.is_prefix_of(to) {
        return Err(Breach::CommittedCut(id));
    }
    Ok(())
}

/// Checked at every moment.
pub fn state(state: &State, rules: &Rules) -> Result<(), Breach> {
    complete(state)?;
    if rules.bounds.reads {
        for id in state.here() {
            let behind = state.node(id).committed_log() != state.committed;
            if behind && time::may_read(state, id, rules.fault) {
                return Err(Breach::StaleRead(id));
            }
        }
    }
    Ok(())
}

/// V3, V4: every node that the recorded view calls complete has everything that was acknowledged. Of a
/// view that was put back to an earlier one it is not expected (V10).
fn complete(state: &State) -> Result<(), Breach> {
    if state.recorded == 0 || state.highest() > state.recorded {
        return Ok(());
    }
    for id in state.view(state.recorded).complete().iter() {
        let node = state.node(id);
        if node.place == Place::Here && !state.committed.is_prefix_of(node.log) {
            return Err(Breach::CompleteLacks(id, state.recorded));
        }
    }
    Ok(())
}
