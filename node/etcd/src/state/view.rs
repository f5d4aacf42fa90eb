//! What everybody but the applying thread sees: reads at a revision that is fully applied.
//!
//! Records are fetched without the lock. A compaction may then overtake a read; it starts again at
//! the newest revision, or is answered "compacted" if it asked for a revision of its own.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use parking_lot::RwLockReadGuard;
use standby_core::Position;

use super::core::{Core, Shared, decode};
use super::index::{Located, Rev};
use super::leases::{Grant, LeaseChanges, LeaseInfo};
use super::txn::{TxnReader, TxnRunner};
use super::{range, records, txn};
use crate::error::EtcdError;
use crate::limits::READ_ATTEMPTS;
use crate::pb::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    ResponseHeader, TxnRequest, TxnResponse,
};
use crate::pb::mvccpb::event::EventType;
use crate::pb::mvccpb::{Event, KeyValue};
use crate::watch::{History, HistoryChunk, HistoryError, RevisionEvents, Want};

/// A handle for reading, cheap to clone.
#[derive(Clone)]
pub struct ReadView {
    shared: Arc<Shared>,
}

impl ReadView {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The newest revision that can be read.
    #[must_use]
    pub fn current_revision(&self) -> i64 {
        self.shared.core.read().readable
    }

    /// Revisions below are compacted away; -1 before the first compaction.
    #[must_use]
    pub fn compacted_revision(&self) -> i64 {
        self.shared.core.read().compacted
    }

    /// The position of the last entry whose effect can be read.
    #[must_use]
    pub fn applied(&self) -> Position {
        self.shared.core.read().applied
    }

    /// The epoch that the history is named by: that of the last view in which acknowledged writes were
    /// given up. 0 while none ever were.
    #[must_use]
    pub fn history(&self) -> u64 {
        self.shared.history.load(Ordering::Relaxed)
    }

    /// Whether deletions of a compaction are still to be done.
    #[must_use]
    pub fn is_sweeping(&self) -> bool {
        self.shared.core.read().sweep.is_some()
    }

    /// Bytes on disk, as of a moment ago.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.shared.disk_bytes.load(Ordering::Relaxed)
    }

    /// The lease `id` and its keys.
    #[must_use]
    pub fn lease(&self, id: i64) -> Option<LeaseInfo> {
        self.shared.core.read().leases.get(id).cloned()
    }

    /// Every lease with its time to live, in seconds, and the index of the entry that granted it; in
    /// no order.
    #[must_use]
    pub fn leases(&self) -> Vec<(i64, Grant)> {
        let core = self.shared.core.read();
        core.leases
            .iter()
            .map(|(id, lease)| (id, lease.grant()))
            .collect()
    }

    /// The grants and revocations since `seen` of them.
    pub(crate) fn lease_changes(&self, seen: Option<u64>) -> LeaseChanges {
        self.shared.core.read().leases.changes_since(seen)
    }

    /// Answers a range at one revision that is fully applied. The header carries the newest revision
    /// and nothing else.
    ///
    /// # Errors
    /// etcd's, for a revision that is compacted or in the future; storage failures.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, EtcdError> {
        for _ in 0..READ_ATTEMPTS {
            let plan = {
                let core = self.readable()?;
                range::plan(&core, core.readable, core.compacted, request)?
            };
            if let Some(response) = plan.finish(request, &|rev| self.shared.stored(rev))? {
                return Ok(response);
            }
        }
        // Compactions keep overtaking the read: keep them out.
        self.locked()?.range_now(request)
    }

    /// Answers a transaction that only reads (see [`txn::is_read_only`]) at one revision.
    ///
    /// # Errors
    /// As [`ReadView::range`]; for a transaction that writes, what a learner answers.
    pub fn txn(&self, request: TxnRequest) -> Result<TxnResponse, EtcdError> {
        if !txn::is_read_only(&request) {
            return Err(EtcdError::NotSupportedForLearner);
        }
        let mut reader = self.locked()?;
        let mut path = txn::path(&reader, &request)?;
        txn::check(&reader, &request, &mut path.clone())?;
        let mut response = txn::run(&mut reader, request, &mut path)?;
        response.header = Some(ResponseHeader {
            revision: reader.revision(),
            ..ResponseHeader::default()
        });
        Ok(response)
    }

    fn readable(&self) -> Result<RwLockReadGuard<'_, Core>, EtcdError> {
        let core = self.shared.core.read();
        if core.restoring {
            Err(EtcdError::NotApplied)
        } else {
            Ok(core)
        }
    }

    fn locked(&self) -> Result<Locked<'_>, EtcdError> {
        let core = self.readable()?;
        let shared = &*self.shared;
        Ok(Locked { core, shared })
    }

    fn past(&self, kv: &KeyValue, rev: Rev) -> Result<Option<KeyValue>, EtcdError> {
        let (located, record) = {
            let core = self.shared.core.read();
            let located = core.index.get(&kv.key, rev.main - 1);
            (
                located,
                located.and_then(|located| core.recent.get(located.modified)),
            )
        };
        match (located, record) {
            (None, _) => Ok(None),
            (Some(located), Some(record)) => decode(located.modified, record).map(Some),
            (Some(located), None) => self.shared.stored(located.modified),
        }
    }

    /// The events of the records from `from` to `to`, until `limit_bytes` are gathered.
    fn scan(
        &self,
        from: i64,
        to: i64,
        want: &dyn Fn(&Bytes) -> Want,
        limit_bytes: usize,
    ) -> Result<HistoryChunk, EtcdError> {
        let first = records::record_key(Rev { main: from, sub: 0 });
        let last = records::record_key(Rev {
            main: to,
            sub: u32::MAX,
        });
        let mut chunk = HistoryChunk {
            revisions: Vec::new(),
            covered: to,
        };
        let mut bytes = 0;
        let mut seen = from - 1;
        let pairs = self
            .shared
            .engine
            .range(Bound::Included(&first[..]), Bound::Included(&last[..]));
        for pair in pairs {
            let (key, record) = pair?;
            let rev = records::record_rev(&key).ok_or_else(|| {
                EtcdError::Storage(format!("{key:?} lies between records but is none"))
            })?;
            if rev.main != seen && bytes >= limit_bytes {
                chunk.covered = rev.main - 1;
                break;
            }
            seen = rev.main;
            let kv = decode(rev, record)?;
            let wanted = want(&kv.key);
            if wanted == Want::Skip {
                continue;
            }
            let prev_kv = if wanted == Want::WithPrevious {
                self.past(&kv, rev)?
            } else {
                None
            };
            bytes += kv.key.len() + kv.value.len();
            bytes += prev_kv
                .as_ref()
                .map_or(0, |kv| kv.key.len() + kv.value.len());
            push_event(&mut chunk.revisions, rev, kv, prev_kv);
        }
        Ok(chunk)
    }
}

fn push_event(
    revisions: &mut Vec<RevisionEvents>,
    rev: Rev,
    kv: KeyValue,
    prev_kv: Option<KeyValue>,
) {
    let kind = if records::is_deletion(&kv) {
        EventType::Delete
    } else {
        EventType::Put
    };
    let event = Event {
        r#type: kind.into(),
        kv: Some(kv),
        prev_kv,
    };
    match revisions.last_mut() {
        Some(last) if last.revision == rev.main => last.events.push(event),
        _ => revisions.push(RevisionEvents {
            revision: rev.main,
            events: vec![event],
        }),
    }
}

impl History for ReadView {
    fn read(
        &self,
        from: i64,
        to: i64,
        want: &dyn Fn(&Bytes) -> Want,
        limit_bytes: usize,
    ) -> Result<HistoryChunk, HistoryError> {
        let storage = |error: EtcdError| HistoryError::Storage(error.to_string());
        let before = self.readable().map(|core| (core.readable, core.restores));
        let (newest, restores) = before.map_err(storage)?;
        let to = to.min(newest);
        let read = if from <= to {
            self.scan(from, to, want, limit_bytes)
        } else {
            let revisions = Vec::new();
            Ok(HistoryChunk {
                revisions,
                covered: from - 1,
            })
        };
        // Looked at afterwards: what a compaction, or a snapshot that comes in, took away meanwhile is not
        // missed unnoticed.
        let after = self.readable().map(|core| (core.compacted, core.restores));
        let (compacted, restores_since) = after.map_err(storage)?;
        if restores_since != restores {
            let text = "the state was replaced by a snapshot while it was read";
            return Err(HistoryError::Storage(text.to_owned()));
        }
        if from < compacted {
            return Err(HistoryError::Compacted { compacted });
        }
        read.map_err(storage)
    }
}

/// A reader that keeps the state from changing, for the few reads that need several looks at it.
struct Locked<'a> {
    core: RwLockReadGuard<'a, Core>,
    shared: &'a Shared,
}

impl Locked<'_> {
    fn range_now(&self, request: &RangeRequest) -> Result<RangeResponse, EtcdError> {
        let plan = range::plan(&self.core, self.core.readable, self.core.compacted, request)?;
        plan.finish(request, &|rev| self.shared.stored(rev))?
            .ok_or_else(|| EtcdError::Storage("a record is indexed but missing".to_owned()))
    }
}

impl TxnReader for Locked<'_> {
    fn core(&self) -> &Core {
        &self.core
    }

    fn revision(&self) -> i64 {
        self.core.readable
    }

    fn compacted(&self) -> i64 {
        self.core.compacted
    }

    fn record(&self, located: Located) -> Result<KeyValue, EtcdError> {
        let rev = located.modified;
        match self.core.recent.get(rev) {
            Some(record) => decode(rev, record),
            None => self.shared.stored(rev)?.ok_or_else(|| {
                EtcdError::Storage(format!(
                    "revision {}.{} is indexed but missing",
                    rev.main, rev.sub
                ))
            }),
        }
    }
}

impl TxnRunner for Locked<'_> {
    fn range(&mut self, request: &RangeRequest) -> Result<RangeResponse, EtcdError> {
        self.range_now(request)
    }

    fn put(&mut self, _: PutRequest) -> Result<PutResponse, EtcdError> {
        unreachable!("only transactions of ranges are read here")
    }

    fn delete_range(&mut self, _: &DeleteRangeRequest) -> Result<DeleteRangeResponse, EtcdError> {
        unreachable!("only transactions of ranges are read here")
    }
}
