//! What a node knows of a log without its payloads: where it begins and ends, which epoch wrote which
//! stretch, and how much of it is durable.
//!
//! Two logs that hold the same (epoch, index) are equal up to it (V6); [`LogIndex::common`] rests on
//! that. Nothing here touches a disk.

use crate::entry::Position;
use crate::ids::{Epoch, Index};

/// The outline of a log, as one node tells it to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOutline {
    /// The position just before the first retained entry.
    pub base: Position,
    /// The first retained index of each epoch, ascending.
    pub epochs: Vec<(Epoch, Index)>,
    /// The last entry; equal to `base` in an empty log.
    pub last: Position,
}

impl LogOutline {
    /// A log that never held anything.
    pub const EMPTY: Self = Self {
        base: Position::START,
        epochs: Vec::new(),
        last: Position::START,
    };

    /// The epoch in which the entry at `index` was written, if the log still knows.
    #[must_use]
    pub fn epoch_at(&self, index: Index) -> Option<Epoch> {
        if index == self.base.index {
            return Some(self.base.epoch);
        }
        if index < self.base.index || index > self.last.index {
            return None;
        }
        let after = self.epochs.partition_point(|(_, first)| *first <= index);
        after
            .checked_sub(1)
            .and_then(|at| self.epochs.get(at))
            .map(|(epoch, _)| *epoch)
    }

    /// The last position that both logs hold, or `None` when it lies before what one of them has
    /// kept.
    #[must_use]
    pub fn common(&self, other: &Self) -> Option<Position> {
        let low = self.base.index.max(other.base.index);
        let high = self.last.index.min(other.last.index);
        if high < low {
            return None;
        }
        let same = |index: Index| {
            let mine = self.epoch_at(index);
            mine.is_some() && mine == other.epoch_at(index)
        };
        if !same(low) {
            return None;
        }
        // Equal at one index means equal at every lower one, so the boundary can be bisected.
        let (mut equal, mut beyond) = (low.0, high.0 + 1);
        while beyond - equal > 1 {
            let middle = equal + (beyond - equal) / 2;
            if same(Index(middle)) {
                equal = middle;
            } else {
                beyond = middle;
            }
        }
        let index = Index(equal);
        self.epoch_at(index)
            .map(|epoch| Position::new(epoch, index))
    }
}

/// The outline of this node's own log, and how far it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogIndex {
    outline: LogOutline,
    durable: Index,
}

impl LogIndex {
    /// A log as recovery found it: all of it is durable.
    #[must_use]
    pub fn recovered(outline: LogOutline) -> Self {
        Self {
            durable: outline.last.index,
            outline,
        }
    }

    /// The outline.
    #[must_use]
    pub fn outline(&self) -> &LogOutline {
        &self.outline
    }

    /// The last entry's position.
    #[must_use]
    pub fn last(&self) -> Position {
        self.outline.last
    }

    /// The position just before the first retained entry.
    #[must_use]
    pub fn base(&self) -> Position {
        self.outline.base
    }

    /// The highest index known to be on disk.
    #[must_use]
    pub fn durable(&self) -> Index {
        self.durable
    }

    /// The position of `index`, if the log still knows its epoch.
    #[must_use]
    pub fn position_at(&self, index: Index) -> Option<Position> {
        self.outline
            .epoch_at(index)
            .map(|epoch| Position::new(epoch, index))
    }

    /// Adds an entry's position at the end.
    ///
    /// # Panics
    /// When the log would get a hole or go back to an earlier epoch: either would lose entries.
    pub fn append(&mut self, position: Position) {
        let last = self.outline.last;
        assert!(
            position.index == last.index.next() && position.epoch >= last.epoch,
            "an entry at {position} cannot follow {last}"
        );
        let newest = self.outline.epochs.last().map(|(epoch, _)| *epoch);
        if newest != Some(position.epoch) {
            self.outline.epochs.push((position.epoch, position.index));
        }
        self.outline.last = position;
    }

    /// Cuts everything after `index`.
    ///
    /// # Panics
    /// When `index` lies before the base or after the end: that place is not in the log.
    pub fn truncate_after(&mut self, index: Index) {
        let position = self.position_at(index);
        let position = position.expect("a log is cut at a place that it holds");
        self.outline.epochs.retain(|(_, first)| *first <= index);
        self.outline.last = position;
        self.durable = self.durable.min(index);
    }

    /// Notes that the log was replaced by a snapshot at `base`.
    pub fn reset(&mut self, base: Position) {
        self.outline = LogOutline {
            base,
            epochs: Vec::new(),
            last: base,
        };
        self.durable = base.index;
    }

    /// Notes that entries up to and including `index` were given up (they are in the state).
    /// Ignored when the log does not hold that place.
    pub fn release_through(&mut self, index: Index) {
        let Some(base) = self.position_at(index) else {
            return;
        };
        self.outline.base = base;
        let first = index.next();
        let keep = self
            .outline
            .epochs
            .partition_point(|(_, begin)| *begin <= first);
        if let Some(at) = keep.checked_sub(1) {
            self.outline.epochs.drain(..at);
            self.outline.epochs[0].1 = self.outline.epochs[0].1.max(first);
        }
        if index == self.outline.last.index {
            self.outline.epochs.clear();
        }
    }

    /// Notes a completion of the disk: everything up to `position` is durable. A completion for
    /// entries that were cut meanwhile says nothing about what stands there now and is ignored.
    pub fn mark_durable(&mut self, position: Position) {
        if self.outline.epoch_at(position.index) == Some(position.epoch) {
            self.durable = self.durable.max(position.index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u64, index: u64) -> Position {
        Position::new(Epoch(epoch), Index(index))
    }

    fn log(positions: &[(u64, u64)]) -> LogIndex {
        let mut log = LogIndex::recovered(LogOutline::EMPTY);
        for (epoch, index) in positions {
            log.append(at(*epoch, *index));
        }
        log
    }

    #[test]
    fn two_empty_logs_share_the_start() {
        assert_eq!(
            LogOutline::EMPTY.common(&LogOutline::EMPTY),
            Some(Position::START)
        );
    }

    #[test]
    fn logs_part_where_the_epochs_differ() {
        let old = log(&[(1, 1), (1, 2), (1, 3), (1, 4)]);
        let new = log(&[(1, 1), (1, 2), (2, 3)]);
        assert_eq!(new.outline().common(old.outline()), Some(at(1, 2)));
        assert_eq!(old.outline().common(new.outline()), Some(at(1, 2)));
    }

    #[test]
    fn a_shorter_log_is_common_up_to_its_end() {
        let long = log(&[(1, 1), (1, 2), (3, 3), (3, 4)]);
        let short = log(&[(1, 1), (1, 2), (3, 3)]);
        assert_eq!(long.outline().common(short.outline()), Some(at(3, 3)));
    }

    #[test]
    fn nothing_is_common_before_what_was_kept() {
        let mut long = log(&[(1, 1), (1, 2), (1, 3), (2, 4)]);
        long.release_through(Index(3));
        let short = log(&[(1, 1), (1, 2)]);
        assert_eq!(long.outline().common(short.outline()), None);
        let enough = log(&[(1, 1), (1, 2), (1, 3)]);
        assert_eq!(long.outline().common(enough.outline()), Some(at(1, 3)));
    }

    #[test]
    fn what_was_released_is_still_known_as_the_base() {
        let mut log = log(&[(1, 1), (1, 2), (2, 3), (2, 4)]);
        log.release_through(Index(3));
        assert_eq!(log.base(), at(2, 3));
        assert_eq!(log.position_at(Index(4)), Some(at(2, 4)));
        assert_eq!(log.position_at(Index(2)), None);
        log.release_through(Index(4));
        assert_eq!(log.outline().epochs, vec![]);
        log.append(at(2, 5));
        assert_eq!(log.position_at(Index(5)), Some(at(2, 5)));
    }

    #[test]
    fn a_completion_for_entries_that_were_cut_is_ignored() {
        let mut log = log(&[(1, 1), (1, 2), (1, 3)]);
        log.truncate_after(Index(1));
        log.append(at(2, 2));
        log.mark_durable(at(1, 3));
        log.mark_durable(at(1, 2));
        assert_eq!(log.durable(), Index(0));
        log.mark_durable(at(2, 2));
        assert_eq!(log.durable(), Index(2));
    }

    #[test]
    #[should_panic(expected = "cannot follow")]
    fn a_log_never_gets_a_hole() {
        log(&[(1, 1), (1, 3)]);
    }
}
