//! Transactions: which branch each of them takes, the checks before anything is changed, and running
//! them. Reads go through [`TxnReader`], so that a read-only transaction needs no write.

use std::cmp::Ordering;
use std::collections::VecDeque;

use super::core::Core;
use super::index::KeyRange;
use super::write::WriteTxn;
use crate::error::EtcdError;
use crate::pb::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::pb::etcdserverpb::request_op::Request;
use crate::pb::etcdserverpb::response_op::Response;
use crate::pb::etcdserverpb::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest,
    RangeResponse, RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
};
use crate::pb::mvccpb::KeyValue;

/// The state before a transaction, for its compares and checks.
pub(crate) trait TxnReader {
    /// The part in memory.
    fn core(&self) -> &Core;
    /// The revision that is read.
    fn revision(&self) -> i64;
    /// Revisions below are compacted.
    fn compacted(&self) -> i64;
    /// The record of a version found in the index.
    fn record(&self, located: super::index::Located) -> Result<KeyValue, EtcdError>;
}

impl TxnReader for WriteTxn<'_> {
    fn core(&self) -> &Core {
        self.core
    }

    fn revision(&self) -> i64 {
        self.base()
    }

    fn compacted(&self) -> i64 {
        self.compacted()
    }

    fn record(&self, located: super::index::Located) -> Result<KeyValue, EtcdError> {
        Self::record(self, located)
    }
}

/// Whether each transaction, nested ones in the order they are met, takes its `success` branch.
pub(crate) type Path = VecDeque<bool>;

/// Evaluates every compare, also those of nested transactions, on the state before the transaction.
pub(crate) fn path(reader: &impl TxnReader, request: &TxnRequest) -> Result<Path, EtcdError> {
    let mut path = Path::new();
    walk_compares(reader, request, &mut path)?;
    Ok(path)
}

fn walk_compares(
    reader: &impl TxnReader,
    request: &TxnRequest,
    path: &mut Path,
) -> Result<(), EtcdError> {
    let mut holds = true;
    for compare in &request.compare {
        if !compare_holds(reader, compare)? {
            holds = false;
            break;
        }
    }
    path.push_back(holds);
    for op in branch(request, holds) {
        if let Some(Request::RequestTxn(nested)) = &op.request {
            walk_compares(reader, nested, path)?;
        }
    }
    Ok(())
}

fn branch(request: &TxnRequest, succeeded: bool) -> &[RequestOp] {
    if succeeded {
        &request.success
    } else {
        &request.failure
    }
}

/// A compare holds for every key of its range; a missing key compares as zeros, but a missing value
/// compares as nothing.
fn compare_holds(reader: &impl TxnReader, compare: &Compare) -> Result<bool, EtcdError> {
    let range = KeyRange::new(&compare.key, &compare.range_end);
    let mut found = Vec::new();
    reader
        .core()
        .index
        .visit(range, reader.revision(), |_, located| found.push(located));
    if found.is_empty() {
        let missing = KeyValue::default();
        return Ok(compare.target() != CompareTarget::Value && compare_one(compare, &missing));
    }
    let needs_record = matches!(
        compare.target(),
        CompareTarget::Value | CompareTarget::Lease
    );
    for located in found {
        let kv = if needs_record {
            reader.record(located)?
        } else {
            KeyValue {
                create_revision: located.created,
                mod_revision: located.modified.main,
                version: located.version,
                ..KeyValue::default()
            }
        };
        if !compare_one(compare, &kv) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Compares one key. A target whose value is not given compares with zero, or with the empty value.
fn compare_one(compare: &Compare, kv: &KeyValue) -> bool {
    let union = compare.target_union.as_ref();
    let number = |given: Option<i64>, is: i64| is.cmp(&given.unwrap_or(0));
    let ordering = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Value) => match union {
            Some(TargetUnion::Value(value)) => kv.value.cmp(value),
            _ => kv.value[..].cmp(&[]),
        },
        Ok(CompareTarget::Create) => number(
            union.and_then(|u| {
                if let TargetUnion::CreateRevision(n) = u {
                    Some(*n)
                } else {
                    None
                }
            }),
            kv.create_revision,
        ),
        Ok(CompareTarget::Mod) => number(
            union.and_then(|u| {
                if let TargetUnion::ModRevision(n) = u {
                    Some(*n)
                } else {
                    None
                }
            }),
            kv.mod_revision,
        ),
        Ok(CompareTarget::Version) => number(
            union.and_then(|u| {
                if let TargetUnion::Version(n) = u {
                    Some(*n)
                } else {
                    None
                }
            }),
            kv.version,
        ),
        Ok(CompareTarget::Lease) => number(
            union.and_then(|u| {
                if let TargetUnion::Lease(n) = u {
                    Some(*n)
                } else {
                    None
                }
            }),
            kv.lease,
        ),
        // A target that etcd does not know compares as equal there.
        Err(_) => Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering == Ordering::Equal,
        Ok(CompareResult::NotEqual) => ordering != Ordering::Equal,
        Ok(CompareResult::Greater) => ordering == Ordering::Greater,
        Ok(CompareResult::Less) => ordering == Ordering::Less,
        // A result that etcd does not know holds there.
        Err(_) => true,
    }
}

/// What must hold before a put, on the state it is given.
pub(crate) fn check_put(reader: &impl TxnReader, put: &PutRequest) -> Result<(), EtcdError> {
    if put.lease != 0 && !reader.core().leases.contains(put.lease) {
        return Err(EtcdError::LeaseNotFound);
    }
    if (put.ignore_value || put.ignore_lease)
        && reader
            .core()
            .index
            .get(&put.key, reader.revision())
            .is_none()
    {
        return Err(EtcdError::KeyNotFound);
    }
    Ok(())
}

fn check_range(reader: &impl TxnReader, range: &RangeRequest) -> Result<(), EtcdError> {
    match range.revision {
        0 => Ok(()),
        revision if revision > reader.revision() => Err(EtcdError::FutureRevision),
        revision if revision < reader.compacted() => Err(EtcdError::Compacted),
        _ => Ok(()),
    }
}

/// Checks the chosen branches on the state before the transaction, so that what is run cannot fail
/// half-way.
pub(crate) fn check(
    reader: &impl TxnReader,
    request: &TxnRequest,
    path: &mut Path,
) -> Result<(), EtcdError> {
    let succeeded = next(path);
    for op in branch(request, succeeded) {
        match &op.request {
            Some(Request::RequestRange(range)) => check_range(reader, range)?,
            Some(Request::RequestPut(put)) => check_put(reader, put)?,
            Some(Request::RequestTxn(nested)) => check(reader, nested, path)?,
            Some(Request::RequestDeleteRange(_)) | None => {}
        }
    }
    Ok(())
}

fn next(path: &mut Path) -> bool {
    path.pop_front()
        .expect("the path has a step for every transaction on it")
}

/// A header with the revision and nothing else, as the messages hold it.
#[allow(
    clippy::unnecessary_wraps,
    reason = "the messages' fields are optional"
)]
pub(crate) fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        revision,
        ..ResponseHeader::default()
    })
}

/// Runs a put that was checked. The key to keep a value or lease of was there then; if an earlier
/// operation of the same transaction deleted it, there is nothing to keep.
pub(crate) fn put(txn: &mut WriteTxn<'_>, request: PutRequest) -> Result<PutResponse, EtcdError> {
    let needs_previous = request.ignore_value || request.ignore_lease || request.prev_kv;
    let previous = if needs_previous {
        txn.get(&request.key)?
    } else {
        None
    };
    let (mut value, mut lease) = (request.value, request.lease);
    if request.ignore_value {
        value = previous
            .as_ref()
            .map(|kv| kv.value.clone())
            .unwrap_or_default();
    }
    if request.ignore_lease {
        lease = previous.as_ref().map_or(0, |kv| kv.lease);
    }
    txn.put(&request.key, value, lease)?;
    let prev_kv = if request.prev_kv { previous } else { None };
    Ok(PutResponse {
        header: header(txn.newest()),
        prev_kv,
    })
}

/// Runs a deletion.
pub(crate) fn delete_range(
    txn: &mut WriteTxn<'_>,
    request: &DeleteRangeRequest,
) -> Result<DeleteRangeResponse, EtcdError> {
    let prev_kvs = if request.prev_kv {
        let range = RangeRequest {
            key: request.key.clone(),
            range_end: request.range_end.clone(),
            ..RangeRequest::default()
        };
        txn.range(&range)?.kvs
    } else {
        Vec::new()
    };
    let deleted = txn.delete_range(&request.key, &request.range_end)?;
    Ok(DeleteRangeResponse {
        header: header(txn.newest()),
        deleted,
        prev_kvs,
    })
}

/// What runs the operations of a transaction.
pub(crate) trait TxnRunner {
    fn range(&mut self, request: &RangeRequest) -> Result<RangeResponse, EtcdError>;
    fn put(&mut self, request: PutRequest) -> Result<PutResponse, EtcdError>;
    fn delete_range(
        &mut self,
        request: &DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, EtcdError>;
}

impl TxnRunner for WriteTxn<'_> {
    fn range(&mut self, request: &RangeRequest) -> Result<RangeResponse, EtcdError> {
        Self::range(self, request)
    }

    fn put(&mut self, request: PutRequest) -> Result<PutResponse, EtcdError> {
        put(self, request)
    }

    fn delete_range(
        &mut self,
        request: &DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, EtcdError> {
        delete_range(self, request)
    }
}

/// Runs a transaction that was checked along its path. Headers inside carry only revisions, and those
/// of nested transactions nothing, as etcd's do.
pub(crate) fn run(
    runner: &mut impl TxnRunner,
    request: TxnRequest,
    path: &mut Path,
) -> Result<TxnResponse, EtcdError> {
    let succeeded = next(path);
    let ops = if succeeded {
        request.success
    } else {
        request.failure
    };
    let mut responses = Vec::with_capacity(ops.len());
    for op in ops {
        let response = match op.request {
            Some(Request::RequestRange(request)) => {
                Some(Response::ResponseRange(runner.range(&request)?))
            }
            Some(Request::RequestPut(request)) => Some(Response::ResponsePut(runner.put(request)?)),
            Some(Request::RequestDeleteRange(request)) => Some(Response::ResponseDeleteRange(
                runner.delete_range(&request)?,
            )),
            Some(Request::RequestTxn(request)) => {
                Some(Response::ResponseTxn(run(runner, request, path)?))
            }
            None => None,
        };
        responses.push(ResponseOp { response });
    }
    Ok(TxnResponse {
        header: Some(ResponseHeader::default()),
        succeeded,
        responses,
    })
}

/// Whether a transaction only reads. As in etcd one with a nested transaction counts as a write.
#[must_use]
pub fn is_read_only(request: &TxnRequest) -> bool {
    request
        .success
        .iter()
        .chain(&request.failure)
        .all(|op| matches!(op.request, Some(Request::RequestRange(_))))
}

/// Whether all ranges of a read-only transaction may be served stale.
#[must_use]
pub fn is_serializable(request: &TxnRequest) -> bool {
    request
        .success
        .iter()
        .chain(&request.failure)
        .all(|op| matches!(&op.request, Some(Request::RequestRange(range)) if range.serializable))
}
