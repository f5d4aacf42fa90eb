//! A small etcd: what the state machine must come to, written a second time and much simpler.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use standby_core::{Entry, EntryKind, Epoch, NewHistory};
use standby_etcd::command::{self, Command};
use standby_etcd::pb::etcdserverpb::{RangeResponse, TxnRequest, compare, request_op};

use crate::time::Time;

/// A key's value at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    revision: i64,
    /// None: deleted.
    value: Option<(Bytes, i64, i64, i64)>,
}

#[derive(Clone, Debug, Default)]
struct Lease {
    granted: u64,
    keys: BTreeSet<Bytes>,
    /// Somebody was told that it lives until then.
    until: Time,
}

/// What an entry did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// It made a revision.
    pub made: bool,
    /// The question it answers, if it can be told.
    pub op: Option<u64>,
}

/// The model.
#[derive(Clone, Debug)]
pub struct Model {
    /// The revision.
    pub revision: i64,
    keys: BTreeMap<Bytes, Vec<Version>>,
    leases: BTreeMap<i64, Lease>,
    /// What happened: revision, key, and whether it was written (not deleted).
    events: Vec<(i64, Bytes, bool)>,
    /// The highest revision that was compacted.
    pub compacted: i64,
    /// The epoch by whose opening the last history began.
    history: Epoch,
    /// What clocks may gain, in parts per million.
    pub drift_ppm: u64,
    /// Leases that ran out.
    pub expired: u64,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            revision: 1,
            keys: BTreeMap::new(),
            leases: BTreeMap::new(),
            events: Vec::new(),
            compacted: 0,
            history: Epoch(0),
            drift_ppm: 0,
            expired: 0,
        }
    }
}

fn op_of(value: &Bytes) -> Option<u64> {
    value.as_ref().try_into().ok().map(u64::from_le_bytes)
}

impl Model {
    /// Applies an entry.
    ///
    /// # Errors
    /// What must not have happened.
    pub fn apply(&mut self, entry: &Entry, now: Time) -> Result<Change, String> {
        if entry.kind == EntryKind::Open {
            self.open(entry)?;
            return Ok(Change::default());
        }
        let command = command::decode(entry.payload.clone()).map_err(|error| error.to_string())?;
        Ok(match command {
            Command::Put(put) => {
                if put.lease != 0 && !self.leases.contains_key(&put.lease) {
                    return Ok(Change::default());
                }
                self.revision += 1;
                let op = op_of(&put.value);
                self.put(&put.key, put.value, put.lease);
                Change { made: true, op }
            }
            Command::DeleteRange(delete) => {
                let there = self.current(&delete.key).is_some();
                if there {
                    self.revision += 1;
                    self.delete(&delete.key);
                }
                Change {
                    made: there,
                    op: None,
                }
            }
            Command::Txn(txn) => self.txn(&txn),
            Command::GrantLease(grant) => {
                let granted = entry.position.index.0;
                self.leases.entry(grant.id).or_insert_with(|| Lease {
                    granted,
                    ..Lease::default()
                });
                Change::default()
            }
            Command::RevokeLease(revoke) => {
                let Some(lease) = self.leases.get(&revoke.id) else {
                    return Ok(Change::default());
                };
                let epoch = entry.position.epoch.0;
                let meant = lease.granted == revoke.granted_index && revoke.epoch == epoch;
                if revoke.expired && !meant {
                    return Ok(Change::default());
                }
                if revoke.expired && now < lease.until {
                    return Err(format!(
                        "lease {} ended {} ms before the time its client was told",
                        revoke.id,
                        (lease.until - now) / 1_000
                    ));
                }
                self.expired += u64::from(revoke.expired);
                let lease = self.leases.remove(&revoke.id).expect("looked up above");
                if !lease.keys.is_empty() {
                    self.revision += 1;
                }
                for key in lease.keys {
                    self.delete(&key);
                }
                Change::default()
            }
            Command::Compact(compact) => {
                if compact.revision <= self.revision {
                    self.compacted = self.compacted.max(compact.revision);
                }
                Change::default()
            }
            Command::Sweep(_) => Change::default(),
        })
    }

    /// An epoch opens. After acknowledged writes were given up the revision goes on above every one of that
    /// history, and nothing of it is told again.
    fn open(&mut self, entry: &Entry) -> Result<(), String> {
        if let Some(history) = NewHistory::decode(&entry.payload)
            && history.epoch > self.history
        {
            let beyond = i64::try_from(history.beyond).map_err(|error| error.to_string())?;
            self.revision += beyond + 1;
            self.compacted = self.revision;
            self.history = history.epoch;
        }
        Ok(())
    }

    fn txn(&mut self, txn: &TxnRequest) -> Change {
        let holds = txn.compare.iter().all(|compare| {
            let is = self
                .current(&compare.key)
                .map_or(0, |version| version.revision);
            compare.target_union == Some(compare::TargetUnion::ModRevision(is))
        });
        let Some(request_op::Request::RequestPut(put)) = txn
            .success
            .first()
            .and_then(|op| op.request.clone())
            .filter(|_| holds)
        else {
            return Change::default();
        };
        self.revision += 1;
        let op = op_of(&put.value);
        self.put(&put.key, put.value, put.lease);
        Change { made: true, op }
    }

    fn current(&self, key: &Bytes) -> Option<&Version> {
        let last = self.keys.get(key)?.last()?;
        last.value.is_some().then_some(last)
    }

    fn put(&mut self, key: &Bytes, value: Bytes, lease: i64) {
        let before = self.current(key).and_then(|version| version.value.clone());
        let (created, count) = match &before {
            Some((_, created, count, was)) => {
                if let Some(held) = self.leases.get_mut(was) {
                    held.keys.remove(key);
                }
                (*created, count + 1)
            }
            None => (self.revision, 1),
        };
        if let Some(held) = self.leases.get_mut(&lease) {
            held.keys.insert(key.clone());
        }
        let version = Version {
            revision: self.revision,
            value: Some((value, created, count, lease)),
        };
        self.keys.entry(key.clone()).or_default().push(version);
        self.events.push((self.revision, key.clone(), true));
    }

    fn delete(&mut self, key: &Bytes) {
        let lease = self
            .current(key)
            .and_then(|version| version.value.as_ref())
            .map(|(.., lease)| *lease);
        if let Some(held) = lease.and_then(|lease| self.leases.get_mut(&lease)) {
            held.keys.remove(key);
        }
        let revision = self.revision;
        self.keys.entry(key.clone()).or_default().push(Version {
            revision,
            value: None,
        });
        self.events.push((revision, key.clone(), false));
    }

    /// What happened from one revision to another, both included.
    pub fn events_between(&self, from: i64, to: i64) -> impl Iterator<Item = &(i64, Bytes, bool)> {
        let begin = self.events.partition_point(|(at, ..)| *at < from);
        self.events[begin..]
            .iter()
            .take_while(move |(at, ..)| *at <= to)
    }

    /// A client was told that a lease lives until then, by clocks that may part.
    pub fn lease_holds(&mut self, id: i64, until: Time) {
        let _ = self
            .leases
            .get_mut(&id)
            .map(|lease| lease.until = lease.until.max(until));
    }

    /// How an answer to a read differs from what stood there at `revision`.
    #[must_use]
    pub fn differs(
        &self,
        key: &Bytes,
        end: &Bytes,
        revision: i64,
        response: &RangeResponse,
    ) -> Option<String> {
        if revision > self.revision {
            return Some(format!("read at {revision}, which nobody has written yet"));
        }
        let one;
        let range: Box<dyn Iterator<Item = (&Bytes, &Vec<Version>)>> = if end.is_empty() {
            one = self.keys.get_key_value(key);
            Box::new(one.into_iter())
        } else {
            Box::new(self.keys.range(key.clone()..end.clone()))
        };
        let mut answered = response.kvs.iter();
        for (key, versions) in range {
            let at = versions.partition_point(|version| version.revision <= revision);
            let Some(version) = at.checked_sub(1).map(|at| &versions[at]) else {
                continue;
            };
            let Some((value, created, count, lease)) = &version.value else {
                continue;
            };
            let right = answered.next().is_some_and(|kv| {
                kv.key == *key
                    && kv.value == *value
                    && kv.mod_revision == version.revision
                    && kv.create_revision == *created
                    && kv.version == *count
                    && kv.lease == *lease
            });
            if !right {
                return Some(format!(
                    "at {revision} {key:?} was {version:?}, the answer is {:?}",
                    response.kvs
                ));
            }
        }
        answered
            .next()
            .map(|kv| format!("at {revision} there was no {:?}, the answer has it", kv.key))
    }
}
