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
    /// Opens an epoch (V6). The payload is empty; the state machine may still act on it, for example
    /// to give every lease its full time again after a failover.
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
