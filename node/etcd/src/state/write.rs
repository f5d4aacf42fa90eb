//! One write: the changes of one revision, put into memory and into the engine's batch.

use std::cell::RefCell;

use bytes::Bytes;
use standby_store::engine::{Batch, Engine};

use super::core::{Core, decode, fetch};
use super::index::{KeyRange, Located, Rev};
use super::{range, records};
use crate::error::EtcdError;
use crate::pb::etcdserverpb::{RangeRequest, RangeResponse};
use crate::pb::mvccpb::event::EventType;
use crate::pb::mvccpb::{Event, KeyValue};
use crate::watch::RevisionEvents;

/// Where the entries applied so far have led, readable or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub revision: i64,
    pub compacted: i64,
}

/// Everything a group of entries changes outside memory.
#[derive(Default)]
pub(crate) struct Group {
    pub batch: Batch,
    /// What to tell; `None` when nobody listens.
    pub events: Option<Vec<RevisionEvents>>,
    /// A new history began: its epoch.
    pub history: Option<u64>,
    /// The revision before it.
    pub begins: i64,
}

/// The changes of one entry. All of them get the revision after `base`; without a change `base`
/// stays the newest.
pub(crate) struct WriteTxn<'a> {
    pub core: &'a mut Core,
    engine: &'a dyn Engine,
    group: &'a mut Group,
    base: i64,
    compacted: i64,
    changes: u32,
    events: Vec<Event>,
}

impl<'a> WriteTxn<'a> {
    pub fn new(
        core: &'a mut Core,
        engine: &'a dyn Engine,
        group: &'a mut Group,
        head: Head,
    ) -> Self {
        let Head {
            revision: base,
            compacted,
        } = head;
        Self {
            core,
            engine,
            group,
            base,
            compacted,
            changes: 0,
            events: Vec::new(),
        }
    }

    /// The newest revision that this write itself sees.
    pub fn newest(&self) -> i64 {
        if self.changes > 0 {
            self.base + 1
        } else {
            self.base
        }
    }

    /// The revision before this write.
    pub const fn base(&self) -> i64 {
        self.base
    }

    /// Revisions below are compacted.
    pub const fn compacted(&self) -> i64 {
        self.compacted
    }

    fn next_rev(&mut self) -> Rev {
        let rev = Rev {
            main: self.base + 1,
            sub: self.changes,
        };
        self.changes += 1;
        rev
    }

    /// The record of `located`, which was just found in the index.
    pub fn record(&self, located: Located) -> Result<KeyValue, EtcdError> {
        let rev = located.modified;
        if let Some(record) = self.core.recent.get(rev) {
            return decode(rev, record);
        }
        fetch(self.engine, rev)?.ok_or_else(|| {
            EtcdError::Storage(format!(
                "revision {}.{} is indexed but missing",
                rev.main, rev.sub
            ))
        })
    }

    /// The key as this write sees it.
    pub fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, EtcdError> {
        let located = self.core.index.get(key, self.newest());
        located.map(|located| self.record(located)).transpose()
    }

    /// The key as it was before this revision, for events. Taken before the change.
    fn previous(&self, key: &[u8]) -> Result<Option<KeyValue>, EtcdError> {
        let located = self.core.index.get(key, self.base);
        located.map(|located| self.record(located)).transpose()
    }

    /// Puts `key`. The lease, if any, was checked to exist.
    pub fn put(&mut self, key: &Bytes, value: Bytes, lease: i64) -> Result<(), EtcdError> {
        let rev = self.next_rev();
        let (previous, located) = self.core.index.put(key, rev);
        let prev_kv = match (&self.group.events, previous) {
            (Some(_), Some(previous)) => Some(self.record(previous)?),
            _ => None,
        };
        let kv = KeyValue {
            key: key.clone(),
            create_revision: located.created,
            mod_revision: rev.main,
            version: located.version,
            value,
            lease,
        };
        self.keep(rev, &kv, EventType::Put, prev_kv)?;
        self.core.leases.bind(key, lease);
        Ok(())
    }

    /// Deletes every key of the range that lives; returns how many.
    pub fn delete_range(&mut self, key: &[u8], range_end: &[u8]) -> Result<i64, EtcdError> {
        let mut keys = Vec::new();
        let newest = self.newest();
        self.core
            .index
            .visit(KeyRange::new(key, range_end), newest, |key, _| {
                keys.push(Bytes::copy_from_slice(key));
            });
        for key in &keys {
            self.delete(key)?;
        }
        Ok(i64::try_from(keys.len()).expect("a count of keys in memory fits"))
    }

    fn delete(&mut self, key: &Bytes) -> Result<(), EtcdError> {
        let prev_kv = match self.group.events {
            Some(_) => self.previous(key)?,
            None => None,
        };
        let rev = self.next_rev();
        self.core.index.delete(key, rev);
        let kv = KeyValue {
            key: key.clone(),
            ..KeyValue::default()
        };
        self.keep(rev, &kv, EventType::Delete, prev_kv)?;
        self.core.leases.detach(key);
        Ok(())
    }

    fn keep(
        &mut self,
        rev: Rev,
        kv: &KeyValue,
        kind: EventType,
        prev_kv: Option<KeyValue>,
    ) -> Result<(), EtcdError> {
        let record = records::encode_record(kv);
        self.group
            .batch
            .put(records::record_key(rev), record.clone());
        if self.group.events.is_some() {
            // Decoded again, so that the event holds slices of the record and not of the request.
            let kv = decode(rev, record.clone())?;
            self.events.push(Event {
                r#type: kind.into(),
                kv: Some(kv),
                prev_kv,
            });
        }
        self.core.recent.push(rev, record);
        Ok(())
    }

    /// Forgets a lease whose keys are deleted.
    pub fn forget_lease(&mut self, id: i64) {
        self.core.leases.revoke(id);
        self.group.batch.remove(records::lease_key(id));
    }

    /// A range as this write sees it, its own changes included.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, EtcdError> {
        let plan = range::plan(self.core, self.newest(), self.compacted, request)?;
        let missing = RefCell::new(None);
        let fetched = plan.finish(request, &|rev| {
            let kv = fetch(self.engine, rev)?;
            if kv.is_none() {
                missing.replace(Some(rev));
            }
            Ok(kv)
        })?;
        fetched.ok_or_else(|| {
            EtcdError::Storage(format!(
                "revision {:?} is indexed but missing",
                missing.take()
            ))
        })
    }

    /// Ends the write; returns the newest revision.
    pub fn finish(self) -> i64 {
        let newest = self.newest();
        if let (Some(events), false) = (&mut self.group.events, self.events.is_empty()) {
            events.push(RevisionEvents {
                revision: newest,
                events: self.events,
            });
        }
        newest
    }
}
