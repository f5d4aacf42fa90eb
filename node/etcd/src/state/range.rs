//! Ranges, in two steps: [`plan`] asks the index, under the lock; [`Plan::finish`] fetches the values,
//! filters, sorts and cuts, without it. The same steps serve clients and the ranges inside a write.

use bytes::Bytes;

use super::core::{Core, decode};
use super::index::{KeyRange, Located, Rev};
use crate::error::EtcdError;
use crate::pb::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::pb::etcdserverpb::{RangeRequest, RangeResponse, ResponseHeader};
use crate::pb::mvccpb::KeyValue;

/// A version to return.
struct Found {
    located: Located,
    held: Held,
}

/// What is at hand of it.
enum Held {
    /// The key, where nothing else is wanted.
    Key(Bytes),
    /// The record.
    Record(Bytes),
    /// Nothing: the record is to be fetched.
    Nothing,
}

/// What the index had to say about a range.
pub(crate) struct Plan {
    /// The newest revision at the time; the header's.
    newest: i64,
    count: i64,
    found: Vec<Found>,
}

/// Fetches a record that was not at hand; `None` if a compaction has deleted it.
pub(crate) type Fetch<'a> = &'a dyn Fn(Rev) -> Result<Option<KeyValue>, EtcdError>;

/// Whether keys come in the order the index has them, as far as limits are concerned. With
/// `SortOrder::None` they do, also when a target is named: etcd then sorts what the limit left.
pub(crate) fn is_key_order(request: &RangeRequest) -> bool {
    request.sort_order() == SortOrder::None
        || (request.sort_target() == SortTarget::Key && request.sort_order() == SortOrder::Ascend)
}

/// Whether only some revisions are wanted.
pub(crate) const fn has_revision_filters(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

/// Whether the answer needs nothing but the index (it then lacks the lease, as etcd's does).
fn is_index_only(request: &RangeRequest) -> bool {
    request.keys_only && request.sort_target() != SortTarget::Value
}

/// The revision to read at.
pub(crate) fn read_revision(asked: i64, newest: i64, compacted: i64) -> Result<i64, EtcdError> {
    if asked > newest {
        return Err(EtcdError::FutureRevision);
    }
    let revision = if asked <= 0 { newest } else { asked };
    if revision < compacted {
        Err(EtcdError::Compacted)
    } else {
        Ok(revision)
    }
}

/// Asks the index. The reader may see what lies from `compacted` to `newest`.
pub(crate) fn plan(
    core: &Core,
    newest: i64,
    compacted: i64,
    request: &RangeRequest,
) -> Result<Plan, EtcdError> {
    let revision = read_revision(request.revision, newest, compacted)?;
    // One more than wanted tells whether there is more.
    let wanted = if request.limit <= 0 || !is_key_order(request) || has_revision_filters(request) {
        usize::MAX
    } else {
        usize::try_from(request.limit)
            .unwrap_or(usize::MAX)
            .saturating_add(1)
    };
    let index_only = is_index_only(request);
    let mut plan = Plan {
        newest,
        count: 0,
        found: Vec::new(),
    };
    core.index.visit(
        KeyRange::new(&request.key, &request.range_end),
        revision,
        |key, located| {
            plan.count += 1;
            if !request.count_only && plan.found.len() < wanted {
                let held = if index_only {
                    Held::Key(Bytes::copy_from_slice(key))
                } else {
                    let record = core.recent.get(located.modified);
                    record.map_or(Held::Nothing, Held::Record)
                };
                plan.found.push(Found { located, held });
            }
        },
    );
    Ok(plan)
}

impl Plan {
    /// Makes the answer. `None` if a compaction took away a record meanwhile.
    pub fn finish(
        self,
        request: &RangeRequest,
        fetch: Fetch<'_>,
    ) -> Result<Option<RangeResponse>, EtcdError> {
        let mut kvs = Vec::with_capacity(self.found.len());
        for found in self.found {
            let rev = found.located.modified;
            let kv = match found.held {
                Held::Key(key) => key_only(key, found.located),
                Held::Record(record) => decode(rev, record)?,
                Held::Nothing => match fetch(rev)? {
                    Some(kv) => kv,
                    None => return Ok(None),
                },
            };
            kvs.push(kv);
        }
        kvs.retain(|kv| passes_filters(request, kv));
        sort(request, &mut kvs);
        let limit = usize::try_from(request.limit).unwrap_or(0);
        let more = limit > 0 && kvs.len() > limit;
        if more {
            kvs.truncate(limit);
        }
        if request.keys_only {
            for kv in &mut kvs {
                kv.value = Bytes::new();
            }
        }
        let header = Some(ResponseHeader {
            revision: self.newest,
            ..ResponseHeader::default()
        });
        Ok(Some(RangeResponse {
            header,
            kvs,
            more,
            count: self.count,
        }))
    }
}

fn key_only(key: Bytes, located: Located) -> KeyValue {
    KeyValue {
        key,
        create_revision: located.created,
        mod_revision: located.modified.main,
        version: located.version,
        ..KeyValue::default()
    }
}

fn passes_filters(request: &RangeRequest, kv: &KeyValue) -> bool {
    let within = |number: i64, min: i64, max: i64| {
        (max == 0 || number <= max) && (min == 0 || number >= min)
    };
    within(
        kv.mod_revision,
        request.min_mod_revision,
        request.max_mod_revision,
    ) && within(
        kv.create_revision,
        request.min_create_revision,
        request.max_create_revision,
    )
}

/// Sorts as asked; keys arrive ascending.
fn sort(request: &RangeRequest, kvs: &mut [KeyValue]) {
    let target = request.sort_target();
    let order = match request.sort_order() {
        SortOrder::None if target != SortTarget::Key => SortOrder::Ascend,
        order => order,
    };
    if order == SortOrder::None || (target == SortTarget::Key && order == SortOrder::Ascend) {
        return;
    }
    let compare = |a: &KeyValue, b: &KeyValue| match target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    };
    match order {
        SortOrder::Descend => kvs.sort_by(|a, b| compare(b, a)),
        _ => kvs.sort_by(compare),
    }
}
