//! The simplest thing that obeys the rules: a whole map of keys for every revision.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::pb::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::pb::etcdserverpb::response_op::Response;
use crate::pb::etcdserverpb::{ResponseHeader, ResponseOp};
use crate::pb::mvccpb::KeyValue;
use crate::state::txn::header;

pub type Map = BTreeMap<Bytes, KeyValue>;

#[derive(Clone)]
pub struct Model {
    /// The map at each revision, from revision 1 on.
    maps: Vec<Map>,
    pub compacted: i64,
    leases: BTreeSet<i64>,
}

fn within(key: &Bytes, begin: &Bytes, range_end: &Bytes) -> bool {
    match &range_end[..] {
        [] => key == begin,
        [0] => key >= begin,
        end => key >= begin && &key[..] < end,
    }
}

impl Model {
    pub fn new() -> Self {
        Self {
            maps: vec![Map::new()],
            compacted: -1,
            leases: BTreeSet::new(),
        }
    }

    pub fn revision(&self) -> i64 {
        i64::try_from(self.maps.len()).unwrap()
    }

    pub fn map(&self, revision: i64) -> &Map {
        &self.maps[usize::try_from(revision - 1).unwrap()]
    }

    pub fn run(&mut self, command: &Command) -> Outcome {
        let mut write = Write {
            now: self.map(self.revision()).clone(),
            changed: false,
        };
        let base = self.revision();
        let outcome = match command {
            Command::Put(request) => {
                Outcome::Put(self.check_put(request).map(|()| write.put(request, base)))
            }
            Command::DeleteRange(request) => Outcome::DeleteRange(Ok(write.delete(request, base))),
            Command::Txn(request) => Outcome::Txn(self.check_txn(request).map(|()| {
                let mut answer = self.run_txn(&mut write, request);
                answer.header = header(write.revision(base));
                answer
            })),
            Command::Compact(request) => Outcome::Compact(self.compact(request.revision)),
            Command::GrantLease(request) => {
                Outcome::GrantLease(if self.leases.insert(request.id) {
                    Ok(crate::pb::etcdserverpb::LeaseGrantResponse {
                        header: header(base),
                        id: request.id,
                        ttl: request.ttl_s,
                        error: String::new(),
                    })
                } else {
                    Err(EtcdError::LeaseExists)
                })
            }
            Command::RevokeLease(request) => {
                Outcome::RevokeLease(if self.leases.remove(&request.id) {
                    let before = write.now.len();
                    write.now.retain(|_, kv| kv.lease != request.id);
                    write.changed = write.now.len() != before;
                    let header = header(write.revision(base));
                    Ok(crate::pb::etcdserverpb::LeaseRevokeResponse { header })
                } else {
                    Err(EtcdError::LeaseNotFound)
                })
            }
            Command::Sweep(_) => Outcome::Swept,
        };
        if write.changed {
            self.maps.push(write.now);
        }
        outcome
    }

    fn compact(
        &mut self,
        revision: i64,
    ) -> Result<crate::pb::etcdserverpb::CompactionResponse, EtcdError> {
        if revision <= self.compacted {
            return Err(EtcdError::Compacted);
        }
        if revision > self.revision() {
            return Err(EtcdError::FutureRevision);
        }
        self.compacted = revision;
        Ok(crate::pb::etcdserverpb::CompactionResponse {
            header: header(self.revision()),
        })
    }

    fn check_put(&self, request: &PutRequest) -> Result<(), EtcdError> {
        if request.lease != 0 && !self.leases.contains(&request.lease) {
            return Err(EtcdError::LeaseNotFound);
        }
        let exists = self.map(self.revision()).contains_key(&request.key);
        if (request.ignore_value || request.ignore_lease) && !exists {
            return Err(EtcdError::KeyNotFound);
        }
        Ok(())
    }

    fn holds(&self, request: &TxnRequest) -> bool {
        request.compare.iter().all(|compare| {
            let map = self.map(self.revision());
            let found: Vec<_> = map
                .values()
                .filter(|kv| within(&kv.key, &compare.key, &compare.range_end))
                .collect();
            let missing = KeyValue::default();
            if found.is_empty() {
                return compare.target() != CompareTarget::Value && one(compare, &missing);
            }
            found.into_iter().all(|kv| one(compare, kv))
        })
    }

    fn branch<'a>(&self, request: &'a TxnRequest) -> &'a [RequestOp] {
        if self.holds(request) {
            &request.success
        } else {
            &request.failure
        }
    }

    fn check_txn(&self, request: &TxnRequest) -> Result<(), EtcdError> {
        for op in self.branch(request) {
            match op.request.as_ref().unwrap() {
                Request::RequestPut(put) => self.check_put(put)?,
                Request::RequestRange(range) if range.revision > self.revision() => {
                    return Err(EtcdError::FutureRevision);
                }
                Request::RequestRange(range)
                    if range.revision != 0 && range.revision < self.compacted =>
                {
                    return Err(EtcdError::Compacted);
                }
                Request::RequestTxn(nested) => self.check_txn(nested)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn run_txn(&self, write: &mut Write, request: &TxnRequest) -> TxnResponse {
        let base = self.revision();
        let mut responses = Vec::new();
        for op in self.branch(request) {
            let response = match op.request.as_ref().unwrap() {
                Request::RequestPut(put) => Response::ResponsePut(write.put(put, base)),
                Request::RequestDeleteRange(delete) => {
                    Response::ResponseDeleteRange(write.delete(delete, base))
                }
                Request::RequestRange(range) => {
                    let revision = write.revision(base);
                    let map = match range.revision {
                        asked if asked <= 0 || asked == revision => &write.now,
                        asked => self.map(asked),
                    };
                    Response::ResponseRange(answer(map, range, revision))
                }
                Request::RequestTxn(nested) => Response::ResponseTxn(self.run_txn(write, nested)),
            };
            responses.push(ResponseOp {
                response: Some(response),
            });
        }
        let header = Some(ResponseHeader::default());
        TxnResponse {
            header,
            succeeded: self.holds(request),
            responses,
        }
    }

    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, EtcdError> {
        let newest = self.revision();
        if request.revision > newest {
            return Err(EtcdError::FutureRevision);
        }
        let revision = if request.revision <= 0 {
            newest
        } else {
            request.revision
        };
        if revision < self.compacted {
            return Err(EtcdError::Compacted);
        }
        Ok(answer(self.map(revision), request, newest))
    }
}

struct Write {
    now: Map,
    changed: bool,
}

impl Write {
    fn revision(&self, base: i64) -> i64 {
        base + i64::from(self.changed)
    }

    fn put(&mut self, request: &PutRequest, base: i64) -> PutResponse {
        let previous = self.now.get(&request.key).cloned();
        let revision = base + 1;
        let old = previous.clone().unwrap_or_default();
        let kv = KeyValue {
            key: request.key.clone(),
            create_revision: if old.version == 0 {
                revision
            } else {
                old.create_revision
            },
            mod_revision: revision,
            version: old.version + 1,
            value: if request.ignore_value {
                old.value
            } else {
                request.value.clone()
            },
            lease: if request.ignore_lease {
                old.lease
            } else {
                request.lease
            },
        };
        self.now.insert(request.key.clone(), kv);
        self.changed = true;
        let prev_kv = previous.filter(|_| request.prev_kv);
        PutResponse {
            header: header(revision),
            prev_kv,
        }
    }

    fn delete(&mut self, request: &DeleteRangeRequest, base: i64) -> DeleteRangeResponse {
        let hit: Vec<KeyValue> = self
            .now
            .values()
            .filter(|kv| within(&kv.key, &request.key, &request.range_end))
            .cloned()
            .collect();
        for kv in &hit {
            self.now.remove(&kv.key);
            self.changed = true;
        }
        let deleted = i64::try_from(hit.len()).unwrap();
        let prev_kvs = if request.prev_kv { hit } else { Vec::new() };
        DeleteRangeResponse {
            header: header(self.revision(base)),
            deleted,
            prev_kvs,
        }
    }
}

fn one(compare: &Compare, kv: &KeyValue) -> bool {
    let ordering = match compare.target_union.as_ref().unwrap() {
        TargetUnion::Version(n) => kv.version.cmp(n),
        TargetUnion::CreateRevision(n) => kv.create_revision.cmp(n),
        TargetUnion::ModRevision(n) => kv.mod_revision.cmp(n),
        TargetUnion::Lease(n) => kv.lease.cmp(n),
        TargetUnion::Value(value) => kv.value.cmp(value),
    };
    match compare.result() {
        CompareResult::Equal => ordering.is_eq(),
        CompareResult::NotEqual => ordering.is_ne(),
        CompareResult::Greater => ordering.is_gt(),
        CompareResult::Less => ordering.is_lt(),
    }
}

fn answer(map: &Map, request: &RangeRequest, newest: i64) -> RangeResponse {
    let limit = usize::try_from(request.limit).unwrap_or(0);
    let mut kvs: Vec<KeyValue> = map
        .values()
        .filter(|kv| within(&kv.key, &request.key, &request.range_end))
        .cloned()
        .collect();
    let count = i64::try_from(kvs.len()).unwrap();
    if request.count_only {
        kvs.clear();
    }
    let filtered = request.min_mod_revision != 0 || request.max_create_revision != 0;
    if request.sort_order() == SortOrder::None && limit > 0 && !filtered {
        kvs.truncate(limit + 1);
    }
    kvs.retain(|kv| {
        (request.min_mod_revision == 0 || kv.mod_revision >= request.min_mod_revision)
            && (request.max_create_revision == 0
                || kv.create_revision <= request.max_create_revision)
    });
    match request.sort_target() {
        SortTarget::Key => kvs.sort_by_key(|kv| kv.key.clone()),
        SortTarget::Version => kvs.sort_by_key(|kv| kv.version),
        SortTarget::Create => kvs.sort_by_key(|kv| kv.create_revision),
        SortTarget::Mod => kvs.sort_by_key(|kv| kv.mod_revision),
        SortTarget::Value => kvs.sort_by_key(|kv| kv.value.clone()),
    }
    if request.sort_order() == SortOrder::Descend {
        // Equal ones stay in the order of their keys.
        kvs.reverse();
        let target = request.sort_target();
        kvs.sort_by(|a, b| {
            let same = match target {
                SortTarget::Key => false,
                SortTarget::Version => a.version == b.version,
                SortTarget::Create => a.create_revision == b.create_revision,
                SortTarget::Mod => a.mod_revision == b.mod_revision,
                SortTarget::Value => a.value == b.value,
            };
            if same {
                a.key.cmp(&b.key)
            } else {
                std::cmp::Ordering::Equal
            }
        });
    }
    let more = limit > 0 && kvs.len() > limit;
    if more {
        kvs.truncate(limit);
    }
    if request.keys_only {
        for kv in &mut kvs {
            kv.value = Bytes::new();
            if request.sort_target() != SortTarget::Value {
                kv.lease = 0;
            }
        }
    }
    RangeResponse {
        header: header(newest),
        kvs,
        more,
        count,
    }
}
