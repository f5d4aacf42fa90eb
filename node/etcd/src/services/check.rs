//! What a request must be before it is looked at further. Order and texts are etcd's.

use std::collections::{BTreeSet, HashSet};

use bytes::Bytes;

use crate::error::EtcdError;
use crate::limits::{MAX_TXN_OPS, QUOTA_KEY_OVERHEAD_BYTES};
use crate::pb::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::pb::etcdserverpb::request_op::Request;
use crate::pb::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};

pub(super) fn range(request: &RangeRequest) -> Result<(), EtcdError> {
    if request.key.is_empty() {
        return Err(EtcdError::EmptyKey);
    }
    let known = SortOrder::try_from(request.sort_order).is_ok()
        && SortTarget::try_from(request.sort_target).is_ok();
    if known {
        Ok(())
    } else {
        Err(EtcdError::InvalidSortOption)
    }
}

pub(super) fn put(request: &PutRequest) -> Result<(), EtcdError> {
    if request.key.is_empty() {
        return Err(EtcdError::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(EtcdError::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(EtcdError::LeaseProvided);
    }
    Ok(())
}

pub(super) fn delete_range(request: &DeleteRangeRequest) -> Result<(), EtcdError> {
    if request.key.is_empty() {
        Err(EtcdError::EmptyKey)
    } else {
        Ok(())
    }
}

pub(super) fn txn(request: &TxnRequest) -> Result<(), EtcdError> {
    shape(request, MAX_TXN_OPS)?;
    changes(&request.success)?;
    changes(&request.failure)?;
    Ok(())
}

/// A nested transaction gets the operations that the one around it leaves over.
fn shape(request: &TxnRequest, max_ops: usize) -> Result<(), EtcdError> {
    let ops = request
        .compare
        .len()
        .max(request.success.len())
        .max(request.failure.len());
    let Some(left) = max_ops.checked_sub(ops) else {
        return Err(EtcdError::TooManyOps);
    };
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(EtcdError::EmptyKey);
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Request::RequestRange(request)) => range(request)?,
            Some(Request::RequestPut(request)) => put(request)?,
            Some(Request::RequestDeleteRange(request)) => delete_range(request)?,
            Some(Request::RequestTxn(request)) => shape(request, left)?,
            None => return Err(EtcdError::KeyNotFound),
        }
    }
    Ok(())
}

/// What one branch changes, for the rule that no key may be changed twice.
#[derive(Default)]
struct Changes {
    puts: HashSet<Bytes>,
    /// Begin and end as the requests have them; an empty end means the one key.
    deletions: Vec<(Bytes, Bytes)>,
    /// The deletions of single keys, of which there may be many.
    deleted_keys: BTreeSet<Bytes>,
}

impl Changes {
    fn delete(&mut self, request: &DeleteRangeRequest) {
        if request.range_end.is_empty() {
            self.deleted_keys.insert(request.key.clone());
        } else {
            self.deletions
                .push((request.key.clone(), request.range_end.clone()));
        }
    }

    /// As in etcd an end of one zero byte is taken as it stands here, so that a deletion of everything
    /// from a key overlaps no put.
    fn deletes(&self, key: &Bytes) -> bool {
        self.deleted_keys.contains(key)
            || self
                .deletions
                .iter()
                .any(|(begin, end)| begin <= key && key < end)
    }

    fn put(&mut self, key: &Bytes) -> Result<(), EtcdError> {
        if self.deletes(key) || !self.puts.insert(key.clone()) {
            return Err(EtcdError::DuplicateKey);
        }
        Ok(())
    }

    /// Takes in the branches of a nested transaction. Only one of them will be run, so that both may
    /// put the same key.
    fn nested(&mut self, then: Self, otherwise: Self) -> Result<(), EtcdError> {
        for key in &then.puts {
            self.put(key)?;
        }
        for key in &otherwise.puts {
            if then.puts.contains(key) {
                continue;
            }
            self.put(key)?;
        }
        for branch in [then, otherwise] {
            self.deletions.extend(branch.deletions);
            self.deleted_keys.extend(branch.deleted_keys);
        }
        Ok(())
    }
}

fn changes(ops: &[RequestOp]) -> Result<Changes, EtcdError> {
    let mut all = Changes::default();
    for op in ops {
        if let Some(Request::RequestDeleteRange(request)) = &op.request {
            all.delete(request);
        }
    }
    for op in ops {
        if let Some(Request::RequestTxn(request)) = &op.request {
            all.nested(changes(&request.success)?, changes(&request.failure)?)?;
        }
    }
    for op in ops {
        if let Some(Request::RequestPut(request)) = &op.request {
            all.put(&request.key)?;
        }
    }
    Ok(all)
}

/// What a put counts towards the quota, in bytes.
pub(super) fn put_cost(request: &PutRequest) -> u64 {
    QUOTA_KEY_OVERHEAD_BYTES + (request.key.len() + request.value.len()) as u64
}

/// What a transaction counts towards the quota: its dearer branch, in bytes.
pub(super) fn txn_cost(request: &TxnRequest) -> u64 {
    let branch = |ops: &[RequestOp]| -> u64 {
        ops.iter()
            .map(|op| match &op.request {
                Some(Request::RequestPut(request)) => put_cost(request),
                Some(Request::RequestTxn(request)) => txn_cost(request),
                _ => 0,
            })
            .sum()
    };
    branch(&request.success).max(branch(&request.failure))
}
