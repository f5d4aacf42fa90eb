use super::*;

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

#[tokio::test]
async fn after_a_loss_cluster_and_members_have_other_ids() {
    let bed = Bed::new();
    bed.put(put("a", "1")).await.unwrap();
    let before = bed.node.current_header();
    {
        let mut machine = bed.local.machine.lock();
        let index = Index(machine.state.applied().index.0 + 1);
        let history = NewHistory {
            epoch: Epoch(5),
            beyond: 3,
        };
        let opening = Entry::open_history(Position::new(Epoch(5), index), history);
        machine.state.apply(&[opening]).unwrap();
    }
    let after = bed.node.current_header();
    assert_ne!(after.cluster_id, before.cluster_id);
    assert_ne!(after.member_id, before.member_id);
    assert_eq!(after.revision, before.revision + 4);
    let service = MaintenanceService::new(bed.node.clone());
    let status = service
        .status(Request::new(StatusRequest {}))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(status.leader, after.member_id);
    let service = ClusterService::new(bed.node.clone());
    let list = Request::new(MemberListRequest { linearizable: true });
    let members = service.member_list(list).await.unwrap().into_inner();
    assert_eq!(members.members[0].id, after.member_id);
}

#[tokio::test]
async fn a_leader_is_moved_to_a_member_by_its_id() {
    let bed = Bed::new();
    let service = MaintenanceService::new(bed.node.clone());
    let ask = async |target_id| {
        let moved = service
            .move_leader(Request::new(MoveLeaderRequest { target_id }))
            .await;
        moved
            .map(drop)
            .map_err(|status| (status.code(), status.message().to_owned()))
    };
    let bad = "etcdserver: bad leader transferee".to_owned();
    assert_eq!(ask(77).await, Err((Code::FailedPrecondition, bad.clone())));
    let other = member_id(&NodeId::new("db-2", "00ee"));
    assert!(ask(other).await.is_ok());
    assert_eq!(*bed.local.moves.lock(), ["db-2"]);
    bed.refuse(Refusal::NotSynchronous {
        name: "db-2".into(),
    });
    assert_eq!(ask(other).await, Err((Code::FailedPrecondition, bad)));
    bed.refuse(Refusal::Timeout { after_ms: 1 });
    let late = "etcdserver: request timed out, leader transfer took too long";
    assert_eq!(ask(other).await, Err((Code::Unknown, late.to_owned())));
    bed.become_role(Role::Follower);
    let not = "etcdserver: not leader".to_owned();
    assert_eq!(ask(other).await, Err((Code::FailedPrecondition, not)));
}
