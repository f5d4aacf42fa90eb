//! Tests of the services over one copy that does what the test says.

mod kv;
mod lease;
mod node;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use standby_core::{
    ClusterId, Entry, Epoch, Index, Micros, NewHistory, NodeId, Position, VolumeId,
};
use standby_interface::{
    MemberInfo, Refusal, Replication, ReplicationFuture, Role, RoleInfo, StateMachine, StatusInfo,
};
use tokio::sync::{Semaphore, watch};
use tokio_stream::StreamExt;
use tonic::{Code, Request, Status};

use super::cluster::ClusterService;
use super::kv::KvService;
use super::lease::LeaseService;
use super::maintenance::MaintenanceService;
use super::node::{Clock, Node, NodeParts, member_id};
use crate::limits::{LEASE_PROMOTION_GRACE_MS, MAX_REQUEST_BYTES, MAX_TXN_OPS};
use crate::pb::etcdserverpb::cluster_server::Cluster;
use crate::pb::etcdserverpb::kv_server::Kv;
use crate::pb::etcdserverpb::lease_server::Lease;
use crate::pb::etcdserverpb::maintenance_server::Maintenance;
use crate::pb::etcdserverpb::request_op::Request as Op;
use crate::pb::etcdserverpb::{
    CompactionRequest, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest,
    LeaseTimeToLiveRequest, MemberAddRequest, MemberListRequest, MoveLeaderRequest, PutRequest,
    RangeRequest, StatusRequest, TxnRequest,
};
use crate::state::Outcome;
use crate::state::tests::{Machine, bytes, delete, op, put, range};

#[derive(Default)]
struct ManualClock(AtomicU64);

impl Clock for ManualClock {
    fn now(&self) -> Micros {
        Micros(self.0.load(Ordering::Relaxed))
    }
}

/// Replication of one copy that does what the test says.
struct Local {
    machine: Mutex<Machine>,
    role: watch::Sender<RoleInfo>,
    refusal: Mutex<Option<Refusal>>,
    barriers: AtomicU64,
    /// Every command needs one of these on its way.
    ways: Semaphore,
    /// Whom it was asked to make primary.
    moves: Mutex<Vec<String>>,
}

/// Commands that may be on their way at once, unless a test takes the ways.
const WAYS: usize = 1_000;

fn node_id() -> NodeId {
    NodeId::new("db-1", "00ff")
}

impl Local {
    fn check(&self) -> Result<(), Refusal> {
        self.refusal.lock().clone().map_or(Ok(()), Err)
    }
}

impl Replication<Outcome> for Local {
    fn propose(
        &self,
        payload: Bytes,
        frees_space: bool,
    ) -> ReplicationFuture<'_, (Position, Outcome)> {
        Box::pin(async move {
            match self.check() {
                Err(Refusal::DiskFull { .. }) if frees_space => {}
                other => other?,
            }
            let _way = self.ways.acquire().await.expect("never closed");
            let epoch = self.role.borrow().epoch;
            let mut machine = self.machine.lock();
            let index = Index(machine.state.applied().index.0 + 1);
            let position = Position::new(epoch, index);
            let outcomes = machine.state.apply(&[Entry::data(position, payload)]);
            Ok((position, outcomes.expect("memory does not fail").remove(0)))
        })
    }

    fn read_barrier(&self) -> ReplicationFuture<'_, ()> {
        self.barriers.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move { self.check() })
    }

    fn move_primary(&self, name: String) -> ReplicationFuture<'_, ()> {
        self.moves.lock().push(name);
        Box::pin(async move { self.check() })
    }

    fn role(&self) -> watch::Receiver<RoleInfo> {
        self.role.subscribe()
    }

    fn status(&self) -> StatusInfo {
        let applied = self.machine.lock().state.applied();
        let member = |name: &str, volume: &str, primary: bool| MemberInfo {
            name: name.to_owned(),
            volume: Some(VolumeId(volume.to_owned())),
            primary,
            peer_url: String::new(),
            client_url: format!("https://{name}:2379"),
        };
        StatusInfo {
            cluster_id: ClusterId("c".to_owned()),
            node: node_id(),
            last: applied,
            commit: applied,
            members: vec![member("db-1", "00ff", true), member("db-2", "00ee", false)],
            disk_full: false,
        }
    }
}

struct Bed {
    local: Arc<Local>,
    clock: Arc<ManualClock>,
    node: Node<Arc<Local>>,
}

impl Bed {
    fn with_quota(quota_backend_bytes: Option<u64>) -> Self {
        let machine = Machine::new();
        let view = machine.state.view();
        let role = RoleInfo {
            role: Role::Primary,
            epoch: Epoch(5),
            primary: Some(node_id()),
            primary_alive: true,
        };
        let local = Arc::new(Local {
            machine: Mutex::new(machine),
            role: watch::Sender::new(role),
            refusal: Mutex::new(None),
            barriers: AtomicU64::new(0),
            ways: Semaphore::new(WAYS),
            moves: Mutex::default(),
        });
        let clock = Arc::new(ManualClock::default());
        let node = Node::new(NodeParts {
            replication: Arc::clone(&local),
            view,
            quota_backend_bytes,
            clock: Arc::<ManualClock>::clone(&clock),
        });
        Self { local, clock, node }
    }

    fn new() -> Self {
        Self::with_quota(None)
    }

    fn become_role(&self, role: Role) {
        self.local.role.send_modify(|info| info.role = role);
    }

    fn refuse(&self, refusal: Refusal) {
        *self.local.refusal.lock() = Some(refusal);
    }

    fn pass(&self, seconds: u64) {
        self.clock
            .0
            .fetch_add(seconds * 1_000_000, Ordering::Relaxed);
    }

    fn kv(&self) -> KvService<Arc<Local>> {
        KvService::new(self.node.clone())
    }

    fn lease(&self) -> LeaseService<Arc<Local>> {
        LeaseService::new(self.node.clone())
    }

    async fn put(&self, request: PutRequest) -> Result<i64, Status> {
        let answer = self.kv().put(Request::new(request)).await?;
        Ok(answer
            .into_inner()
            .header
            .expect("every answer has one")
            .revision)
    }

    async fn txn(&self, request: TxnRequest) -> Result<(), Status> {
        self.kv().txn(Request::new(request)).await.map(|_| ())
    }

    async fn grant(&self, id: i64, ttl: i64) -> Result<i64, Status> {
        let request = LeaseGrantRequest { id, ttl };
        Ok(self
            .lease()
            .lease_grant(Request::new(request))
            .await?
            .into_inner()
            .ttl)
    }

    async fn keep_alive(&self, id: i64) -> i64 {
        self.node
            .keep_alive(&LeaseKeepAliveRequest { id })
            .await
            .unwrap()
            .ttl
    }
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.expect_err("it must be refused");
    (status.code(), status.message().to_owned())
}
