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
