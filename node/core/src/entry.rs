//! Entries of the commit log and their positions.
//!
//! An entry's payload belongs to the interface (etcd, ZEO); nothing here looks inside it.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, Index};

/// A place in the log: an index and the epoch in which its entry was written. Two logs that hold the
/// same position are equal up to it, because an epoch has one primary and a primary writes each
/// index once (V6).
///
/// Positions order by epoch first: of two logs the one with the later last epoch is the newer.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position {
    /// The epoch the entry was written in.
    pub epoch: Epoch,
    /// The entry's index.
    pub index: Index,
}

impl Position {
    /// Before the first entry of any log.
    pub const START: Self = Self {
        epoch: Epoch(0),
        index: Index(0),
    };

    /// The place `index` that was written in `epoch`.
    #[must_use]
    pub const fn new(epoch: Epoch, index: Index) -> Self {
        Self { epoch, index }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.epoch)
    }
}

/// What an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EntryKind {
    /// Opens an epoch (V6). The payload is empty, or says that acknowledged writes were given up
    /// ([`NewHistory`]).
    Open,
    /// A command of the interface.
    Data,
}

impl EntryKind {
    /// The byte that stands for the kind on disk and on the wire.
    #[must_use]
    pub const fn as_byte(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Data => 2,
        }
    }

    /// The kind that the byte stands for, if any does.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Open),
            2 => Some(Self::Data),
            _ => None,
        }
    }
}

/// What the entry that opens an epoch says after acknowledged writes were given up by consent. Every
/// later epoch's entry says it again; it counts where it is met first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewHistory {
    /// The epoch of the view with the consent. Names the history.
    pub epoch: Epoch,
    /// At most so many entries more than the log holds before this one were written in any history
    /// that was given up.
    pub beyond: u64,
}

impl NewHistory {
    /// The most entries that any history can have beyond another. Numbers that grow by it stay far
    /// from the end of 63 bits, however often it happens.
    pub const BEYOND_MAX: u64 = 1 << 56;
    const VERSION: u8 = 1;
    const BYTES: usize = 17;

    /// The payload that says it: a version, then the two numbers, little-endian.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let mut bytes = Vec::with_capacity(Self::BYTES);
        bytes.push(Self::VERSION);
        bytes.extend(self.epoch.0.to_le_bytes());
        bytes.extend(self.beyond.to_le_bytes());
        bytes.into()
    }

    /// What `payload` says, if it says this.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (&version, rest) = payload.split_first()?;
        let (epoch, beyond) = rest.split_at_checked(8)?;
        let number = |bytes: &[u8]| Some(u64::from_le_bytes(bytes.try_into().ok()?));
        (version == Self::VERSION).then_some(())?;
        Some(Self {
            epoch: Epoch(number(epoch)?),
            beyond: number(beyond)?,
        })
    }
}

/// One entry of the commit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub position: Position,
    /// What it is for.
    pub kind: EntryKind,
    /// What the interface wrote. Shared, never copied.
    pub payload: Bytes,
}

impl Entry {
    /// The entry that opens `position.epoch`.
    #[must_use]
    pub const fn open(position: Position) -> Self {
        Self {
            position,
            kind: EntryKind::Open,
            payload: Bytes::new(),
        }
    }

    /// The entry that opens `position.epoch` after acknowledged writes were given up.
    #[must_use]
    pub fn open_history(position: Position, history: NewHistory) -> Self {
        Self {
            payload: history.encode(),
            ..Self::open(position)
        }
    }

    /// A command of the interface.
    #[must_use]
    pub const fn data(position: Position, payload: Bytes) -> Self {
        Self {
            position,
            kind: EntryKind::Data,
            payload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_history_survives_the_log() {
        let history = NewHistory {
            epoch: Epoch(7),
            beyond: 1 << 40,
        };
        assert_eq!(NewHistory::decode(&history.encode()), Some(history));
    }

    #[test]
    fn other_payloads_say_nothing_of_a_history() {
        for payload in [&[][..], &[1; 16], &[1; 18], &[2; 17]] {
            assert_eq!(NewHistory::decode(payload), None, "{payload:?}");
        }
    }
}
