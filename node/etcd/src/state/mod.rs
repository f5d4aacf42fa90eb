//! etcd's state over the commit log: keys with their versions, leases, compaction.
//!
//! One thread applies ([`EtcdState`]); any number read ([`ReadView`]) at the revision that was applied
//! last, and never see part of a revision. Time and chance never decide anything here.

mod apply;
mod core;
mod events;
mod index;
mod leases;
mod open;
mod range;
mod recent;
mod records;
mod snapshot;
mod txn;
mod view;
mod write;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;
use standby_core::{Entry, EntryKind, Position};
use standby_interface::{MachineError, SnapshotSource, StateMachine};
use standby_store::engine::{Engine, EngineError};

use self::core::{Core, Shared};
use self::write::{Group, Head};
use crate::error::EtcdError;
use crate::pb::etcdserverpb::{
    CompactionResponse, DeleteRangeResponse, LeaseGrantResponse, LeaseRevokeResponse, PutResponse,
    TxnResponse,
};

pub use events::EventSink;
pub(crate) use leases::{Changed, LeaseChanges};
pub use leases::{Grant, LeaseInfo};
pub(crate) use range::{has_revision_filters, is_key_order};
pub use records::REWRITTEN_FROM;
pub use txn::{is_read_only, is_serializable};
pub use view::ReadView;

/// What an entry did, for the client that proposed it. Headers carry the revision and nothing else.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// An epoch was opened.
    Opened,
    /// Of a put.
    Put(Result<PutResponse, EtcdError>),
    /// Of a deletion.
    DeleteRange(Result<DeleteRangeResponse, EtcdError>),
    /// Of a transaction.
    Txn(Result<TxnResponse, EtcdError>),
    /// Of a compaction.
    Compact(Result<CompactionResponse, EtcdError>),
    /// Of granting a lease.
    GrantLease(Result<LeaseGrantResponse, EtcdError>),
    /// Of ending a lease.
    RevokeLease(Result<LeaseRevokeResponse, EtcdError>),
    /// A compaction's deletions went on.
    Swept,
}

/// The state machine.
pub struct EtcdState {
    shared: Arc<Shared>,
    head: Head,
    applied: Position,
    sink: Option<Arc<dyn EventSink>>,
    restore: Option<snapshot::Restore>,
    groups: u32,
}

impl EtcdState {
    /// Opens the state that `engine` holds, and builds the index by one pass over it.
    ///
    /// # Errors
    /// Storage failures, and records that cannot be understood.
    pub fn open(engine: Arc<dyn Engine>) -> Result<Self, MachineError> {
        let (core, head) = open::load(&*engine)?;
        let applied = core.applied;
        let disk_bytes = AtomicU64::new(engine.disk_bytes());
        let history = AtomicU64::new(open::history(&*engine)?);
        let shared = Arc::new(Shared {
            core: RwLock::new(core),
            engine,
            disk_bytes,
            history,
        });
        Ok(Self {
            shared,
            head,
            applied,
            sink: None,
            restore: None,
            groups: 0,
        })
    }

    /// A handle for reading.
    #[must_use]
    pub fn view(&self) -> ReadView {
        ReadView::new(Arc::clone(&self.shared))
    }

    /// Names who is told of what is applied from now on.
    pub fn set_event_sink(&mut self, sink: Arc<dyn EventSink>) {
        self.sink = Some(sink);
    }

    /// Makes what was written to the engine readable, then tells the watchers.
    fn publish(&mut self, group: Group) {
        {
            let mut core = self.shared.core.write();
            core.readable = self.head.revision;
            core.compacted = self.head.compacted;
            core.applied = self.applied;
            core.recent.trim();
        }
        if let Some(history) = group.history {
            self.shared.history.store(history, Ordering::Relaxed);
        }
        let Some(sink) = &self.sink else { return };
        let revision = self.head.revision;
        match group.events {
            Some(events) if events.is_empty() => {}
            Some(events) => sink.applied(&events),
            None if revision == group.begins || group.history.is_some() => {}
            None => sink.skipped(revision),
        }
        if group.history.is_some() {
            sink.jumped(revision);
        }
    }

    /// Applies a run of entries, and makes them readable.
    fn apply_run(
        &mut self,
        entries: &[Entry],
        outcomes: &mut Vec<Outcome>,
    ) -> Result<(), MachineError> {
        if entries.is_empty() {
            return Ok(());
        }
        let (more, group) = self.apply_group(entries)?;
        outcomes.extend(more);
        self.publish(group);
        Ok(())
    }

    fn look_at_disk(&self) {
        self.shared
            .disk_bytes
            .store(self.shared.engine.disk_bytes(), Ordering::Relaxed);
    }
}

impl StateMachine for EtcdState {
    type Outcome = Outcome;

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Outcome>, MachineError> {
        let mut outcomes = Vec::with_capacity(entries.len());
        let mut rest = entries;
        // What begins a new history goes by itself: watchers must hear of it after all that lies
        // before and ahead of all that lies behind.
        while let Some(at) = rest.iter().position(says_history) {
            let (before, from) = rest.split_at(at);
            let (opening, after) = from.split_at(1);
            self.apply_run(before, &mut outcomes)?;
            self.apply_run(opening, &mut outcomes)?;
            rest = after;
        }
        self.apply_run(rest, &mut outcomes)?;
        self.groups = self.groups.wrapping_add(1);
        if self
            .groups
            .is_multiple_of(crate::limits::DISK_BYTES_EVERY_GROUPS)
        {
            self.look_at_disk();
        }
        Ok(outcomes)
    }

    fn applied(&self) -> Position {
        self.applied
    }

    fn checkpoint(&mut self) -> Result<Position, MachineError> {
        self.shared.engine.persist().map_err(storage)?;
        self.look_at_disk();
        Ok(self.applied)
    }

    fn snapshot(&self) -> Result<Box<dyn SnapshotSource>, MachineError> {
        Ok(Box::new(snapshot::Source::new(
            self.shared.engine.snapshot(),
            self.applied,
        )))
    }

    fn begin_restore(&mut self) -> Result<(), MachineError> {
        // Nothing can be read until the restore ends: an empty answer would be a lie. Said before the engine
        // is emptied.
        {
            let mut core = self.shared.core.write();
            *core = Core {
                restoring: true,
                restores: core.restores + 1,
                ..Core::empty()
            };
        }
        let restore = snapshot::Restore::begin(&*self.shared.engine)?;
        self.head = Head::EMPTY;
        self.applied = Position::START;
        self.restore = Some(restore);
        Ok(())
    }

    fn restore_chunk(&mut self, chunk: Bytes) -> Result<(), MachineError> {
        let restore = self
            .restore
            .as_mut()
            .expect("a chunk comes after the restore has begun");
        restore.take(&*self.shared.engine, chunk)
    }

    fn finish_restore(&mut self, position: Position) -> Result<(), MachineError> {
        assert!(
            self.restore.take().is_some(),
            "a restore ends after it has begun"
        );
        snapshot::Restore::finish(&*self.shared.engine, position)?;
        let (core, head) = open::load(&*self.shared.engine)?;
        self.applied = core.applied;
        self.head = head;
        {
            let mut shared = self.shared.core.write();
            let restores = shared.restores;
            *shared = Core { restores, ..core };
        }
        let history = open::history(&*self.shared.engine)?;
        self.shared.history.store(history, Ordering::Relaxed);
        self.look_at_disk();
        if let Some(sink) = &self.sink {
            sink.restored(head.revision);
        }
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        self.shared.engine.disk_bytes()
    }
}

fn says_history(entry: &Entry) -> bool {
    entry.kind == EntryKind::Open && !entry.payload.is_empty()
}

fn storage(error: EngineError) -> MachineError {
    MachineError::Storage(Box::new(error))
}

fn incomprehensible(position: Position, what: impl Into<String>) -> MachineError {
    MachineError::Incomprehensible {
        position,
        what: what.into(),
    }
}
