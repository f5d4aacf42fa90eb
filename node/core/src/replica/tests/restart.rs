//! V3: primacy belongs to a run of the process.

use super::*;

#[test]
fn v3_a_restarted_primary_does_not_go_on_in_its_epoch() {
    let view = paired(2, "a", &["b"]);
    let mut node = found("a")
        .view(view.clone())
        .log(&[(1, 1), (2, 2)])
        .settled();
    assert_eq!(node.replica.role_kind(), RoleKind::Restarted);
    assert_eq!(node.told(&view, &[], false), []);
    assert!(
        node.replica
            .propose(node.now, vec![Bytes::from_static(b"w")])
            .is_err()
    );
    assert_eq!(
        node.step(Input::Read(ReadTicket(1))),
        [Output::ReadRefused(ReadTicket(1))]
    );
}

#[test]
fn v3_a_restarted_primary_leads_in_a_later_epoch() {
    let view = paired(2, "a", &["b"]);
    let mut node = found("a").view(view).log(&[(1, 1), (2, 2)]).settled();
    assert_eq!(
        node.adopts(&bare(3, "a", &["a", "b"])),
        [
            Output::Follow(None),
            Output::Append(vec![Entry::open(at(3, 3))]),
            Output::Role(RoleKind::Primary),
        ]
    );
}

/// The volume of `a`, which leads epoch 3 with `b`, is put back to what it was in epoch 2: it does not
/// know that it ever led epoch 3.
#[test]
fn v3_a_node_does_not_begin_to_lead_in_a_view_that_can_acknowledge() {
    for view in [paired(3, "a", &["b"]), alone(3, "a")] {
        let mut node = found("a")
            .view(bare(2, "a", &["a", "b"]))
            .log(&[(1, 1), (2, 2)])
            .settled();
        assert_eq!(
            node.adopts(&view),
            [Output::Follow(None)],
            "nothing is written"
        );
        assert_eq!(node.replica.role_kind(), RoleKind::Restarted);
        assert_eq!(node.doubt(), Some(Doubt::NotLedBefore { epoch: Epoch(3) }));
        assert!(
            node.replica
                .propose(node.now, vec![Bytes::from_static(b"w")])
                .is_err()
        );
    }
}

#[test]
fn v3_a_volume_that_knows_of_no_view_does_not_begin_to_lead_in_one_that_can_acknowledge() {
    let mut node = found("a").settled();
    node.adopts(&alone(2, "a"));
    assert_eq!(node.replica.role_kind(), RoleKind::Restarted);
}

#[test]
fn v3_a_node_that_missed_the_epoch_before_does_not_lead() {
    let mut node = serving_primary();
    node.adopts(&paired(4, "a", &["c"]));
    assert_eq!(node.replica.role_kind(), RoleKind::Restarted);
}

#[test]
fn v3_the_doubt_ends_with_a_view_that_cannot_acknowledge() {
    let mut node = found("a").log(&[(1, 1), (2, 2)]).settled();
    node.adopts(&paired(3, "a", &["b"]));
    node.adopts(&bare(4, "a", &["a", "b"]));
    assert_eq!(node.replica.role_kind(), RoleKind::Primary);
    assert_eq!(node.doubt(), None);
    node.adopts(&paired(5, "a", &["b"]));
    assert_eq!(node.replica.role_kind(), RoleKind::Primary);
}

#[test]
fn v3_the_doubt_ends_when_another_leads() {
    let mut node = found("a").log(&[(1, 1), (2, 2)]).settled();
    node.adopts(&paired(3, "a", &["b"]));
    node.adopts(&bare(4, "b", &["a", "b"]));
    assert_eq!(node.replica.role_kind(), RoleKind::Follower);
    assert_eq!(node.doubt(), None);
}

#[test]
fn v3_a_restarted_primary_answers_presentations_with_its_view() {
    let view = paired(2, "a", &["b"]);
    let mut node = found("a").view(view.clone()).settled();
    assert_eq!(
        node.meets(1, hello("b", &view, &[])),
        [send(1, Message::ViewIs(view))]
    );
}

#[test]
fn a_restarted_follower_follows_at_once() {
    let mut node = found("b")
        .view(paired(2, "a", &["b"]))
        .log(&[(1, 1)])
        .started();
    assert_eq!(node.replica.role_kind(), RoleKind::Follower);
    assert_eq!(attempt_of(&node.step(Input::Connected(SessionId(9)))), 1);
}

#[test]
fn what_is_applied_is_known_to_be_committed() {
    let node = found("b").log(&[(1, 1), (1, 2)]).applied(2).started();
    assert_eq!(node.replica.commit(), Index(2));
}
