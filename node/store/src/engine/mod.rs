//! The ordered key-value engine under a state machine, behind a narrow trait: fjall in the product,
//! a `BTreeMap` as the model that tests hold it against.
//!
//! An engine is a materialised view of the log. Writes are atomic but durable only after
//! [`Engine::persist`]; what a crash takes away, the log gives back.

mod fjall;
mod memory;

pub use self::fjall::{FjallEngine, FjallOptions};
pub use memory::{Content, MemoryEngine};

use std::ops::Bound;

use bytes::Bytes;

/// A failure of the engine. There is no way on but to end the process (or to refill the engine).
#[derive(Debug, thiserror::Error)]
#[error("engine: {0}")]
pub struct EngineError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// A pair of key and value.
pub type Pair = (Bytes, Bytes);

/// Pairs in ascending order of their keys.
pub type PairIter<'a> = Box<dyn Iterator<Item = Result<Pair, EngineError>> + Send + 'a>;

/// Changes that take effect together or not at all.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    /// In order; a later change of a key wins. `None` removes.
    pub changes: Vec<(Bytes, Option<Bytes>)>,
}

impl Batch {
    /// Sets `key` to `value`.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.changes.push((key.into(), Some(value.into())));
    }

    /// Removes `key`.
    pub fn remove(&mut self, key: impl Into<Bytes>) {
        self.changes.push((key.into(), None));
    }
}

/// A consistent image of an engine that later writes do not change.
pub trait EngineSnapshot: Send {
    /// Pairs whose keys lie between the bounds, ascending.
    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> PairIter<'_>;
}

/// An ordered key-value store with atomic, not yet durable, batches. One writer, many readers.
pub trait Engine: Send + Sync + 'static {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// Pairs whose keys lie between the bounds, ascending. Consistent as of the call.
    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> PairIter<'_>;

    /// Applies the batch atomically. Visible at once, durable after [`Engine::persist`]; after a
    /// crash the engine holds a prefix of the batches written.
    fn write(&self, batch: Batch) -> Result<(), EngineError>;

    /// Makes everything written so far durable.
    fn persist(&self) -> Result<(), EngineError>;

    /// A consistent image for sending to a far-behind node.
    fn snapshot(&self) -> Box<dyn EngineSnapshot>;

    /// Removes everything. Not atomic: the caller marks the engine as unfinished before and after.
    fn clear(&self) -> Result<(), EngineError>;

    /// Bytes of disk in use.
    fn disk_bytes(&self) -> u64;
}

/// Whether no key can lie between the bounds, also because they are the wrong way round.
fn is_empty_range(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (
            Bound::Included(from) | Bound::Excluded(from),
            Bound::Included(to) | Bound::Excluded(to),
        ) => from >= to,
    }
}
