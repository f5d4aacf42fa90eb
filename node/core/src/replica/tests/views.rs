//! Which views are adopted, and what a node becomes by them.

use super::*;

#[test]
fn a_view_is_stored_before_anything_is_done_by_it() {
    let mut node = found("a").settled();
    let view = bare(1, "a", &["a"]);
    assert_eq!(
        node.told(&view, &[], false),
        [Output::StoreView(view.clone())]
    );
    assert_eq!(node.replica.role_kind(), RoleKind::Unassigned);
    assert_eq!(
        node.step(Input::ViewStored(Epoch(1))),
        [
            Output::Follow(None),
            Output::Append(vec![Entry::open(at(1, 1))]),
            Output::Role(RoleKind::Primary),
        ]
    );
}

#[test]
fn a_follower_turns_to_the_primary_of_its_view() {
    let mut node = found("b").settled();
    assert_eq!(
        node.adopts(&paired(2, "a", &["b"])),
        [
            Output::Follow(Some(id("a"))),
            Output::Role(RoleKind::Follower)
        ]
    );
}

#[test]
fn a_view_of_a_lower_epoch_changes_nothing() {
    let mut node = matched_follower();
    assert_eq!(node.told(&bare(1, "b", &["b"]), &[], false), []);
    assert_eq!(node.replica.epoch(), Epoch(2));
}

#[test]
fn a_view_that_breaks_its_own_rules_is_not_adopted() {
    let mut node = matched_follower();
    let mut broken = paired(3, "b", &["a"]);
    broken.complete = ids(&["a"]);
    assert_eq!(node.told(&broken, &[], false), []);
    assert_eq!(node.replica.epoch(), Epoch(2));
}

#[test]
fn the_view_of_another_cluster_is_refused_and_doubted() {
    let mut node = matched_follower();
    let mut foreign = paired(9, "b", &["a"]);
    foreign.cluster_id = ClusterId("other".into());
    assert_eq!(node.told(&foreign, &[], false), []);
    assert_eq!(node.replica.epoch(), Epoch(2));
    assert!(matches!(node.doubt(), Some(Doubt::ForeignView { .. })));
}

#[test]
fn a_view_overtaken_while_it_was_stored_is_passed_over() {
    let mut node = found("a").settled();
    node.told(&bare(1, "a", &["a"]), &[], false);
    node.told(&paired(2, "b", &["a"]), &[], false);
    assert_eq!(node.step(Input::ViewStored(Epoch(1))), []);
    assert_eq!(
        node.step(Input::ViewStored(Epoch(2))),
        [
            Output::Follow(Some(id("b"))),
            Output::Role(RoleKind::Follower)
        ]
    );
}

#[test]
fn a_primary_learns_of_a_later_view_from_a_peer_and_gives_up() {
    let mut node = serving_primary();
    let next = bare(3, "b", &["a", "b"]);
    assert_eq!(
        node.hears(1, Message::ViewIs(next.clone())),
        [Output::StoreView(next)]
    );
    assert_eq!(
        node.step(Input::ViewStored(Epoch(3))),
        [
            Output::StopStream(SessionId(1)),
            Output::Follow(Some(id("b"))),
            Output::Role(RoleKind::Follower),
        ]
    );
}

#[test]
fn a_node_that_does_not_lead_answers_a_presentation_with_its_view() {
    let mut node = matched_follower();
    let view = paired(2, "a", &["b"]);
    assert_eq!(
        node.meets(1, hello("c", &view, &[])),
        [send(1, Message::ViewIs(view))]
    );
}

#[test]
fn a_follower_with_an_older_view_is_told_the_view_first() {
    let mut node = serving_primary();
    let old = bare(1, "a", &["a"]);
    assert_eq!(
        node.meets(2, hello("c", &old, &[])),
        [send(2, Message::ViewIs(paired(2, "a", &["b"])))]
    );
}

#[test]
fn v2_a_primary_acts_on_nothing_while_a_higher_view_is_being_stored() {
    let mut node = serving_primary();
    node.proposes("w");
    node.told(&bare(3, "b", &["a", "b"]), &[], false);
    node.durable(2, 3);
    assert_eq!(node.acked(1, 2, 3), []);
    assert_eq!(node.replica.commit(), Index(2));
    assert_eq!(node.replica.read_lease(), Micros(0));
}

#[test]
fn a_view_with_a_loss_opens_its_epoch_with_a_new_history() {
    let mut node = found("c").log(&[(1, 1), (2, 2)]).applied(1).settled();
    let view = paired(2, "a", &["b"]).promote_with_loss(id("c"), Index(9));
    node.told(&view, &[], false);
    let opening = Entry::open_history(
        at(3, 3),
        NewHistory {
            epoch: Epoch(3),
            beyond: 8,
        },
    );
    assert!(
        node.step(Input::ViewStored(Epoch(3)))
            .contains(&Output::Append(vec![opening]))
    );
}

#[test]
fn what_was_given_up_stays_so_in_later_views_whoever_tells_them() {
    let mut node = found("c").log(&[(1, 1)]).settled();
    let view = paired(2, "a", &["b"]).promote_with_loss(id("c"), Index(9));
    node.adopts(&view);
    let forgets = paired(4, "c", &["d"]);
    let remembers = View {
        loss: view.loss,
        ..forgets.clone()
    };
    assert_eq!(
        node.told(&forgets, &[], false),
        [Output::StoreView(remembers)]
    );
}

#[test]
fn losses_add_up() {
    let view = paired(2, "a", &["b"]).promote_with_loss(id("c"), Index(9));
    let view = view.go_alone().promote_with_loss(id("d"), Index(5));
    let loss = Loss {
        epoch: Epoch(5),
        total: 14,
    };
    assert_eq!(view.loss, Some(loss));
    assert_eq!(view.with_synchronous(ids(&["e"])).loss, Some(loss));
}
