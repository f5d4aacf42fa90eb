//! V6: finding the last common entry, cutting, following the stream; snapshots.

use super::*;

#[test]
fn v6_a_follower_cuts_its_tail_at_the_last_common_entry() {
    let mut node = found("b")
        .log(&[(1, 1), (1, 2), (1, 3)])
        .applied(1)
        .settled();
    node.adopts(&paired(2, "a", &["b"]));
    assert_eq!(
        node.welcomed(9, 2, at(1, 1)),
        [Output::Truncate(Index(1)), ack(9, 2, 1)]
    );
    assert_eq!(node.replica.log().last(), at(1, 1));
}

#[test]
fn v6_what_is_committed_is_never_cut() {
    let mut node = found("b")
        .log(&[(1, 1), (1, 2), (1, 3)])
        .applied(2)
        .settled();
    node.adopts(&paired(2, "a", &["b"]));
    assert_eq!(node.welcomed(9, 2, at(1, 1)), [Output::Close(SessionId(9))]);
    assert_eq!(node.replica.log().last(), at(1, 3));
    assert!(matches!(
        node.doubt(),
        Some(Doubt::PrimaryLacksCommitted { .. })
    ));
}

#[test]
fn v11_a_doubt_about_a_primary_ends_when_another_leads() {
    for next in [bare(3, "b", &["a", "b"]), paired(3, "c", &["b"])] {
        let mut node = found("b")
            .log(&[(1, 1), (1, 2), (1, 3)])
            .applied(2)
            .settled();
        node.adopts(&paired(2, "a", &["b"]));
        node.welcomed(9, 2, at(1, 1));
        node.adopts(&next);
        assert_eq!(node.doubt(), None, "{next}");
    }
    let mut node = found("b")
        .log(&[(1, 1), (1, 2), (1, 3)])
        .applied(2)
        .settled();
    node.adopts(&paired(2, "a", &["b"]));
    node.welcomed(9, 2, at(1, 1));
    node.adopts(&paired(3, "a", &["b"]));
    assert!(node.doubt().is_some(), "the same primary leads");
}

#[test]
fn v6_an_answer_to_an_earlier_presentation_is_not_acted_on() {
    let mut node = found("b").log(&[(1, 1), (1, 2)]).settled();
    node.adopts(&paired(2, "a", &["b"]));
    let said = node.step(Input::Connected(SessionId(9)));
    let early = attempt_of(&said);
    let again = node.after(100);
    assert_ne!(attempt_of(&again), early);
    let welcome = Message::Welcome {
        epoch: Epoch(2),
        start: at(1, 1),
        attempt: early,
    };
    assert_eq!(node.hears(9, welcome), []);
    assert_eq!(node.replica.log().last(), at(1, 2));
}

/// The number of the last presentation, if this is one.
fn presented(said: &[Output]) -> Option<u64> {
    let hello = |output: &Output| matches!(output, Output::Send(_, Message::Hello(_)));
    said.iter().any(hello).then(|| attempt_of(said))
}

#[test]
fn between_far_places_the_answer_to_a_presentation_is_waited_for() {
    const STEP_MS: u64 = 10;
    for round_trip_ms in [120, 450, 1_500, 3_900] {
        let mut node = found("b").log(&[(1, 1), (2, 2)]).settled();
        node.adopts(&paired(2, "a", &["b"]));
        let said = node.step(Input::Connected(SessionId(9)));
        let mut on_their_way = vec![(round_trip_ms, attempt_of(&said))];
        let mut matched = None;
        for now_ms in (0..20_000).step_by(10) {
            let said = node.after(STEP_MS);
            on_their_way.extend(presented(&said).map(|n| (now_ms + round_trip_ms, n)));
            let (arrived, rest) = on_their_way.iter().partition(|(at, _)| *at <= now_ms);
            on_their_way = rest;
            let arrived: Vec<(u64, u64)> = arrived;
            for (_, attempt) in arrived {
                let (epoch, start) = (Epoch(2), at(2, 2));
                let welcome = Message::Welcome {
                    epoch,
                    start,
                    attempt,
                };
                if !node.hears(9, welcome).is_empty() {
                    matched.get_or_insert(now_ms);
                }
            }
            if matched.is_some() {
                break;
            }
        }
        let within = matched.expect("it is matched in the end");
        assert!(within <= 4 * round_trip_ms, "{round_trip_ms}: {within} ms");
    }
}

#[test]
fn a_new_connection_is_presented_to_as_eagerly_as_the_first() {
    let mut node = found("b").log(&[(1, 1)]).settled();
    node.adopts(&paired(2, "a", &["b"]));
    node.step(Input::Connected(SessionId(9)));
    assert!(presented(&node.after(100)).is_some());
    assert!(presented(&node.after(100)).is_none());
    assert!(presented(&node.after(100)).is_some());
    node.step(Input::Closed(SessionId(9)));
    node.step(Input::Connected(SessionId(10)));
    assert!(presented(&node.after(100)).is_some());
}

#[test]
fn entries_are_appended_and_acknowledged_when_they_are_on_disk() {
    let mut node = matched_follower();
    assert_eq!(
        node.appended(9, 2, at(2, 2), 4, 2),
        [
            Output::Append(entries(2, at(2, 2), 4)),
            Output::Commit(Index(2))
        ]
    );
    assert_eq!(node.durable(2, 4), [ack(9, 2, 4)]);
}

#[test]
fn v1_a_follower_applies_nothing_that_is_not_committed() {
    let mut node = matched_follower();
    node.appended(9, 2, at(2, 2), 4, 0);
    node.durable(2, 4);
    assert_eq!(node.replica.commit(), Index(0));
    assert_eq!(
        node.appended(9, 2, at(2, 4), 4, 3),
        [Output::Commit(Index(3))]
    );
}

#[test]
fn v2_entries_of_a_lower_epoch_are_not_taken() {
    let mut node = matched_follower();
    node.adopts(&paired(3, "c", &["b"]));
    node.welcomed(8, 3, at(2, 2));
    assert_eq!(node.appended(8, 2, at(2, 2), 3, 3), []);
    assert_eq!(node.replica.log().last(), at(2, 2));
}

#[test]
fn v2_nothing_is_acknowledged_while_a_higher_view_is_being_stored() {
    let mut node = matched_follower();
    node.appended(9, 2, at(2, 2), 3, 0);
    node.told(&bare(3, "b", &["a", "b"]), &[], false);
    assert_eq!(node.durable(2, 3), []);
}

#[test]
fn a_stream_with_a_hole_is_begun_again() {
    let mut node = matched_follower();
    assert_eq!(
        node.appended(9, 2, at(2, 3), 4, 0),
        [Output::Close(SessionId(9))]
    );
}

#[test]
fn a_completion_for_entries_that_were_cut_acknowledges_nothing() {
    let mut node = matched_follower();
    node.appended(9, 2, at(2, 2), 5, 0);
    node.adopts(&paired(3, "c", &["b"]));
    node.welcomed(8, 3, at(2, 2));
    node.appended(8, 3, at(2, 2), 5, 0);
    assert_eq!(node.durable(2, 5), [ack(8, 3, 2)]);
    assert_eq!(node.durable(3, 5), [ack(8, 3, 5)]);
}

#[test]
fn a_follower_behind_what_is_kept_gets_a_snapshot() {
    let mut node = serving_primary();
    node.step(Input::Released(Index(2)));
    let view = paired(2, "a", &["b"]);
    assert_eq!(
        node.meets(2, hello("c", &view, &[])),
        [
            send(
                2,
                Message::SnapshotFollows {
                    epoch: Epoch(2),
                    attempt: 1
                }
            ),
            Output::SendSnapshot {
                session: SessionId(2),
                at_least: Index(0)
            },
        ]
    );
}

#[test]
fn after_a_snapshot_a_follower_presents_itself_again() {
    let mut node = found("c").settled();
    node.adopts(&paired(2, "a", &["b"]));
    let said = node.step(Input::Connected(SessionId(9)));
    let (epoch, attempt) = (Epoch(2), attempt_of(&said));
    assert_eq!(
        node.hears(9, Message::SnapshotFollows { epoch, attempt }),
        []
    );
    let said = node.step(Input::SnapshotInstalled(at(2, 40)));
    assert_eq!(said.first(), Some(&Output::Commit(Index(40))));
    assert_eq!(attempt_of(&said), attempt + 1);
    assert_eq!(node.replica.log().base(), at(2, 40));
}

#[test]
fn nothing_is_granted_while_a_snapshot_comes() {
    let mut node = found("c").settled();
    node.adopts(&paired(2, "a", &["b"]));
    let said = node.step(Input::Connected(SessionId(9)));
    let (epoch, attempt) = (Epoch(2), attempt_of(&said));
    node.hears(9, Message::SnapshotFollows { epoch, attempt });
    assert_eq!(node.heartbeat(9, 2, 1), []);
}

/// A snapshot arrived whole and is being taken in when the primary changes. The new primary must not
/// match the old log: what it would append, and this node acknowledge, goes with the old log.
#[test]
fn v1_nothing_is_acknowledged_while_a_snapshot_is_taken_in() {
    let mut node = found("c").log(&[(1, 1)]).settled();
    node.adopts(&paired(2, "a", &["b"]));
    let said = node.step(Input::Connected(SessionId(9)));
    let (epoch, attempt) = (Epoch(2), attempt_of(&said));
    node.hears(9, Message::SnapshotFollows { epoch, attempt });
    assert!(node.replica.begin_snapshot(SessionId(9)));
    assert!(!node.replica.begin_snapshot(SessionId(9)), "one at a time");
    let said = node.adopts(&bare(3, "b", &["a", "b"]));
    assert_eq!(said, [Output::Follow(Some(id("b")))]);
    node.step(Input::Closed(SessionId(9)));
    assert_eq!(node.step(Input::Connected(SessionId(10))), []);
    let said = node.step(Input::SnapshotInstalled(at(2, 40)));
    assert_eq!(attempt_of(&said), attempt + 2);
}

#[test]
fn a_snapshot_that_was_not_announced_is_not_taken_in() {
    let mut node = matched_follower();
    assert!(!node.replica.begin_snapshot(SessionId(9)));
    let mut primary = serving_primary();
    assert!(!primary.replica.begin_snapshot(SessionId(1)));
}

#[test]
fn a_connection_over_which_a_snapshot_is_taken_in_is_not_given_up_for_silence() {
    // While the state takes in what came, nothing more is read, heartbeats neither.
    let mut node = found("c").settled();
    node.adopts(&paired(2, "a", &["b"]));
    let said = node.step(Input::Connected(SessionId(9)));
    let (epoch, attempt) = (Epoch(2), attempt_of(&said));
    node.hears(9, Message::SnapshotFollows { epoch, attempt });
    assert!(node.replica.begin_snapshot(SessionId(9)));
    assert_eq!(node.after(5_000), []);
}
