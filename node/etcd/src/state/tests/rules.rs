use super::*;
use crate::pb::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::pb::etcdserverpb::response_op::Response;

fn keys(answer: &RangeResponse) -> String {
    answer
        .kvs
        .iter()
        .map(|kv| String::from_utf8(kv.key.to_vec()).unwrap())
        .collect()
}

#[test]
fn an_empty_store_is_at_revision_one_and_the_first_write_gets_two() {
    let mut m = Machine::new();
    assert_eq!(m.revision(), 1);
    let answer = m.put(put("a", "1")).unwrap();
    assert_eq!(answer.header.unwrap().revision, 2);
    assert_eq!(m.revision(), 2);
}

#[test]
fn a_write_that_changes_nothing_does_not_advance_the_revision() {
    let mut m = Machine::new();
    m.put(put("a", "1")).unwrap();
    let answer = m.delete(delete("b", ""));
    assert_eq!((answer.deleted, answer.header.unwrap().revision), (0, 2));
    m.put(put("a", "1")).unwrap();
    assert_eq!(m.revision(), 3, "rewriting the same value does");
}

#[test]
fn a_version_starts_again_after_a_deletion() {
    let mut m = Machine::new();
    m.put(put("a", "1")).unwrap();
    m.put(put("a", "2")).unwrap();
    m.delete(delete("a", ""));
    m.put(put("a", "3")).unwrap();
    let kv = m.range(&range("a", "")).unwrap().kvs.remove(0);
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (5, 5, 1));
}

#[test]
fn the_previous_pair_is_returned_when_asked_for() {
    let mut m = Machine::new();
    m.put(put("a", "1")).unwrap();
    let answer = m
        .put(PutRequest {
            prev_kv: true,
            ..put("a", "2")
        })
        .unwrap();
    assert_eq!(answer.prev_kv.unwrap().value, bytes("1"));
    let answer = m.delete(DeleteRangeRequest {
        prev_kv: true,
        ..delete("a", "z")
    });
    assert_eq!(answer.prev_kvs[0].value, bytes("2"));
}

#[test]
fn keeping_a_value_or_lease_needs_a_key() {
    let mut m = Machine::new();
    m.grant(7).unwrap();
    let keep_value = PutRequest {
        ignore_value: true,
        lease: 7,
        ..put("a", "")
    };
    assert_eq!(m.put(keep_value.clone()), Err(EtcdError::KeyNotFound));
    m.put(put("a", "1")).unwrap();
    m.put(keep_value).unwrap();
    let keep_lease = PutRequest {
        ignore_lease: true,
        ..put("a", "2")
    };
    m.put(keep_lease).unwrap();
    let kv = m.range(&range("a", "")).unwrap().kvs.remove(0);
    assert_eq!((kv.value, kv.lease, kv.version), (bytes("2"), 7, 3));
}

#[test]
fn an_unknown_lease_is_refused() {
    let mut m = Machine::new();
    assert_eq!(
        m.put(PutRequest {
            lease: 9,
            ..put("a", "1")
        }),
        Err(EtcdError::LeaseNotFound)
    );
    assert_eq!(m.revoke(9), Err(EtcdError::LeaseNotFound));
    m.grant(9).unwrap();
    assert_eq!(m.grant(9), Err(EtcdError::LeaseExists));
}

#[test]
fn revoking_a_lease_deletes_its_keys_in_one_revision() {
    let mut m = Machine::new();
    m.grant(7).unwrap();
    for key in ["b", "a", "c"] {
        m.put(PutRequest {
            lease: 7,
            ..put(key, "1")
        })
        .unwrap();
    }
    m.put(put("c", "rebound to none")).unwrap();
    assert_eq!(m.revision(), 5);
    m.revoke(7).unwrap();
    assert_eq!(m.revision(), 6);
    assert_eq!(keys(&m.range(&range("a", "z")).unwrap()), "c");
    assert_eq!(m.state.view().lease(7), None);
}

#[test]
fn an_expiry_spares_a_lease_granted_anew() {
    let mut m = Machine::new();
    m.grant(7).unwrap();
    let first = m.state.view().lease(7).unwrap().granted_index;
    m.revoke(7).unwrap();
    m.grant(7).unwrap();
    m.run(command::expire_lease(7, first, Epoch(1)));
    let again = m.state.view().lease(7).expect("it is another lease");
    m.run(command::expire_lease(7, again.granted_index, Epoch(1)));
    assert_eq!(m.state.view().lease(7), None);
}

/// What is asked of the range of all keys; its keys, `more` and the count.
type RangeCase = (fn(&mut RangeRequest), &'static str, bool, i64);

const RANGE_CASES: [RangeCase; 13] = [
    (|_| {}, "abc", false, 3),
    (|r| r.limit = 2, "ab", true, 3),
    (|r| r.limit = 3, "abc", false, 3),
    (|r| r.revision = 3, "ab", false, 2),
    (|r| (r.count_only, r.limit) = (true, 1), "", false, 3),
    (|r| r.min_mod_revision = 4, "bc", false, 3),
    (|r| (r.max_mod_revision, r.limit) = (4, 1), "a", true, 3),
    (
        |r| (r.min_create_revision, r.max_create_revision) = (3, 3),
        "b",
        false,
        3,
    ),
    (|r| r.set_sort_order(SortOrder::Descend), "cba", false, 3),
    (
        |r| by(r, SortTarget::Value, SortOrder::Ascend),
        "cba",
        false,
        3,
    ),
    (
        |r| {
            by(r, SortTarget::Value, SortOrder::Ascend);
            r.limit = 1;
        },
        "c",
        true,
        3,
    ),
    (
        |r| by(r, SortTarget::Mod, SortOrder::Descend),
        "bca",
        false,
        3,
    ),
    // Without an order a target sorts what the limit left.
    (
        |r| {
            by(r, SortTarget::Value, SortOrder::None);
            r.limit = 1;
        },
        "b",
        true,
        3,
    ),
];

fn by(request: &mut RangeRequest, target: SortTarget, order: SortOrder) {
    request.set_sort_target(target);
    request.set_sort_order(order);
}

#[test]
fn a_range_limits_counts_filters_and_sorts_as_etcd_does() {
    let mut m = Machine::new();
    for (key, value) in [("a", "3"), ("b", "2"), ("c", "1"), ("b", "2")] {
        m.put(put(key, value)).unwrap();
    }
    for (ask, found, more, count) in RANGE_CASES {
        let mut request = range("a", "z");
        ask(&mut request);
        let answer = m.range(&request).unwrap();
        let answered = (keys(&answer), answer.more, answer.count);
        assert_eq!(answered, (found.to_owned(), more, count), "{request:?}");
        let revision = answer.header.unwrap().revision;
        assert_eq!(revision, 5, "the header has the newest revision");
    }
}

#[test]
fn keys_only_strips_values() {
    let mut m = Machine::new();
    m.grant(7).unwrap();
    m.put(PutRequest {
        lease: 7,
        ..put("a", "1")
    })
    .unwrap();
    let kv = m
        .range(&RangeRequest {
            keys_only: true,
            ..range("a", "")
        })
        .unwrap()
        .kvs
        .remove(0);
    assert_eq!(
        (kv.value, kv.version, kv.mod_revision),
        (Bytes::new(), 1, 2)
    );
    assert_eq!(
        kv.lease, 0,
        "etcd answers from its index, which has no leases"
    );
}

#[test]
fn revisions_out_of_reach_are_refused() {
    let mut m = Machine::new();
    for value in ["1", "2", "3"] {
        m.put(put("a", value)).unwrap();
    }
    let at = |revision| RangeRequest {
        revision,
        ..range("a", "")
    };
    assert_eq!(m.range(&at(5)).unwrap_err(), EtcdError::FutureRevision);
    assert_eq!(m.compact(5), Err(EtcdError::FutureRevision));
    m.compact(3).unwrap();
    assert_eq!(
        m.revision(),
        4,
        "a compaction does not advance the revision"
    );
    assert_eq!(m.compact(3), Err(EtcdError::Compacted));
    assert_eq!(m.range(&at(2)).unwrap_err(), EtcdError::Compacted);
    assert_eq!(m.range(&at(3)).unwrap().kvs[0].value, bytes("2"));
}

#[test]
fn a_compaction_in_the_middle_of_a_group_never_refuses_the_newest_revision() {
    let mut m = Machine::new();
    m.put(put("a", "1")).unwrap();
    let group = [
        m.entry(0, put("a", "2").into()),
        m.entry(1, command::compact(3)),
    ];
    m.state.apply(&group).unwrap();
    assert_eq!(m.get("a").as_deref(), Some("2"));
    m.run(command::sweep());
    assert!(!m.state.view().is_sweeping());
    assert_eq!(m.get("a").as_deref(), Some("2"));
}

fn if_version(key: &str, version: i64) -> Compare {
    compare(
        key,
        CompareTarget::Version,
        CompareResult::Equal,
        TargetUnion::Version(version),
    )
}

#[test]
fn compares_of_a_missing_key_are_with_zeros_but_never_with_its_value() {
    let mut m = Machine::new();
    let empty = TargetUnion::Value(Bytes::new());
    let expected = [
        (if_version("a", 0), true),
        (
            compare(
                "a",
                CompareTarget::Create,
                CompareResult::Less,
                TargetUnion::CreateRevision(1),
            ),
            true,
        ),
        (
            compare(
                "a",
                CompareTarget::Lease,
                CompareResult::Equal,
                TargetUnion::Lease(0),
            ),
            true,
        ),
        (
            compare(
                "a",
                CompareTarget::Value,
                CompareResult::Equal,
                empty.clone(),
            ),
            false,
        ),
        (
            compare("a", CompareTarget::Value, CompareResult::NotEqual, empty),
            false,
        ),
    ];
    for (compare, holds) in expected {
        let request = TxnRequest {
            compare: vec![compare.clone()],
            ..TxnRequest::default()
        };
        assert_eq!(m.txn(request).unwrap().succeeded, holds, "{compare:?}");
    }
    assert_eq!(m.revision(), 1);
}

#[test]
fn a_compare_over_a_range_holds_for_every_key() {
    let mut m = Machine::new();
    for key in ["a", "b", "b"] {
        m.put(put(key, "x")).unwrap();
    }
    for (version, holds) in [(1, false), (2, false)] {
        let compare = Compare {
            range_end: bytes("z"),
            ..if_version("a", version)
        };
        let request = TxnRequest {
            compare: vec![compare],
            ..TxnRequest::default()
        };
        assert_eq!(m.txn(request).unwrap().succeeded, holds);
    }
}

#[test]
fn nested_compares_see_the_state_before_and_ranges_the_writes_before_them() {
    let mut m = Machine::new();
    let nested = TxnRequest {
        compare: vec![if_version("a", 0)],
        success: vec![op(Request::RequestRange(range("a", "")))],
        ..TxnRequest::default()
    };
    let request = TxnRequest {
        success: vec![
            op(Request::RequestPut(put("a", "1"))),
            op(Request::RequestTxn(nested)),
        ],
        ..TxnRequest::default()
    };
    let answer = m.txn(request).unwrap();
    assert_eq!(answer.header.unwrap().revision, 2);
    let Some(Response::ResponseTxn(nested)) = &answer.responses[1].response else {
        panic!()
    };
    assert!(nested.succeeded, "the compare saw the state before");
    assert_eq!(
        nested.header.unwrap().revision,
        0,
        "nested headers are empty in etcd too"
    );
    let Some(Response::ResponseRange(range)) = &nested.responses[0].response else {
        panic!()
    };
    assert_eq!((range.count, range.header.unwrap().revision), (1, 2));
}

#[test]
fn a_transaction_that_fails_a_check_changes_nothing() {
    let mut m = Machine::new();
    let request = TxnRequest {
        success: vec![
            op(Request::RequestPut(put("a", "1"))),
            op(Request::RequestPut(PutRequest {
                lease: 5,
                ..put("b", "1")
            })),
        ],
        ..TxnRequest::default()
    };
    assert_eq!(m.txn(request), Err(EtcdError::LeaseNotFound));
    assert_eq!((m.revision(), m.get("a")), (1, None));
    let future = TxnRequest {
        success: vec![
            op(Request::RequestPut(put("a", "1"))),
            op(Request::RequestRange(RangeRequest {
                revision: 2,
                ..range("a", "")
            })),
        ],
        ..TxnRequest::default()
    };
    assert_eq!(m.txn(future), Err(EtcdError::FutureRevision));
    assert_eq!(m.revision(), 1);
}

#[test]
fn a_read_only_transaction_is_answered_without_the_log() {
    let mut m = Machine::new();
    m.put(put("a", "1")).unwrap();
    let request = TxnRequest {
        compare: vec![if_version("a", 1)],
        success: vec![op(Request::RequestRange(range("a", "")))],
        ..TxnRequest::default()
    };
    let answer = m.state.view().txn(request.clone()).unwrap();
    assert!(answer.succeeded);
    assert_eq!(
        Ok(answer),
        m.txn(request),
        "and the log would answer the same"
    );
}

#[test]
#[should_panic(expected = "none may be skipped or applied twice")]
fn an_entry_applied_twice_is_a_breach() {
    let mut m = Machine::new();
    let entry = m.entry(0, put("a", "1").into());
    m.state.apply(std::slice::from_ref(&entry)).unwrap();
    let _ = m.state.apply(&[entry]);
}
