//! V4: who has everything, and who is waited for within an epoch.

use super::*;

fn complete(node: &Node, name: &str) -> bool {
    let status = node.replica.status(node.now);
    status
        .peers
        .iter()
        .any(|peer| peer.node == id(name) && peer.complete)
}

#[test]
fn v4_a_node_is_complete_only_while_it_is_waited_for() {
    let mut node = serving_primary();
    let view = paired(2, "a", &["b"]);
    node.meets(2, hello("c", &view, &[(1, 1)]));
    node.acked(2, 2, 2);
    assert!(!complete(&node, "c"), "nobody promised to wait for it");
    node.told(&view, &["c"], false);
    assert!(complete(&node, "c"));
}

#[test]
fn v4_a_promised_node_holds_up_every_commit() {
    let mut node = serving_primary();
    let view = paired(2, "a", &["b"]);
    node.told(&view, &["c"], false);
    node.proposes("w");
    node.durable(2, 3);
    node.acked(1, 2, 3);
    assert_eq!(node.replica.commit(), Index(2));
    node.meets(2, hello("c", &view, &[]));
    node.acked(2, 2, 3);
    assert_eq!(node.replica.commit(), Index(3));
}

#[test]
fn v4_a_promise_ends_only_with_the_epoch() {
    let mut node = serving_primary();
    let view = paired(2, "a", &["b"]);
    node.told(&view, &["c"], false);
    node.told(&view, &[], false);
    node.proposes("w");
    node.durable(2, 3);
    node.acked(1, 2, 3);
    assert_eq!(node.replica.commit(), Index(2), "it still waits for c");
    let next = paired(3, "a", &["b"]);
    node.adopts(&next);
    node.durable(3, 4);
    node.hears(
        1,
        Message::Hello(hello("b", &next, &[(1, 1), (2, 2), (2, 3)])),
    );
    node.acked(1, 3, 4);
    assert_eq!(node.replica.commit(), Index(4));
}

#[test]
fn v4_complete_is_never_taken_back_within_an_epoch() {
    let mut node = serving_primary();
    let view = paired(2, "a", &["b"]);
    node.told(&view, &["c"], false);
    node.meets(2, hello("c", &view, &[(1, 1)]));
    node.acked(2, 2, 2);
    assert!(complete(&node, "c"));
    node.step(Input::Closed(SessionId(2)));
    assert!(complete(&node, "c"));
}

#[test]
fn v4_a_node_has_everything_only_with_the_entry_that_opened_the_epoch() {
    let view = bare(2, "a", &["a", "b"]);
    let mut node = found("a").log(&[(1, 1), (1, 2)]).settled();
    node.adopts(&view);
    node.durable(2, 3);
    node.meets(1, hello("b", &view, &[(1, 1), (1, 2)]));
    node.acked(1, 2, 2);
    assert!(!complete(&node, "b"));
    node.acked(1, 2, 3);
    assert!(complete(&node, "b"));
}

#[test]
fn v4_a_new_connection_must_acknowledge_anew() {
    let mut node = serving_primary();
    let view = paired(2, "a", &["b"]);
    node.proposes("w");
    node.durable(2, 3);
    node.meets(2, hello("b", &view, &[(1, 1), (2, 2)]));
    node.acked(1, 2, 3);
    assert_eq!(
        node.replica.commit(),
        Index(2),
        "the old connection says nothing"
    );
    node.acked(2, 2, 3);
    assert_eq!(node.replica.commit(), Index(3));
}

#[test]
fn a_newer_connection_closes_the_one_it_replaces() {
    let mut node = serving_primary();
    let view = paired(2, "a", &["b"]);
    let answers = node.meets(2, hello("b", &view, &[(1, 1), (2, 2)]));
    assert!(
        answers.contains(&Output::Close(SessionId(1))),
        "{answers:?}"
    );
    // A late presentation on the old connection must not leave the new one without a stream.
    let answers = node.hears(1, Message::Hello(hello("b", &view, &[(1, 1), (2, 2)])));
    assert!(
        answers.contains(&Output::Close(SessionId(2))),
        "{answers:?}"
    );
}
