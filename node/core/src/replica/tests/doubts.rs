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

#[test]
fn v11_a_restarted_primary_knows_what_a_complete_node_must_have() {
    // What this run saw acknowledged is nothing; what is applied was committed, and so `b` had it.
    let view = paired(2, "a", &["b"]);
    let mut node = found("a")
        .view(view)
        .log(&[(1, 1), (2, 2), (2, 3)])
        .applied(3)
        .settled();
    let next = bare(3, "a", &["a", "b"]);
    node.adopts(&next);
    let said = node.meets(1, hello("b", &next, &[(1, 1), (2, 2)]));
    assert!(said.contains(&send(1, Message::Reject(RejectReason::RolledBack))));
}

#[test]
fn v11_whoever_is_promoted_knows_it_too() {
    let mut node = matched_follower();
    node.appended(9, 2, at(2, 2), 3, 3);
    node.durable(2, 3);
    assert_eq!(node.replica.commit(), Index(3));
    let next = bare(3, "b", &["a", "b"]);
    node.adopts(&next);
    let said = node.meets(1, hello("a", &next, &[(1, 1), (2, 2)]));
    assert!(said.contains(&send(1, Message::Reject(RejectReason::RolledBack))));
}

#[test]
fn v11_a_complete_node_may_lack_what_is_not_known_to_be_committed() {
    let mut node = found("a")
        .log(&[(1, 1), (2, 2), (2, 3)])
        .applied(2)
        .settled();
    let next = bare(3, "a", &["a", "b"]);
    node.adopts(&next);
    let said = node.meets(1, hello("b", &next, &[(1, 1), (2, 2)]));
    assert!(matches!(
        said[0],
        Output::Send(_, Message::Welcome { start, .. }) if start == at(2, 2)
    ));
}

#[test]
fn v11_a_complete_node_that_has_released_what_is_committed_is_welcome() {
    let mut node = found("a").log(&[(1, 1), (2, 2)]).applied(1).settled();
    let next = bare(3, "a", &["a", "b"]);
    node.adopts(&next);
    let mut from = hello("b", &next, &[(1, 1), (2, 2)]);
    let mut log = LogIndex::recovered(from.log.clone());
    log.release_through(Index(2));
    from.log = log.outline().clone();
    let said = node.meets(1, from);
    assert!(matches!(
        said[0],
        Output::Send(_, Message::Welcome { start, .. }) if start == at(2, 2)
    ));
}

#[test]
fn v11_a_replica_that_lags_is_not_taken_for_a_volume_that_was_rolled_back() {
    let mut node = serving_primary();
    let said = node.meets(2, hello("c", &paired(2, "a", &["b"]), &[]));
    assert!(matches!(
        said[0],
        Output::Send(_, Message::Welcome { start, .. }) if start == Position::START
    ));
}

/// A follower that was filled by a snapshot at 5, and a primary whose log ends before.
#[test]
fn a_follower_with_nothing_in_common_that_knows_more_is_told_so() {
    let mut node = serving_primary();
    let mut from = hello("c", &paired(2, "a", &["b"]), &[]);
    from.log = LogOutline {
        base: at(2, 5),
        epochs: Vec::new(),
        last: at(2, 5),
    };
    from.commit = Index(5);
    assert_eq!(
        node.meets(2, from),
        [
            send(2, Message::Reject(RejectReason::LacksCommitted)),
            Output::Close(SessionId(2)),
        ]
    );
}

#[test]
fn a_follower_that_is_told_so_doubts_its_primary() {
    let mut node = matched_follower();
    node.hears(9, Message::Reject(RejectReason::LacksCommitted));
    let doubt = node.doubt().expect("it doubts");
    assert!(doubt.is_about_view() && !doubt.bars_primacy());
    assert!(doubt.to_string().contains("nothing in common"), "{doubt}");
}

/// `c` leads epoch 3 by a consent to losing what `a` and `b` have acknowledged beyond it.
fn lossy() -> View {
    let view = paired(2, "a", &["b"]).promote_with_loss(id("c"), Index(9));
    View {
        epoch: Epoch(4),
        ..view.with_synchronous(ids(&["d"]))
    }
}

#[test]
fn committed_writes_that_were_given_up_by_consent_are_discarded() {
    let mut node = found("b").log(&[(1, 1), (2, 2)]).applied(2).settled();
    node.adopts(&lossy());
    assert_eq!(node.welcomed(9, 4, at(1, 1)), [Output::Discard]);
    assert_eq!(node.doubt(), Some(Doubt::GivenUp { epoch: Epoch(3) }));
    node.adopts(&bare(5, "b", &["b"]));
    assert!(!node.replica.accepts_proposals());
}

#[test]
fn committed_writes_of_the_new_history_are_never_discarded() {
    let mut node = found("b").log(&[(1, 1), (4, 2)]).applied(2).settled();
    node.adopts(&lossy());
    node.welcomed(9, 4, at(1, 1));
    assert!(matches!(
        node.doubt(),
        Some(Doubt::PrimaryLacksCommitted { .. })
    ));
}

#[test]
fn a_complete_node_never_discards_what_the_primary_lacks() {
    let mut node = found("d").log(&[(1, 1), (2, 2)]).applied(2).settled();
    node.adopts(&lossy());
    node.welcomed(9, 4, at(1, 1));
    assert!(matches!(
        node.doubt(),
        Some(Doubt::PrimaryLacksCommitted { .. })
    ));
}

#[test]
fn v10_another_view_of_the_same_epoch_ends_acknowledging_on_a_follower() {
    let mut node = matched_follower();
    assert_eq!(node.told(&paired(2, "a", &["c"]), &[], false), []);
    assert_eq!(
        node.doubt(),
        Some(Doubt::ConflictingView { epoch: Epoch(2) })
    );
    node.appended(9, 2, at(2, 2), 3, 3);
    assert_eq!(node.durable(2, 3), [], "neither acknowledged nor applied");
    assert_eq!(node.heartbeat(9, 2, 1), [], "no lease is granted");
    assert_eq!(node.replica.commit(), Index(0));
}

#[test]
fn v10_another_view_of_the_same_epoch_ends_committing_on_a_primary() {
    let mut node = serving_primary();
    node.hears(
        1,
        Message::HeartbeatReply {
            epoch: Epoch(2),
            sequence: 1,
            durable: Index(2),
        },
    );
    node.proposes("w");
    node.told(&paired(2, "a", &["c"]), &[], false);
    node.durable(2, 3);
    node.acked(1, 2, 3);
    let status = node.replica.status(node.now);
    assert_eq!(status.commit, Index(2));
    assert!(!status.serving && status.write_stall.is_some());
    assert_eq!(node.replica.read_lease(), Micros(0));
}

#[test]
fn v10_a_later_view_ends_the_doubt_and_the_node_may_lead_it() {
    let mut node = matched_follower();
    node.told(&paired(2, "a", &["c"]), &[], false);
    node.adopts(&bare(3, "b", &["a", "b"]));
    assert_eq!(node.doubt(), None);
    assert!(node.replica.accepts_proposals());
}

#[test]
fn v10_a_conflict_with_a_view_that_is_being_stored_is_noticed() {
    let mut node = matched_follower();
    node.told(&bare(3, "a", &["a", "b"]), &[], false);
    node.told(&bare(3, "b", &["a", "b"]), &[], false);
    node.step(Input::ViewStored(Epoch(3)));
    assert_eq!(
        node.doubt(),
        Some(Doubt::ConflictingView { epoch: Epoch(3) })
    );
}

#[test]
fn a_primary_told_a_foreign_view_forgives_when_its_own_is_told_or_after_a_while() {
    let mut foreign = paired(9, "b", &["a"]);
    foreign.cluster_id = ClusterId("other".into());
    let mut node = serving_primary();
    node.told(&foreign, &[], false);
    assert!(node.doubt().is_some());
    node.told(&paired(2, "a", &["b"]), &[], false);
    assert_eq!(node.doubt(), None);
    node.told(&foreign, &[], false);
    node.after(29_999);
    assert!(node.doubt().is_some());
    node.after(1);
    assert_eq!(node.doubt(), None);
}

#[test]
fn an_acknowledgement_of_what_was_never_written_closes_the_connection() {
    let mut node = serving_primary();
    let reply = Message::HeartbeatReply {
        epoch: Epoch(2),
        sequence: 1,
        durable: Index(9),
    };
    assert_eq!(
        node.hears(1, reply),
        [
            Output::StopStream(SessionId(1)),
            Output::Close(SessionId(1))
        ]
    );
    assert_eq!(node.replica.read_lease(), Micros(0));
    assert!(
        node.replica
            .status(node.now)
            .peers
            .iter()
            .all(|peer| peer.session.is_none())
    );
}
