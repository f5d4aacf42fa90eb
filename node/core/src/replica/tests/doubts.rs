//! V11, foreign clusters, and what a node in doubt does not do.

use super::*;

fn damaged() -> Doubt {
    Doubt::DamagedLog {
        what: "a bit".into(),
    }
}

#[test]
fn v11_a_follower_whose_log_ends_before_what_it_acknowledged_is_rejected() {
    let mut node = serving_primary();
    node.step(Input::Closed(SessionId(1)));
    assert_eq!(
        node.meets(2, hello("b", &paired(2, "a", &["b"]), &[(1, 1)])),
        [
            send(2, Message::Reject(RejectReason::RolledBack)),
            Output::Close(SessionId(2)),
        ]
    );
    let peers = node.replica.status(node.now).peers;
    assert!(
        peers
            .iter()
            .any(|peer| peer.node == id("b") && peer.rolled_back)
    );
}

#[test]
fn v11_another_tail_of_the_same_length_is_not_what_was_acknowledged() {
    let mut node = serving_primary();
    node.step(Input::Closed(SessionId(1)));
    node.step(Input::Released(Index(2)));
    // The primary has given up the entry itself; it remembers where and in which epoch it stood.
    let said = node.meets(
        2,
        hello("b", &paired(2, "a", &["b"]), &[(1, 1), (1, 2), (1, 3)]),
    );
    assert_eq!(said[0], send(2, Message::Reject(RejectReason::RolledBack)));
}

#[test]
fn v11_a_node_told_that_it_was_rolled_back_gives_up_its_volume_and_never_leads() {
    let mut node = matched_follower();
    assert_eq!(
        node.hears(9, Message::Reject(RejectReason::RolledBack)),
        [Output::Discard]
    );
    node.adopts(&bare(3, "b", &["a", "b"]));
    assert_eq!(node.replica.role_kind(), RoleKind::Restarted);
}

#[test]
fn v11_a_damaged_node_does_not_lead() {
    let mut node = found("b").log(&[(1, 1)]).doubt(damaged()).settled();
    node.adopts(&bare(2, "b", &["b"]));
    assert!(!node.replica.accepts_proposals());
    assert_eq!(node.replica.role_kind(), RoleKind::Restarted);
}

#[test]
fn v11_a_damaged_node_says_so_when_it_presents_itself() {
    let mut node = found("b").log(&[(1, 1)]).doubt(damaged()).settled();
    node.adopts(&paired(2, "a", &["c"]));
    let said = node.step(Input::Connected(SessionId(9)));
    let [Output::Send(_, Message::Hello(hello))] = said.as_slice() else {
        panic!("it presents itself: {said:?}");
    };
    assert!(hello.damaged);
}

#[test]
fn v11_a_lesser_doubt_does_not_cover_damage() {
    let mut foreign = paired(9, "b", &["a"]);
    foreign.cluster_id = ClusterId("other".into());
    let mut node = found("b").log(&[(1, 1)]).doubt(damaged()).settled();
    node.told(&foreign, &[], false);
    assert_eq!(node.doubt(), Some(damaged()));
    node.adopts(&paired(2, "a", &["c"]));
    node.step(Input::Connected(SessionId(9)));
    node.hears(9, Message::Reject(RejectReason::ForeignCluster));
    assert_eq!(node.doubt(), Some(damaged()));
    node.adopts(&bare(3, "b", &["b"]));
    assert!(!node.replica.accepts_proposals());
}

#[test]
fn v11_a_rolled_back_volume_is_a_graver_doubt_than_a_foreign_view() {
    let mut foreign = paired(9, "b", &["a"]);
    foreign.cluster_id = ClusterId("other".into());
    let mut node = matched_follower();
    node.told(&foreign, &[], false);
    node.hears(9, Message::Reject(RejectReason::RolledBack));
    assert_eq!(node.doubt(), Some(Doubt::RolledBack));
}

#[test]
fn a_follower_of_another_cluster_is_rejected() {
    let mut node = serving_primary();
    let mut from = hello("c", &paired(2, "a", &["b"]), &[]);
    from.cluster_id = ClusterId("other".into());
    assert_eq!(
        node.meets(2, from),
        [
            send(2, Message::Reject(RejectReason::ForeignCluster)),
            Output::Close(SessionId(2)),
        ]
    );
}

#[test]
fn a_doubt_about_the_primary_ends_when_the_primary_welcomes() {
    let mut node = matched_follower();
    node.hears(9, Message::Reject(RejectReason::ForeignCluster));
    assert_eq!(node.doubt(), Some(Doubt::RejectedAsForeign));
    node.welcomed(10, 2, at(2, 2));
    assert_eq!(node.doubt(), None);
}

#[test]
fn the_primary_looks_silent_refused_or_not_ready() {
    let mut node = matched_follower();
    let state = |node: &Node| {
        node.replica
            .status(node.now)
            .primary_link
            .map(|link| link.state)
    };
    assert_eq!(state(&node), Some(LinkState::Up));
    node.after(1_000);
    assert_eq!(state(&node), Some(LinkState::Silent));
    node.step(Input::Closed(SessionId(9)));
    node.step(Input::ConnectRefused);
    assert_eq!(state(&node), Some(LinkState::Refused));
    node.step(Input::Connected(SessionId(10)));
    node.hears(10, Message::ViewIs(paired(2, "a", &["b"])));
    assert_eq!(state(&node), Some(LinkState::NotPrimary));
}

#[test]
fn a_silent_connection_is_given_up_so_that_another_is_made() {
    let mut node = matched_follower();
    assert_eq!(node.after(999), []);
    assert_eq!(node.after(1), [Output::Close(SessionId(9))]);
    assert_eq!(node.after(100), [], "once is enough");
}
