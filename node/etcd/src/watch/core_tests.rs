//! Given these events and these requests, these responses.

use super::queue::{Item, Said, Shape, fragments};
use super::testing::{World, put, revisions};
use crate::limits::{WATCH_QUEUE_BYTES, WATCH_QUEUE_LOW_BYTES};
use crate::pb::etcdserverpb::watch_create_request::FilterType;
use crate::pb::etcdserverpb::{ResponseHeader, WatchCreateRequest, WatchResponse};
use crate::pb::mvccpb::Event;
use std::sync::Arc;

fn request(key: &'static str, end: &'static str) -> WatchCreateRequest {
    WatchCreateRequest {
        key: key.into(),
        range_end: end.into(),
        ..WatchCreateRequest::default()
    }
}

#[test]
fn a_watch_from_now_gets_what_comes() {
    let mut world = World::new();
    world.apply("a");
    world.create("a", "", 0);
    world.apply("a");
    world.apply("b");
    world.apply("-a");
    assert_eq!(world.said(), ["0 created @2", "0 a:3 -a:5 @5"]);
}

#[test]
fn a_watch_from_the_past_gets_history_and_then_what_comes() {
    let mut world = World::new();
    for keys in ["a", "b", "a b", "-a", "c"] {
        world.apply(keys);
    }
    world.create("a", "c", 3);
    // What comes while history is not yet read is read too, once.
    world.apply("a");
    assert_eq!(
        world.said(),
        ["0 created @6", "0 b:3 a:4 b:4 @4", "0 -a:5 a:7 @7"]
    );
    world.apply("b");
    assert_eq!(world.said(), ["0 b:8 @8"]);
}

#[test]
fn a_watch_from_the_future_gets_nothing_before_not_even_progress() {
    let mut world = World::new();
    world.create_as(&WatchCreateRequest {
        start_revision: 4,
        progress_notify: true,
        ..request("a", "")
    });
    world.apply("a");
    world.core.progress(world.stream);
    world.core.tick(world.stream);
    world.apply("a");
    assert_eq!(world.said(), ["0 created @1"]);
    world.apply("a");
    world.core.progress(world.stream);
    assert_eq!(world.said(), ["0 a:4 @4", "-1 progress @4"]);
}

#[test]
fn ids_are_chosen_from_zero_up_around_those_that_are_taken() {
    let mut world = World::new();
    world.create_as(&WatchCreateRequest {
        watch_id: 1,
        ..request("a", "")
    });
    for _ in 0..2 {
        world.create("a", "", 0);
    }
    world.create_as(&WatchCreateRequest {
        watch_id: 2,
        ..request("a", "")
    });
    world.core.cancel(world.stream, 0);
    world.core.cancel(world.stream, 0);
    world.create("a", "", 0);
    assert_eq!(
        world.said(),
        [
            "1 created @1",
            "0 created @1",
            "2 created @1",
            "-1 refused @1: mvcc: duplicate watch ID provided on the WatchStream",
            "0 canceled @1",
            "3 created @1",
        ]
    );
}

#[test]
fn a_create_that_cannot_be_is_refused_in_etcd_s_words() {
    let cases = [
        (request("b", "a"), "mvcc: watcher range is empty"),
        (request("b", "b"), "mvcc: watcher range is empty"),
        (
            WatchCreateRequest {
                start_revision: -1,
                ..request("b", "a")
            },
            "etcdserver: mvcc: required revision has been compacted",
        ),
    ];
    for (request, reason) in cases {
        let mut world = World::new();
        world.create_as(&request);
        assert_eq!(world.said(), [format!("-1 refused @1: {reason}")]);
    }
}

#[test]
fn a_watch_below_the_compacted_revision_ends_and_its_id_stays_taken_until_the_cancel() {
    let mut world = World::new();
    for _ in 0..4 {
        world.apply("a");
    }
    world.history.compacted = 4;
    world.create("a", "", 3);
    world.create("a", "", 4);
    assert_eq!(
        world.said(),
        [
            "0 created @5",
            "1 created @5",
            "0 compacted 4 @0",
            "1 a:4 a:5 @5"
        ]
    );
    world.create("a", "", 0);
    world.core.cancel(world.stream, 0);
    assert_eq!(world.said(), ["2 created @5", "0 canceled @5"]);
    // The watch that ended does not hold up the progress of the others.
    world.core.progress(world.stream);
    assert_eq!(world.said(), ["-1 progress @5"]);
}

#[test]
fn filters_leave_out_and_a_watch_with_nothing_left_gets_no_response() {
    let mut world = World::new();
    for (id, filter) in [(7, FilterType::Noput), (8, FilterType::Nodelete)] {
        let filters = vec![filter.into()];
        world.create_as(&WatchCreateRequest {
            watch_id: id,
            filters,
            ..request("a", "z")
        });
    }
    world.said();
    world.apply("a");
    world.apply("-a");
    world.apply("b -c");
    assert_eq!(world.said(), ["8 a:2 @2", "7 -a:3 -c:4 @4", "8 b:4 @4"]);
}

#[test]
fn progress_of_the_stream_is_told_only_when_every_watch_is_synced() {
    let mut world = World::new();
    world.core.progress(world.stream);
    assert!(
        world.said().is_empty(),
        "a stream without watches has no progress"
    );
    world.apply("a");
    world.create("a", "", 0);
    world.create("b", "", 2);
    world.core.progress(world.stream);
    assert_eq!(world.said(), ["0 created @2", "1 created @2"]);
    world.apply("a");
    world.core.progress(world.stream);
    assert_eq!(world.said(), ["0 a:3 @3", "-1 progress @3"]);
}

#[test]
fn notifications_go_to_those_who_asked_and_had_no_event_since_the_last() {
    let mut world = World::new();
    world.create_as(&WatchCreateRequest {
        progress_notify: true,
        ..request("a", "")
    });
    world.create("a", "", 0);
    world.core.tick(world.stream);
    world.apply("a");
    world.core.tick(world.stream);
    world.core.tick(world.stream);
    assert_eq!(
        world.said(),
        [
            "0 created @1",
            "1 created @1",
            "0 progress @1",
            "0 a:2 @2",
            "1 a:2 @2",
            "0 progress @2"
        ]
    );
}

#[test]
fn nothing_follows_a_cancel() {
    let mut world = World::new();
    world.create("a", "", 0);
    world.apply("a");
    world.core.cancel(world.stream, 0);
    world.apply("a");
    assert_eq!(world.said(), ["0 created @1", "0 a:2 @2", "0 canceled @2"]);
}

#[test]
fn a_cancel_while_history_is_read_brings_none_of_it_not_even_to_a_new_watch_of_the_id() {
    let mut world = World::new();
    world.apply("a");
    world.create_as(&WatchCreateRequest {
        watch_id: 5,
        start_revision: 2,
        ..request("a", "")
    });
    let plan = world.core.plan(world.stream).unwrap();
    world.core.cancel(world.stream, 5);
    world.create_as(&WatchCreateRequest {
        watch_id: 5,
        start_revision: 0,
        ..request("a", "")
    });
    let chunk = world
        .history
        .read(plan.from, plan.to, &|key| plan.want(key), 10)
        .unwrap();
    world.core.caught_up(&plan, Ok(chunk));
    assert_eq!(
        world.said(),
        ["5 created @2", "5 canceled @2", "5 created @2"]
    );
}

#[test]
fn a_slow_watcher_goes_back_to_history_and_misses_nothing() {
    let mut world = World::new();
    world.create("a", "", 0);
    let keys = "a";
    let mut revisions = 0;
    while world.core.counts().lagging == 0 {
        world.apply(keys);
        revisions += 1;
        assert!(revisions < 10 * WATCH_QUEUE_BYTES, "memory has no bound");
    }
    for _ in 0..10 {
        world.apply(keys);
    }
    world.core.progress(world.stream);
    let events: usize = world
        .said()
        .iter()
        .map(|line| line.matches("a:").count())
        .sum();
    assert_eq!(events, revisions + 10);
    assert_eq!(world.core.counts().lagging, 0);
    world.core.progress(world.stream);
    assert_eq!(world.said().len(), 1);
}

#[test]
fn a_slow_watcher_whose_history_is_compacted_ends() {
    let mut world = World::new();
    world.create("a", "", 0);
    while world.core.counts().lagging == 0 {
        world.apply("a");
    }
    world.apply("a");
    let compacted = world.core.revision();
    world.history.compacted = compacted;
    let said = world.said();
    assert_eq!(said.last(), Some(&format!("0 compacted {compacted} @0")));
}

#[test]
fn after_a_snapshot_watches_read_what_lies_between() {
    let mut world = World::new();
    world.apply("a");
    world.create("a", "", 0);
    world.create("a", "", 5);
    world.create("a", "", 9);
    world.said();
    world.apply("a");
    for revision in 4..=6 {
        let events = vec![put("a", revision)];
        world
            .history
            .revisions
            .push(super::RevisionEvents { revision, events });
    }
    world.core.restored(6, &mut Vec::new());
    assert_eq!(
        world.said(),
        [
            "0 a:3 @3",
            "0 a:4 a:5 @5",
            "1 a:5 @5",
            "0 a:6 @6",
            "1 a:6 @6"
        ]
    );
    assert_eq!(world.core.counts().lagging, 0);
}

#[test]
fn who_came_while_nobody_was_heard_reads_it_from_history() {
    let mut world = World::new();
    assert!(!world.core.listens());
    world.create("a", "", 0);
    assert!(world.core.listens());
    world.apply_unheard("a");
    world.apply("a");
    assert_eq!(world.said(), ["0 created @1", "0 a:2 a:3 @3"]);
    assert_eq!(world.core.counts().lagging, 0);
}

#[test]
fn a_closed_stream_leaves_nothing_behind() {
    let mut world = World::new();
    for (key, end) in [("a", ""), ("a", "z"), ("a", "\0")] {
        world.create(key, end, 0);
    }
    world.core.close(world.stream);
    assert_eq!(world.core.counts(), super::WatchCounts::default());
    world.apply("a");
}

#[test]
fn a_nearly_full_queue_reads_no_history() {
    let mut world = World::new();
    world.create("a", "", 0);
    while world.core.counts().lagging == 0 {
        world.apply("a");
    }
    assert!(
        !world.read(1),
        "the queue holds more than {WATCH_QUEUE_LOW_BYTES} bytes"
    );
}

fn response(events: Vec<Event>) -> WatchResponse {
    let shape = Shape {
        prev_kv: false,
        fragment: true,
    };
    let events = events.into_iter().map(Arc::new).collect();
    Item::plain(3, 9, Said::Events(shape, events)).into_response(ResponseHeader::default())
}

#[test]
fn a_large_response_is_cut_between_events_and_only_its_last_piece_says_so() {
    let whole = response((2..=9).map(|revision| put("key", revision)).collect());
    for limit in [1, 50, 100, 10_000] {
        let pieces = fragments(whole.clone(), limit);
        let (last, others) = pieces.split_last().unwrap();
        assert!(
            !last.fragment && others.iter().all(|piece| piece.fragment),
            "limit {limit}"
        );
        let joined: Vec<i64> = pieces.iter().flat_map(revisions).collect();
        assert_eq!(joined, revisions(&whole), "limit {limit}");
        assert!(
            pieces
                .iter()
                .all(|piece| !piece.events.is_empty() && piece.watch_id == 3)
        );
        if limit == 1 {
            assert_eq!(pieces.len(), 8, "an event is never cut");
        }
    }
}

#[test]
fn previous_versions_go_only_to_those_who_asked_and_never_with_a_creation() {
    let mut created = put("a", 4);
    created.kv.as_mut().unwrap().create_revision = 4;
    let cases = [
        (put("a", 4), false, false),
        (put("a", 4), true, true),
        (created, true, false),
    ];
    for (event, asked, expected) in cases {
        let shape = Shape {
            prev_kv: asked,
            fragment: false,
        };
        let item = Item::plain(0, 4, Said::Events(shape, vec![Arc::new(event)]));
        let response = item.into_response(ResponseHeader::default());
        assert_eq!(response.events[0].prev_kv.is_some(), expected);
    }
}

#[test]
fn after_a_loss_a_watch_that_has_seen_nothing_lost_goes_on() {
    let mut world = World::new();
    world.apply("a");
    world.create("a", "", 0);
    world.create("a", "", 3);
    world.jump(20);
    world.apply("a");
    let said = ["0 created @2", "1 created @2", "0 a:21 @21", "1 a:21 @21"];
    assert_eq!(world.said(), said);
}

#[test]
fn after_a_loss_a_watch_from_a_revision_that_was_lost_ends_as_compacted() {
    let mut world = World::new();
    world.apply("a");
    // Both come from clients that have seen revision 3, which is given up.
    world.create("a", "", 4);
    world.jump(20);
    world.apply("a");
    world.create("a", "", 4);
    assert_eq!(
        world.said(),
        [
            "0 created @2",
            "1 created @21",
            "0 compacted 20 @0",
            "1 compacted 20 @0",
        ]
    );
}

#[test]
fn after_a_loss_a_watch_from_behind_the_jump_gets_what_comes() {
    let mut world = World::new();
    world.apply("a");
    world.jump(20);
    world.create("a", "", 21);
    world.apply("a");
    assert_eq!(world.said(), ["0 created @20", "0 a:21 @21"]);
}
