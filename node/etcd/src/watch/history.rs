//! What the watch part needs from the state: events as they are applied, and those of the past.
//!
//! Never decides who gets what.

use bytes::Bytes;

use crate::pb::mvccpb::Event;

/// Everything that happened at one revision, in the order of its operations.
#[derive(Clone, Debug, PartialEq)]
pub struct RevisionEvents {
    /// The revision.
    pub revision: i64,
    /// Its events, at least one, each with `prev_kv` where the key existed before.
    pub events: Vec<Event>,
}

/// What a reader of history wants of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// Nothing.
    Skip,
    /// The events; `prev_kv` may be missing.
    Events,
    /// The events with `prev_kv`.
    WithPrevious,
}

/// A stretch of history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistoryChunk {
    /// The revisions that had a wanted event, ascending, each whole as far as it was wanted.
    pub revisions: Vec<RevisionEvents>,
    /// The last revision that was looked at: everything wanted up to it is in `revisions`.
    pub covered: i64,
}

/// Why history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The first revision asked for lies below the compacted one.
    #[error("history before revision {compacted} was compacted")]
    Compacted {
        /// The revision of the last compaction; it can still be read.
        compacted: i64,
    },
    /// The storage failed.
    #[error("history: {0}")]
    Storage(String),
}

/// The past, as far as it was not compacted. Reads are consistent as of the call, so that a compaction
/// in their middle either fails them or is not seen.
pub trait History: Send + Sync + 'static {
    /// Events of revisions `from..=to` on the keys that `want` names. Ends early, after a whole
    /// revision, once about `limit_bytes` are gathered.
    fn read(
        &self,
        from: i64,
        to: i64,
        want: &dyn Fn(&Bytes) -> Want,
        limit_bytes: usize,
    ) -> Result<HistoryChunk, HistoryError>;
}
