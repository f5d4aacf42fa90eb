//! V5: leases, who grants them, and for how long a new primary holds back.

use super::*;

fn reply(node: &mut Node, session: u64, epoch: u64, sequence: u64) {
    let index = node.replica.log().last().index;
    node.hears(
        session,
        Message::HeartbeatReply {
            epoch: Epoch(epoch),
            sequence,
            durable: index,
        },
    );
}

/// The number of the heartbeat among these commands.
fn beat(outputs: &[Output]) -> u64 {
    outputs
        .iter()
        .find_map(|output| match output {
            Output::Send(_, Message::Heartbeat { sequence, .. }) => Some(*sequence),
            _ => None,
        })
        .expect("a heartbeat is sent")
}

#[test]
fn v5_a_lease_counts_from_when_the_heartbeat_was_sent() {
    let mut node = serving_primary();
    let sequence = beat(&node.after(100));
    let sent = node.now;
    node.after(50);
    reply(&mut node, 1, 2, sequence);
    assert_eq!(
        node.replica.read_lease(),
        sent.plus(Timing::default().lease)
    );
}

#[test]
fn v5_a_promised_node_must_grant_too() {
    let mut node = serving_primary();
    let view = paired(2, "a", &["b"]);
    let sequence = beat(&node.after(100));
    reply(&mut node, 1, 2, sequence);
    assert!(node.replica.read_lease() > node.now);
    node.told(&view, &["c"], false);
    assert_eq!(node.replica.read_lease(), Micros(0));
}

#[test]
fn v5_an_answer_later_than_the_lease_grants_nothing() {
    let mut node = serving_primary();
    let sequence = beat(&node.after(100));
    node.after(450);
    reply(&mut node, 1, 2, sequence);
    assert!(node.replica.read_lease() <= node.now);
}

#[test]
fn v5_a_promoted_node_serves_nothing_before_its_own_grants_ran_out() {
    let mut node = matched_follower();
    node.heartbeat(9, 2, 1);
    let granted = node.now;
    let view = bare(3, "b", &["a", "b"]);
    node.adopts(&view);
    let next = paired(4, "b", &["c"]);
    node.adopts(&next);
    node.durable(4, 4);
    node.meets(1, hello("c", &next, &[(1, 1), (2, 2)]));
    node.acked(1, 4, 4);
    assert_eq!(node.replica.commit(), Index(0));
    let timing = Timing::default();
    let free = granted.plus(timing.lease).plus(timing.drift);
    node.after(free.since(node.now).as_millis() - 1);
    assert_eq!(node.replica.commit(), Index(0));
    node.after(1);
    assert_eq!(node.replica.commit(), Index(4));
}

#[test]
fn v5_the_proof_that_the_former_primary_ended_frees_the_promoted_node_for_good() {
    let mut node = matched_follower();
    node.heartbeat(9, 2, 1);
    node.told(&bare(3, "b", &["a", "b"]), &[], true);
    node.step(Input::ViewStored(Epoch(3)));
    let next = paired(4, "b", &["c"]);
    node.adopts(&next);
    node.durable(4, 4);
    node.meets(1, hello("c", &next, &[(1, 1), (2, 2)]));
    node.acked(1, 4, 4);
    assert_eq!(node.replica.commit(), Index(4));
}

#[test]
fn v5_a_proof_frees_from_the_epoch_it_is_about_and_no_other() {
    let mut node = matched_follower();
    node.heartbeat(9, 2, 1);
    // c, who was to lead epoch 3, is proven dead; a, who led epoch 2, may hold b's lease yet.
    node.adopts(&bare(3, "c", &["b", "c"]));
    node.told(&bare(4, "b", &["b", "c"]), &[], true);
    node.step(Input::ViewStored(Epoch(4)));
    let next = paired(5, "b", &["d"]);
    node.adopts(&next);
    let last = node.replica.log().last();
    node.step(Input::Durable(last));
    node.meets(1, hello("d", &next, &[(1, 1), (2, 2)]));
    node.acked(1, 5, last.index.0);
    assert_eq!(node.replica.commit(), Index(0));
    node.after(440);
    assert_eq!(node.replica.commit(), last.index);
}

/// a leads epoch 2 with b and holds b's lease. b is promoted in 3 and gets c as its synchronous node in
/// 4; c is promoted in 5: all within one lease. a still answers reads by b's lease, and c itself never
/// granted anything to anybody.
#[test]
fn v5_a_lease_that_another_node_granted_two_epochs_ago_is_waited_for_too() {
    let mut node = found("c").log(&[(1, 1), (2, 2)]).settled();
    node.adopts(&bare(3, "b", &["a", "b"]));
    node.welcomed(9, 3, at(2, 2));
    node.appended(9, 3, at(2, 2), 3, 0);
    node.durable(3, 3);
    let acknowledged = node.now;
    node.adopts(&paired(4, "b", &["c"]));
    node.adopts(&bare(5, "c", &["b", "c"]));
    let next = paired(6, "c", &["d"]);
    node.adopts(&next);
    let last = node.replica.log().last();
    node.step(Input::Durable(last));
    node.meets(1, hello("d", &next, &[(1, 1), (2, 2)]));
    node.acked(1, 6, last.index.0);
    assert_eq!(node.replica.commit(), Index(0), "a may still answer reads");
    let timing = Timing::default();
    let free = acknowledged.plus(timing.lease).plus(timing.drift);
    node.after(free.since(node.now).as_millis());
    assert_eq!(node.replica.commit(), last.index);
}

#[test]
fn v5_a_node_that_has_just_started_may_have_granted_before() {
    let mut node = found("b").log(&[(1, 1)]).started();
    let view = bare(2, "b", &["b"]);
    node.adopts(&view);
    let next = paired(3, "b", &["c"]);
    node.adopts(&next);
    node.durable(3, 3);
    node.meets(1, hello("c", &next, &[(1, 1)]));
    node.acked(1, 3, 3);
    assert_eq!(node.replica.commit(), Index(0));
    node.after(440);
    assert_eq!(node.replica.commit(), Index(3));
}

#[test]
fn v2_no_lease_is_granted_while_a_higher_view_is_being_stored() {
    let mut node = matched_follower();
    assert_eq!(node.heartbeat(9, 2, 1).len(), 1);
    node.told(&bare(3, "b", &["a", "b"]), &[], false);
    assert_eq!(node.heartbeat(9, 2, 2), []);
}

#[test]
fn v2_a_heartbeat_of_a_lower_epoch_is_answered_with_the_view() {
    let mut node = matched_follower();
    let next = paired(3, "c", &["b"]);
    node.adopts(&next);
    assert_eq!(node.heartbeat(9, 2, 2), [send(9, Message::ViewIs(next))]);
}

#[test]
fn a_follower_learns_how_regularly_heartbeats_come() {
    let mut node = matched_follower();
    let link = |node: &Node| {
        let status = node.replica.status(node.now);
        status.primary_link.expect("a follower has one")
    };
    for sequence in 1..=200 {
        node.after(100);
        node.heartbeat(9, 2, sequence);
    }
    assert!(!link(&node).lost, "20 s of heartbeats are no silence");
    assert!(link(&node).phi_milli < 1_000, "{:?}", link(&node));
    node.after(1_400);
    assert!(!link(&node).lost, "shorter than the least silence");
    node.after(200);
    assert!(link(&node).lost);
}
