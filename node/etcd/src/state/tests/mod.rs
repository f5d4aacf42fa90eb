//! Tests of the state: rules one by one, then against a model.

mod concurrent;
mod crash;
mod history;
mod interrupted;
mod losses;
mod model;
mod property;
mod rules;
mod survival;

use std::sync::Arc;

use bytes::Bytes;
use standby_core::{Entry, Epoch, Index, Position};
use standby_interface::StateMachine;
use standby_store::engine::{Engine, MemoryEngine};

use super::{EtcdState, Outcome};
use crate::command::{self, Command};
use crate::error::EtcdError;
use crate::pb::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::pb::etcdserverpb::request_op::Request;
use crate::pb::etcdserverpb::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest,
    RangeResponse, RequestOp, TxnRequest, TxnResponse,
};

pub fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub fn put(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: bytes(key),
        value: bytes(value),
        ..PutRequest::default()
    }
}

pub fn delete(key: &str, range_end: &str) -> DeleteRangeRequest {
    let (key, range_end) = (bytes(key), bytes(range_end));
    DeleteRangeRequest {
        key,
        range_end,
        ..DeleteRangeRequest::default()
    }
}

pub fn range(key: &str, range_end: &str) -> RangeRequest {
    RangeRequest {
        key: bytes(key),
        range_end: bytes(range_end),
        ..RangeRequest::default()
    }
}

pub fn op(request: Request) -> RequestOp {
    RequestOp {
        request: Some(request),
    }
}

pub fn compare(
    key: &str,
    target: CompareTarget,
    result: CompareResult,
    union: TargetUnion,
) -> Compare {
    Compare {
        result: result.into(),
        target: target.into(),
        key: bytes(key),
        target_union: Some(union),
        ..Compare::default()
    }
}

/// A state with the log before it.
pub struct Machine {
    pub state: EtcdState,
    pub engine: Arc<dyn Engine>,
}

impl Machine {
    pub fn new() -> Self {
        Self::on(Arc::new(MemoryEngine::default()))
    }

    pub fn on(engine: Arc<dyn Engine>) -> Self {
        Self {
            state: EtcdState::open(Arc::clone(&engine)).unwrap(),
            engine,
        }
    }

    pub fn reopen(&mut self) {
        self.state = EtcdState::open(Arc::clone(&self.engine)).unwrap();
    }

    pub fn entry(&self, ahead: u64, command: Command) -> Entry {
        let index = Index(self.state.applied().index.0 + 1 + ahead);
        Entry::data(Position::new(Epoch(1), index), command::encode(command))
    }

    pub fn run(&mut self, command: impl Into<Command>) -> Outcome {
        let entry = self.entry(0, command.into());
        self.state.apply(&[entry]).unwrap().remove(0)
    }

    pub fn put(&mut self, request: PutRequest) -> Result<PutResponse, EtcdError> {
        match self.run(request) {
            Outcome::Put(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    pub fn delete(&mut self, request: DeleteRangeRequest) -> DeleteRangeResponse {
        match self.run(request) {
            Outcome::DeleteRange(answer) => answer.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub fn txn(&mut self, request: TxnRequest) -> Result<TxnResponse, EtcdError> {
        match self.run(request) {
            Outcome::Txn(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    pub fn compact(&mut self, revision: i64) -> Result<(), EtcdError> {
        match self.run(command::compact(revision)) {
            Outcome::Compact(answer) => answer.map(|_| ()),
            other => panic!("{other:?}"),
        }
    }

    pub fn grant(&mut self, id: i64) -> Result<(), EtcdError> {
        match self.run(command::grant_lease(id, 10)) {
            Outcome::GrantLease(answer) => answer.map(|_| ()),
            other => panic!("{other:?}"),
        }
    }

    pub fn revoke(&mut self, id: i64) -> Result<(), EtcdError> {
        match self.run(command::revoke_lease(id)) {
            Outcome::RevokeLease(answer) => answer.map(|_| ()),
            other => panic!("{other:?}"),
        }
    }

    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, EtcdError> {
        self.state.view().range(request)
    }

    pub fn get(&self, key: &str) -> Option<String> {
        let answer = self.range(&range(key, "")).unwrap();
        let kv = answer.kvs.into_iter().next()?;
        Some(String::from_utf8(kv.value.to_vec()).unwrap())
    }

    pub fn revision(&self) -> i64 {
        self.state.view().current_revision()
    }
}
