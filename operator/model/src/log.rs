//! A log without its payloads, in 16 bits: how many entries of each epoch it holds.
//!
//! An epoch has one primary, a primary writes each index once, and a log never goes back to an earlier
//! epoch (V6): so the counts say which entries these are. The first entry of an epoch opens it, the
//! others are writes. That each place is written once is checked where epochs are opened, not assumed.

use crate::state::Epoch;

/// Bits of one epoch's count.
const BITS: u8 = 2;
/// The most entries of one epoch: the one that opens it, and two writes.
pub const ENTRIES_MAX: u8 = 3;

/// Entries, in order, by the epochs they were written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Log(pub u16);

/// The first epoch of which anything is set.
fn first_epoch(bits: u16) -> Epoch {
    let [low, ..] = (bits.trailing_zeros() / u32::from(BITS)).to_le_bytes();
    low
}

impl Log {
    /// How many entries of `epoch` it holds.
    #[must_use]
    pub fn count(self, epoch: Epoch) -> u8 {
        let [low, _] = (self.0 >> (BITS * epoch)).to_le_bytes();
        low & ENTRIES_MAX
    }

    /// The same log with `count` entries of `epoch`.
    #[must_use]
    pub fn with(self, epoch: Epoch, count: u8) -> Self {
        let shift = BITS * epoch;
        let kept = self.0 & !(u16::from(ENTRIES_MAX) << shift);
        Self(kept | (u16::from(count & ENTRIES_MAX) << shift))
    }

    /// The last epoch that wrote here; zero in an empty log.
    #[must_use]
    pub fn last_epoch(self) -> Epoch {
        (1..8).rev().find(|e| self.count(*e) > 0).unwrap_or(0)
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(self) -> u8 {
        (1..8).map(|epoch| self.count(epoch)).sum()
    }

    /// Whether nothing was ever written.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The entries that both logs begin with.
    #[must_use]
    pub fn common(self, other: Self) -> Self {
        let differing = self.0 ^ other.0;
        if differing == 0 {
            return self;
        }
        let epoch = first_epoch(differing);
        let low = (1_u16 << (BITS * epoch)) - 1;
        let least = self.count(epoch).min(other.count(epoch));
        Self(self.0 & low).with(epoch, least)
    }

    /// Whether `other` begins with all of this.
    #[must_use]
    pub fn is_prefix_of(self, other: Self) -> bool {
        self.common(other) == self
    }

    /// The entries up to `count` of `epoch`, without anything later.
    #[must_use]
    pub fn upto(self, epoch: Epoch, count: u8) -> Self {
        let low = (1_u16 << (BITS * epoch)) - 1;
        let least = self.count(epoch).min(count);
        Self(self.0 & low).with(epoch, least)
    }

    /// This log, which `whole` begins with, and the entry that follows in `whole`; none at its end.
    #[must_use]
    pub fn next_of(self, whole: Self) -> Option<Self> {
        let differing = self.0 ^ whole.0;
        if differing == 0 {
            return None;
        }
        let epoch = first_epoch(differing);
        Some(self.with(epoch, self.count(epoch) + 1))
    }

    /// The first `length` entries.
    #[must_use]
    pub fn first(self, length: u8) -> Self {
        let mut left = length;
        let mut log = Self::default();
        for epoch in 1..8 {
            let count = self.count(epoch).min(left);
            log = log.with(epoch, count);
            left -= count;
        }
        log
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(counts: &[(Epoch, u8)]) -> Log {
        let add = |log: Log, (epoch, count): &(Epoch, u8)| log.with(*epoch, *count);
        counts.iter().fold(Log::default(), add)
    }

    #[test]
    fn logs_part_at_the_first_epoch_that_differs() {
        let old = log(&[(1, 1), (2, 3)]);
        let new = log(&[(1, 1), (2, 1), (3, 2)]);
        assert_eq!(old.common(new), log(&[(1, 1), (2, 1)]));
        assert_eq!(new.common(old), log(&[(1, 1), (2, 1)]));
        assert!(log(&[(1, 1)]).is_prefix_of(old));
        assert!(!old.is_prefix_of(new));
    }

    #[test]
    fn what_comes_next_is_the_earliest_that_is_missing() {
        let whole = log(&[(1, 1), (2, 2), (4, 1)]);
        let mut at = Log::default();
        let mut steps = 0;
        while let Some(next) = at.next_of(whole) {
            assert!(at.is_prefix_of(whole) && next.len() == at.len() + 1);
            (at, steps) = (next, steps + 1);
        }
        assert_eq!((at, steps), (whole, 4));
        assert_eq!(whole.first(2), log(&[(1, 1), (2, 1)]));
        assert_eq!(whole.upto(2, 1), log(&[(1, 1), (2, 1)]));
        assert_eq!(whole.last_epoch(), 4);
    }
}
