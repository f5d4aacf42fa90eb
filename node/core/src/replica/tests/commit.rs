//! V1: what is committed, and when.

use super::*;

#[test]
fn v1_a_write_is_committed_only_when_primary_and_synchronous_node_have_it() {
    let mut node = serving_primary();
    assert_eq!(node.proposes("w"), Index(3));
    assert_eq!(
        node.replica.drain(),
        [
            Output::Append(vec![Entry::data(at(2, 3), Bytes::from("w"))]),
            limit(1, 3, 2),
        ]
    );
    assert_eq!(node.durable(2, 3), []);
    assert_eq!(
        node.acked(1, 2, 3),
        [Output::Commit(Index(3)), limit(1, 3, 3)]
    );
}

#[test]
fn v1_the_synchronous_node_alone_is_not_enough() {
    let mut node = serving_primary();
    node.proposes("w");
    node.replica.drain();
    assert_eq!(node.acked(1, 2, 3), []);
    assert_eq!(
        node.durable(2, 3),
        [Output::Commit(Index(3)), limit(1, 3, 3)]
    );
}

#[test]
fn v1_in_a_view_with_nobody_nothing_commits_not_even_the_opening() {
    let view = bare(2, "a", &["a", "b"]);
    let mut node = found("a").log(&[(1, 1)]).settled();
    node.adopts(&view);
    node.durable(2, 2);
    node.meets(1, hello("b", &view, &[(1, 1)]));
    node.acked(1, 2, 2);
    node.after(5_000);
    assert_eq!(node.replica.commit(), Index(0));
    assert!(!node.replica.status(node.now).serving);
}

#[test]
fn v1_every_synchronous_node_is_waited_for() {
    let view = paired(2, "a", &["b", "c"]);
    let mut node = found("a").settled();
    node.comes_to_lead(&view);
    node.durable(2, 2);
    node.meets(1, hello("b", &view, &[]));
    node.meets(2, hello("c", &view, &[]));
    node.acked(1, 2, 2);
    assert_eq!(node.replica.commit(), Index(0));
    node.acked(2, 2, 2);
    assert_eq!(node.replica.commit(), Index(2));
}

#[test]
fn v1_what_came_before_the_epoch_commits_only_with_its_opening() {
    let view = paired(3, "a", &["b"]);
    let mut node = found("a").log(&[(1, 1), (1, 2)]).settled();
    node.comes_to_lead(&view);
    node.durable(3, 4);
    node.meets(1, hello("b", &view, &[(1, 1)]));
    node.acked(1, 3, 3);
    assert_eq!(node.replica.commit(), Index(0));
    node.acked(1, 3, 4);
    assert_eq!(node.replica.commit(), Index(4));
}

#[test]
fn a_node_outside_the_view_is_sent_only_what_is_committed() {
    let mut node = serving_primary();
    let view = paired(2, "a", &["b"]);
    let answers = node.meets(2, hello("c", &view, &[]));
    assert_eq!(answers.last(), Some(&limit(2, 2, 2)));
    node.proposes("w");
    assert!(!node.replica.drain().contains(&limit(2, 3, 2)));
}

#[test]
fn an_acknowledgement_of_another_epoch_counts_for_nothing() {
    let mut node = serving_primary();
    node.proposes("w");
    node.durable(2, 3);
    node.acked(1, 1, 3);
    node.acked(1, 3, 3);
    assert_eq!(node.replica.commit(), Index(2));
}

#[test]
fn v7_a_view_alone_commits_by_itself() {
    let mut node = found("a").settled();
    node.comes_to_lead(&alone(2, "a"));
    assert_eq!(node.durable(2, 2), [Output::Commit(Index(2))]);
    assert_eq!(node.replica.read_lease(), Micros(u64::MAX));
}

#[test]
fn writes_that_wait_are_reported_with_those_they_wait_for() {
    let mut node = serving_primary();
    node.proposes("w");
    node.after(300);
    let stall = node.replica.status(node.now).write_stall.expect("it waits");
    assert!(stall.local_disk);
    assert_eq!(stall.nodes, [id("b")]);
    assert_eq!(stall.waiting, Micros::from_millis(300));
}

/// `b` answers the next heartbeats of [`serving_primary`] but is not heard after so many.
fn answered(node: &mut Node, heartbeats: u64) {
    for _ in 0..heartbeats {
        let said = node.after(100);
        let Some(Output::Send(_, Message::Heartbeat { sequence, .. })) = said.last() else {
            panic!("a heartbeat is due: {said:?}");
        };
        let reply = Message::HeartbeatReply {
            epoch: Epoch(2),
            sequence: *sequence,
            durable: Index(2),
        };
        node.hears(1, reply);
    }
}

#[test]
fn the_silence_of_a_follower_is_reported_with_how_surprising_it_is() {
    let mut node = serving_primary();
    answered(&mut node, 20);
    let mut phi_after = |millis| {
        node.after(millis);
        let peer = node.replica.status(node.now).peers[0].clone();
        (peer.silent.as_millis(), peer.phi_milli)
    };
    let (silent, phi) = phi_after(100);
    assert!(silent == 100 && phi < 1_000, "as always: {phi}");
    let (silent, phi) = phi_after(1_400);
    assert!(silent == 1_500 && phi > 8_000, "lost: {phi}");
}
