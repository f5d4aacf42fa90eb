//! V5: linearizable reads.

use super::*;

/// The lease is proven by `b` at once.
fn with_lease() -> Node {
    let mut node = serving_primary();
    let said = node.after(100);
    let Some(Output::Send(_, Message::Heartbeat { sequence, .. })) = said.last() else {
        panic!("a heartbeat is due: {said:?}");
    };
    let reply = Message::HeartbeatReply {
        epoch: Epoch(2),
        sequence: *sequence,
        durable: Index(2),
    };
    assert_eq!(node.hears(1, reply), []);
    node
}

#[test]
fn v5_a_read_under_a_lease_is_ready_at_the_commit_index() {
    let mut node = with_lease();
    let ticket = ReadTicket(1);
    assert_eq!(
        node.step(Input::Read(ticket)),
        [Output::ReadReady(ticket, Index(2))]
    );
}

#[test]
fn v5_a_read_without_a_lease_asks_at_once_and_waits_for_the_answer() {
    let mut node = serving_primary();
    let ticket = ReadTicket(1);
    let said = node.step(Input::Read(ticket));
    let [Output::Send(SessionId(1), Message::Heartbeat { sequence, .. })] = said.as_slice() else {
        panic!("it asks the synchronous node: {said:?}");
    };
    let reply = Message::HeartbeatReply {
        epoch: Epoch(2),
        sequence: *sequence,
        durable: Index(2),
    };
    assert_eq!(node.hears(1, reply), [Output::ReadReady(ticket, Index(2))]);
}

#[test]
fn v5_a_read_does_not_outlive_the_lease() {
    let mut node = with_lease();
    node.after(400);
    assert!(
        !node
            .step(Input::Read(ReadTicket(1)))
            .iter()
            .any(|o| matches!(o, Output::ReadReady(..)))
    );
}

#[test]
fn v5_a_primary_that_has_not_opened_its_epoch_answers_no_read() {
    let mut node = found("a").settled();
    node.comes_to_lead(&alone(2, "a"));
    assert_eq!(node.step(Input::Read(ReadTicket(1))), []);
    assert_eq!(
        node.durable(2, 2),
        [
            Output::Commit(Index(2)),
            Output::ReadReady(ReadTicket(1), Index(2))
        ]
    );
}

#[test]
fn a_read_on_a_follower_is_refused() {
    let mut node = matched_follower();
    assert_eq!(
        node.step(Input::Read(ReadTicket(1))),
        [Output::ReadRefused(ReadTicket(1))]
    );
}

#[test]
fn reads_that_wait_are_refused_when_primacy_is_lost() {
    let mut node = serving_primary();
    node.step(Input::Read(ReadTicket(1)));
    let said = node.adopts(&bare(3, "b", &["a", "b"]));
    assert!(said.contains(&Output::ReadRefused(ReadTicket(1))));
}

#[test]
fn reads_that_wait_go_on_waiting_when_the_same_node_leads_the_next_epoch() {
    let mut node = serving_primary();
    node.step(Input::Read(ReadTicket(1)));
    let said = node.adopts(&paired(3, "a", &["c"]));
    assert!(!said.contains(&Output::ReadRefused(ReadTicket(1))));
}
