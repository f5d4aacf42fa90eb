//! What readers and the applying thread share in memory, and how records are fetched.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use parking_lot::RwLock;
use standby_core::Position;
use standby_store::engine::Engine;

use super::index::{Key, KeyIndex, Rev};
use super::leases::Leases;
use super::recent::Recent;
use super::records;
use crate::error::EtcdError;
use crate::limits::RECENT_BYTES;
use crate::pb::mvccpb::KeyValue;

/// The revision of an empty store.
pub(crate) const FIRST_REVISION: i64 = 1;
/// Nothing was compacted yet.
pub(crate) const NOT_COMPACTED: i64 = -1;

/// The deletions a compaction still has to do: the keys after `after` are not yet looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sweep {
    pub revision: i64,
    pub after: Option<Key>,
}

/// The part of the state that is in memory.
#[derive(Debug)]
pub(crate) struct Core {
    pub index: KeyIndex,
    pub leases: Leases,
    pub recent: Recent,
    /// What readers may see: everything up to it is in the engine.
    pub readable: i64,
    /// The applied position that belongs to `readable`.
    pub applied: Position,
    /// Revisions below are gone; this one can be read.
    pub compacted: i64,
    pub sweep: Option<Sweep>,
    /// The state is being replaced by a snapshot and cannot be read.
    pub restoring: bool,
    /// Counts the snapshots that have begun to replace the state: whoever reads the engine without the index
    /// looks whether one came in between.
    pub restores: u64,
}

impl Core {
    pub fn empty() -> Self {
        Self {
            index: KeyIndex::default(),
            leases: Leases::default(),
            recent: Recent::new(RECENT_BYTES),
            readable: FIRST_REVISION,
            applied: Position::START,
            compacted: NOT_COMPACTED,
            sweep: None,
            restoring: false,
            restores: 0,
        }
    }
}

/// Shared between the one that applies and all that read.
pub(crate) struct Shared {
    pub core: RwLock<Core>,
    pub engine: Arc<dyn Engine>,
    /// Bytes on disk as of the last look.
    pub disk_bytes: AtomicU64,
    /// The epoch that the history is named by; 0 while nothing was ever given up.
    pub history: AtomicU64,
}

impl Shared {
    /// The record of `rev` from the engine; `None` if a compaction has deleted it.
    pub fn stored(&self, rev: Rev) -> Result<Option<KeyValue>, EtcdError> {
        fetch(&*self.engine, rev)
    }
}

/// The record of `rev` from the engine; `None` if a compaction has deleted it.
pub(crate) fn fetch(engine: &dyn Engine, rev: Rev) -> Result<Option<KeyValue>, EtcdError> {
    match engine.get(&records::record_key(rev))? {
        Some(record) => decode(rev, record).map(Some),
        None => Ok(None),
    }
}

/// The key and its value as they stand in `record`.
pub(crate) fn decode(rev: Rev, record: Bytes) -> Result<KeyValue, EtcdError> {
    records::decode_record(rev, record).map_err(|error| {
        EtcdError::Storage(format!(
            "record of revision {}.{}: {error}",
            rev.main, rev.sub
        ))
    })
}
