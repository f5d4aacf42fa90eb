use super::*;

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
