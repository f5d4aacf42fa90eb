use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use standby_core::{ClusterId, Entry, Epoch, Index, Micros, NodeId, Position, VolumeId};
use standby_interface::{
    MemberInfo, Refusal, Replication, ReplicationFuture, Role, RoleInfo, StateMachine, StatusInfo,
};
use tokio::sync::watch;
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
    LeaseTimeToLiveRequest, MemberAddRequest, MemberListRequest, PutRequest, RangeRequest,
    StatusRequest, TxnRequest,
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
}

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
            let mut machine = self.machine.lock();
            let index = Index(machine.state.applied().index.0 + 1);
            let position = Position::new(Epoch(5), index);
            let outcomes = machine.state.apply(&[Entry::data(position, payload)]);
            Ok((position, outcomes.expect("memory does not fail").remove(0)))
        })
    }

    fn read_barrier(&self) -> ReplicationFuture<'_, ()> {
        self.barriers.fetch_add(1, Ordering::Relaxed);
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

#[tokio::test]
async fn headers_are_complete() {
    let bed = Bed::new();
    let answer = bed
        .kv()
        .put(Request::new(put("a", "1")))
        .await
        .unwrap()
        .into_inner();
    let header = answer.header.unwrap();
    assert_eq!((header.revision, header.raft_term), (2, 5));
    assert_eq!(header.member_id, member_id(&node_id()));
    assert_ne!(header.cluster_id, 0);
}

#[tokio::test]
async fn a_follower_answers_what_an_etcd_learner_answers() {
    let bed = Bed::new();
    bed.put(put("a", "1")).await.unwrap();
    bed.become_role(Role::Follower);
    let learner = (
        Code::FailedPrecondition,
        "etcdserver: rpc not supported for learner".to_owned(),
    );
    assert_eq!(refused(bed.put(put("a", "2")).await), learner);
    assert_eq!(
        refused(bed.kv().range(Request::new(range("a", ""))).await),
        learner
    );
    assert_eq!(refused(bed.grant(0, 10).await), learner);
    let stale = RangeRequest {
        serializable: true,
        ..range("a", "")
    };
    let answer = bed
        .kv()
        .range(Request::new(stale))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.count, 1);
}

#[tokio::test]
async fn refusals_of_replication_get_etcds_words() {
    let timeout = Refusal::Timeout { after_ms: 1 };
    let full = Refusal::DiskFull {
        free_bytes: 1,
        needed_bytes: 2,
    };
    let expected = [
        (
            Role::Primary,
            Refusal::RoleLost,
            Code::Unavailable,
            "leader changed",
        ),
        (
            Role::Primary,
            timeout.clone(),
            Code::Unavailable,
            "request timed out",
        ),
        (
            Role::PrimaryWaiting,
            timeout,
            Code::Unavailable,
            "no leader",
        ),
        (
            Role::Primary,
            Refusal::Overloaded,
            Code::ResourceExhausted,
            "too many requests",
        ),
        (
            Role::Primary,
            full,
            Code::ResourceExhausted,
            "mvcc: database space exceeded",
        ),
        (
            Role::Primary,
            Refusal::ShuttingDown,
            Code::Unavailable,
            "server stopped",
        ),
    ];
    for (role, refusal, code, text) in expected {
        let bed = Bed::new();
        bed.become_role(role);
        bed.refuse(refusal);
        assert_eq!(
            refused(bed.put(put("a", "1")).await),
            (code, format!("etcdserver: {text}"))
        );
    }
}

#[tokio::test]
async fn a_linearizable_read_asks_for_proof_and_a_serializable_one_does_not() {
    let bed = Bed::new();
    let barriers = || bed.local.barriers.load(Ordering::Relaxed);
    let stale = RangeRequest {
        serializable: true,
        ..range("a", "")
    };
    bed.kv().range(Request::new(stale.clone())).await.unwrap();
    let read = |range| TxnRequest {
        success: vec![op(Op::RequestRange(range))],
        ..TxnRequest::default()
    };
    bed.txn(read(stale)).await.unwrap();
    assert_eq!(barriers(), 0);
    bed.kv().range(Request::new(range("a", ""))).await.unwrap();
    bed.txn(read(range("a", ""))).await.unwrap();
    assert_eq!(barriers(), 2);
    assert_eq!(
        bed.node.view().applied(),
        Position::START,
        "nothing of it was logged"
    );
}

#[tokio::test]
async fn malformed_requests_are_refused_in_etcds_words() {
    let bed = Bed::new();
    let expected = [
        (put("", "1"), "key is not provided"),
        (
            PutRequest {
                ignore_value: true,
                ..put("a", "1")
            },
            "value is provided",
        ),
        (
            PutRequest {
                ignore_lease: true,
                lease: 1,
                ..put("a", "1")
            },
            "lease is provided",
        ),
        (
            PutRequest {
                lease: 1,
                ..put("a", "1")
            },
            "requested lease not found",
        ),
        (
            put("a", &"x".repeat(MAX_REQUEST_BYTES)),
            "request is too large",
        ),
    ];
    for (request, text) in expected {
        assert_eq!(
            refused(bed.put(request).await).1,
            format!("etcdserver: {text}")
        );
    }
    let sorted = RangeRequest {
        sort_order: 9,
        ..range("a", "")
    };
    let answer = bed.kv().range(Request::new(sorted)).await;
    assert_eq!(refused(answer).1, "etcdserver: invalid sort option");
}

fn success(ops: Vec<Op>) -> TxnRequest {
    TxnRequest {
        success: ops.into_iter().map(op).collect(),
        ..TxnRequest::default()
    }
}

fn puts(key: &str) -> Op {
    Op::RequestPut(put(key, "1"))
}

fn deletes(key: &str, end: &str) -> Op {
    Op::RequestDeleteRange(delete(key, end))
}

fn either(then: Vec<Op>, otherwise: Vec<Op>) -> Op {
    let failure = otherwise.into_iter().map(op).collect();
    Op::RequestTxn(TxnRequest {
        failure,
        ..success(then)
    })
}

#[tokio::test]
async fn no_key_is_changed_twice_in_a_transaction() {
    let nest = |op| either(vec![op], Vec::new());
    let refused_ones = [
        vec![puts("a"), puts("a")],
        vec![puts("a"), deletes("a", "")],
        vec![deletes("a", "c"), puts("b")],
        vec![puts("a"), nest(puts("a"))],
        vec![nest(puts("a")), nest(puts("a"))],
        vec![deletes("a", "z"), nest(puts("b"))],
        vec![nest(deletes("a", "z")), puts("b")],
        vec![nest(deletes("b", "")), puts("b")],
    ];
    for ops in refused_ones {
        let request = success(ops);
        let answer = Bed::new().txn(request.clone()).await;
        assert_eq!(
            refused(answer).1,
            "etcdserver: duplicate key given in txn request",
            "{request:?}"
        );
    }
    let allowed = [
        vec![puts("a"), deletes("b", "c")],
        vec![deletes("a", "c"), deletes("b", "z")],
        vec![either(vec![puts("a")], vec![puts("a")])],
        // As in etcd: a deletion of everything from a key is not looked into.
        vec![deletes("a", "\0"), puts("b")],
    ];
    for ops in allowed {
        Bed::new().txn(success(ops)).await.unwrap();
    }
}

#[tokio::test]
async fn a_transaction_has_a_limit_of_operations_that_nested_ones_share() {
    let many = |count: usize| {
        (0..count)
            .map(|n| puts(&format!("k{n}")))
            .collect::<Vec<_>>()
    };
    Bed::new().txn(success(many(MAX_TXN_OPS))).await.unwrap();
    let mut nested = many(MAX_TXN_OPS - 1);
    nested.push(either(vec![puts("x"), puts("y")], Vec::new()));
    for ops in [many(MAX_TXN_OPS + 1), nested] {
        let answer = Bed::new().txn(success(ops)).await;
        assert_eq!(
            refused(answer).1,
            "etcdserver: too many operations in txn request"
        );
    }
    let empty = TxnRequest {
        success: vec![crate::pb::etcdserverpb::RequestOp::default()],
        ..TxnRequest::default()
    };
    assert_eq!(
        refused(Bed::new().txn(empty).await).1,
        "etcdserver: key not found"
    );
}

#[tokio::test]
async fn beyond_the_quota_only_what_frees_space_goes_on() {
    let bed = Bed::with_quota(Some(10));
    let no_space = "etcdserver: mvcc: database space exceeded";
    assert_eq!(refused(bed.put(put("a", "1")).await).1, no_space);
    assert_eq!(refused(bed.grant(0, 10).await).1, no_space);
    assert_eq!(refused(bed.txn(success(vec![puts("a")])).await).1, no_space);
    bed.txn(success(vec![deletes("a", "")])).await.unwrap();
    bed.kv()
        .delete_range(Request::new(delete("a", "")))
        .await
        .unwrap();
    assert!(bed.node.is_out_of_space());
    bed.refuse(Refusal::DiskFull {
        free_bytes: 1,
        needed_bytes: 2,
    });
    bed.kv()
        .delete_range(Request::new(delete("a", "")))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_physical_compaction_ends_when_the_deletions_are_done() {
    let bed = Bed::new();
    for n in 0..3_000 {
        bed.put(put(&format!("k{n}"), "1")).await.unwrap();
    }
    let compact = |physical: bool| {
        let revision = bed.node.view().current_revision() - i64::from(!physical);
        CompactionRequest { revision, physical }
    };
    bed.kv()
        .compact(Request::new(compact(false)))
        .await
        .unwrap();
    assert!(bed.node.view().is_sweeping());
    bed.kv().compact(Request::new(compact(true))).await.unwrap();
    assert!(!bed.node.view().is_sweeping());
}

#[tokio::test]
async fn a_streamed_range_is_the_range_in_pieces() {
    let bed = Bed::new();
    for n in 0..50 {
        bed.put(put(&format!("k{n:02}"), "1")).await.unwrap();
    }
    for limit in [0, 1, 10, 25, 50, 60] {
        let request = RangeRequest {
            limit,
            ..range("k", "l")
        };
        let whole = bed
            .kv()
            .range(Request::new(request.clone()))
            .await
            .unwrap()
            .into_inner();
        let stream = bed
            .kv()
            .range_stream(Request::new(request))
            .await
            .unwrap()
            .into_inner();
        let pieces: Vec<_> = stream
            .map(|piece| piece.unwrap().range_response.unwrap())
            .collect()
            .await;
        let last = pieces.last().unwrap();
        assert_eq!(
            (last.header, last.more, last.count),
            (whole.header, whole.more, whole.count)
        );
        assert!(
            pieces[..pieces.len() - 1]
                .iter()
                .all(|p| p.header.is_none() && p.count == 0)
        );
        let kvs: Vec<_> = pieces.into_iter().flat_map(|piece| piece.kvs).collect();
        assert_eq!(kvs, whole.kvs, "limit {limit}");
    }
}

#[tokio::test]
async fn a_lease_lives_by_keep_alives_and_takes_its_keys_along() {
    let bed = Bed::new();
    assert_eq!(
        bed.grant(7, 1).await.unwrap(),
        2,
        "too short a time is raised"
    );
    bed.put(PutRequest {
        lease: 7,
        ..put("a", "1")
    })
    .await
    .unwrap();
    bed.node.tick_leases().await;
    bed.pass(1);
    assert_eq!(bed.keep_alive(7).await, 2);
    bed.pass(1);
    bed.node.tick_leases().await;
    assert_eq!(bed.node.view().leases().len(), 1);
    bed.pass(1);
    bed.node.tick_leases().await;
    assert_eq!(bed.node.view().leases(), []);
    assert_eq!(bed.node.view().current_revision(), 3);
    assert_eq!(
        bed.keep_alive(7).await,
        0,
        "a lease that is gone has no time, and that is no error"
    );
}

#[tokio::test]
async fn a_keep_alive_of_a_lease_that_ran_out_waits_until_it_is_gone() {
    let bed = Bed::new();
    bed.grant(7, 2).await.unwrap();
    bed.node.tick_leases().await;
    bed.pass(60);
    let (ttl, ()) = tokio::join!(bed.keep_alive(7), bed.node.tick_leases());
    assert_eq!(ttl, 0);
}

#[tokio::test]
async fn a_keep_alive_without_proof_of_primacy_is_not_answered() {
    let bed = Bed::new();
    bed.grant(7, 10).await.unwrap();
    bed.refuse(Refusal::RoleLost);
    let answer = bed.node.keep_alive(&LeaseKeepAliveRequest { id: 7 }).await;
    assert_eq!(
        answer.unwrap_err().to_string(),
        "etcdserver: leader changed"
    );
}

#[tokio::test]
async fn the_time_to_live_is_told_with_the_keys() {
    let bed = Bed::new();
    bed.grant(7, 10).await.unwrap();
    for key in ["b", "a"] {
        bed.put(PutRequest {
            lease: 7,
            ..put(key, "1")
        })
        .await
        .unwrap();
    }
    bed.node.tick_leases().await;
    bed.pass(LEASE_PROMOTION_GRACE_MS / 1_000 + 3);
    let ask = |id| Request::new(LeaseTimeToLiveRequest { id, keys: true });
    let answer = bed
        .lease()
        .lease_time_to_live(ask(7))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((answer.ttl, answer.granted_ttl), (7, 10));
    assert_eq!(answer.keys, [bytes("a"), bytes("b")]);
    let answer = bed
        .lease()
        .lease_time_to_live(ask(8))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((answer.id, answer.ttl, answer.granted_ttl), (8, -1, 0));
    let listed = bed
        .lease()
        .lease_leases(Request::new(LeaseLeasesRequest {}))
        .await
        .unwrap();
    assert_eq!(listed.into_inner().leases[0].id, 7);
}

#[tokio::test]
async fn an_id_is_chosen_for_a_lease_without_one() {
    let bed = Bed::new();
    let request = LeaseGrantRequest { id: 0, ttl: 10 };
    let answer = bed
        .lease()
        .lease_grant(Request::new(request))
        .await
        .unwrap()
        .into_inner();
    assert!(answer.id > 0);
    let too_long = bed.grant(0, 9_000_000_001).await;
    assert_eq!(
        refused(too_long),
        (
            Code::OutOfRange,
            "etcdserver: too large lease TTL".to_owned()
        )
    );
}

#[tokio::test]
async fn status_names_the_leader_and_who_is_a_learner() {
    let bed = Bed::new();
    bed.put(put("a", "1")).await.unwrap();
    let service = MaintenanceService::new(bed.node.clone());
    let status = service
        .status(Request::new(StatusRequest {}))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(status.leader, status.header.unwrap().member_id);
    assert_eq!(
        (
            status.raft_index,
            status.raft_applied_index,
            status.raft_term
        ),
        (1, 1, 5)
    );
    assert!(!status.is_learner && status.errors.is_empty());
    bed.local.role.send_modify(|info| {
        info.role = Role::Follower;
        info.primary_alive = false;
    });
    let status = service
        .status(Request::new(StatusRequest {}))
        .await
        .unwrap()
        .into_inner();
    assert!(status.is_learner);
    assert_eq!(
        (status.leader, status.errors),
        (0, vec!["etcdserver: no leader".to_owned()])
    );
}

#[tokio::test]
async fn the_primary_is_the_one_full_member() {
    let bed = Bed::new();
    let service = ClusterService::new(bed.node.clone());
    let list = Request::new(MemberListRequest { linearizable: true });
    let members = service
        .member_list(list)
        .await
        .unwrap()
        .into_inner()
        .members;
    assert_eq!(members[0].id, member_id(&node_id()));
    let learners: Vec<bool> = members.iter().map(|member| member.is_learner).collect();
    assert_eq!(learners, [false, true]);
    let (code, text) = refused(
        service
            .member_add(Request::new(MemberAddRequest::default()))
            .await,
    );
    assert_eq!(code, Code::Unimplemented);
    assert!(text.contains("StandbyCluster"), "{text}");
}
