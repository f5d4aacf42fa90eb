//! One step of a differential run, in a form that can be written down and played again.
//!
//! Keys and values are text, so that a failing sequence can be read. Leases from `OWN_LEASES` on are
//! the n-th that a server chose itself: each server has its own number for it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use standby_etcd::pb::etcdserverpb as pb;
use standby_etcd::pb::etcdserverpb::compare::TargetUnion;
use standby_etcd::pb::etcdserverpb::request_op::Request;

/// Leases named from here on were chosen by the server.
pub const OWN_LEASES: i64 = 1_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Op {
    Put(Put),
    Delete(Delete),
    Range(Range),
    /// The same request over the streaming call.
    RangeStream(Range),
    Txn(Txn),
    Compact {
        #[serde(default)]
        revision: i64,
        #[serde(default)]
        physical: bool,
    },
    Grant {
        ttl_s: i64,
        #[serde(default)]
        lease: i64,
    },
    Revoke {
        lease: i64,
    },
    KeepAlive {
        lease: i64,
    },
    TimeToLive {
        lease: i64,
        #[serde(default)]
        keys: bool,
    },
    Leases,
    Watch {
        #[serde(default)]
        stream: usize,
        watch: Watch,
    },
    CancelWatch {
        #[serde(default)]
        stream: usize,
        #[serde(default)]
        watch_id: i64,
    },
    Progress {
        #[serde(default)]
        stream: usize,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Put {
    pub key: String,
    pub value: String,
    pub lease: i64,
    pub prev_kv: bool,
    pub ignore_value: bool,
    pub ignore_lease: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Delete {
    pub key: String,
    pub end: String,
    pub prev_kv: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Range {
    pub key: String,
    pub end: String,
    pub limit: i64,
    pub revision: i64,
    pub order: i32,
    pub target: i32,
    pub serializable: bool,
    pub keys_only: bool,
    pub count_only: bool,
    pub mod_from: i64,
    pub mod_to: i64,
    pub create_from: i64,
    pub create_to: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Compare {
    pub key: String,
    pub end: String,
    pub result: i32,
    pub target: i32,
    /// The number compared with; absent to leave the message's union empty.
    pub number: Option<i64>,
    /// The value compared with.
    pub value: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Txn {
    pub compare: Vec<Compare>,
    pub success: Vec<TxnOp>,
    pub failure: Vec<TxnOp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TxnOp {
    Put(Put),
    Delete(Delete),
    Range(Range),
    Txn(Txn),
    /// An operation whose kind is missing.
    Empty,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watch {
    pub key: String,
    pub end: String,
    pub start: i64,
    #[serde(rename = "watch_id")]
    pub id: i64,
    pub filters: Vec<i32>,
    pub prev_kv: bool,
    pub progress: bool,
    pub fragment: bool,
}

impl Op {
    /// The step on one line, without fields that say nothing.
    pub fn line(&self) -> String {
        short(serde_json::to_value(self).expect("a step can be written")).to_string()
    }
}

fn short(value: Value) -> Value {
    let says_nothing = |value: &Value| {
        matches!(value, Value::Null | Value::Bool(false))
            || value.as_i64() == Some(0)
            || value.as_str() == Some("")
            || value.as_array().is_some_and(Vec::is_empty)
    };
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !says_nothing(value))
            .map(|(name, value)| (name, short(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(short).collect(),
        other => other,
    }
}

/// What a server calls the leases of the run.
pub type LeaseName<'a> = &'a dyn Fn(i64) -> i64;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

impl Put {
    pub fn request(&self, lease: LeaseName<'_>) -> pb::PutRequest {
        pb::PutRequest {
            key: bytes(&self.key),
            value: bytes(&self.value),
            lease: lease(self.lease),
            prev_kv: self.prev_kv,
            ignore_value: self.ignore_value,
            ignore_lease: self.ignore_lease,
        }
    }
}

impl Delete {
    pub fn request(&self) -> pb::DeleteRangeRequest {
        pb::DeleteRangeRequest {
            key: bytes(&self.key),
            range_end: bytes(&self.end),
            prev_kv: self.prev_kv,
        }
    }
}

impl Range {
    pub fn request(&self) -> pb::RangeRequest {
        pb::RangeRequest {
            key: bytes(&self.key),
            range_end: bytes(&self.end),
            limit: self.limit,
            revision: self.revision,
            sort_order: self.order,
            sort_target: self.target,
            serializable: self.serializable,
            keys_only: self.keys_only,
            count_only: self.count_only,
            min_mod_revision: self.mod_from,
            max_mod_revision: self.mod_to,
            min_create_revision: self.create_from,
            max_create_revision: self.create_to,
        }
    }
}

impl Compare {
    fn request(&self, lease: LeaseName<'_>) -> pb::Compare {
        let target_union = match (self.target, self.number, &self.value) {
            (0, Some(number), _) => Some(TargetUnion::Version(number)),
            (1, Some(number), _) => Some(TargetUnion::CreateRevision(number)),
            (2, Some(number), _) => Some(TargetUnion::ModRevision(number)),
            (4, Some(number), _) => Some(TargetUnion::Lease(lease(number))),
            (_, _, Some(value)) => Some(TargetUnion::Value(bytes(value))),
            _ => None,
        };
        pb::Compare {
            result: self.result,
            target: self.target,
            key: bytes(&self.key),
            range_end: bytes(&self.end),
            target_union,
        }
    }
}

impl Txn {
    pub fn request(&self, lease: LeaseName<'_>) -> pb::TxnRequest {
        let ops = |ops: &[TxnOp]| ops.iter().map(|op| op.request(lease)).collect();
        pb::TxnRequest {
            compare: self
                .compare
                .iter()
                .map(|compare| compare.request(lease))
                .collect(),
            success: ops(&self.success),
            failure: ops(&self.failure),
        }
    }
}

impl TxnOp {
    fn request(&self, lease: LeaseName<'_>) -> pb::RequestOp {
        let request = match self {
            Self::Put(put) => Some(Request::RequestPut(put.request(lease))),
            Self::Delete(delete) => Some(Request::RequestDeleteRange(delete.request())),
            Self::Range(range) => Some(Request::RequestRange(range.request())),
            Self::Txn(txn) => Some(Request::RequestTxn(txn.request(lease))),
            Self::Empty => None,
        };
        pb::RequestOp { request }
    }
}

impl Watch {
    pub fn request(&self) -> pb::WatchCreateRequest {
        pb::WatchCreateRequest {
            key: bytes(&self.key),
            range_end: bytes(&self.end),
            start_revision: self.start,
            progress_notify: self.progress,
            filters: self.filters.clone(),
            prev_kv: self.prev_kv,
            watch_id: self.id,
            fragment: self.fragment,
        }
    }
}
