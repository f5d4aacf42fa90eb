//! Links that are cut, one-way, slow, or hold everything back for a while.

use standby_core::replica::LinkState;

use super::cluster::{Cluster, Dice, HEALED_MS};
use crate::limits::{PEER_CONNECT_MS, REDIAL_LONGEST_MS, VIEW_ASK_AFTER_MS, VIEW_ASK_EVERY_MS};

/// What a few messages take with the delays used here, and what is rounded up.
const SOME_MESSAGES_MS: u64 = 200;
/// Within it a follower dials again once its primary can be reached.
const REDIALLED_MS: u64 = PEER_CONNECT_MS + REDIAL_LONGEST_MS + SOME_MESSAGES_MS;

fn link(cluster: &mut Cluster, at: usize) -> Option<LinkState> {
    let link = cluster.status(at)?.primary_link?;
    Some(link.state)
}

fn wait_for_link(cluster: &mut Cluster, at: usize, limit_ms: u64) -> u64 {
    cluster.until("messages of the primary", limit_ms, |now| {
        link(now, at) == Some(LinkState::Up)
    })
}

#[test]
fn over_slow_links_everything_arrives_in_order() {
    let mut cluster = Cluster::of_three(1, 150);
    cluster.write_all(0, 200);
    assert_eq!(cluster.acknowledged(), 200);
    cluster.check(0);
}

#[test]
fn nodes_in_far_places_find_each_other_and_go_on() {
    for (seed, delay_ms) in [(8, 60), (9, 150)] {
        let mut cluster = Cluster::of_three_far(seed, delay_ms);
        cluster.write_all(0, 50);
        assert_eq!(cluster.acknowledged(), 50);
        cluster.check(0);
    }
}

#[test]
fn a_primary_that_is_heard_no_more_is_dialled_anew_as_soon_as_it_can_be() {
    for (seed, one_way) in [(2, None), (3, Some((0, 1))), (4, Some((1, 0)))] {
        let mut cluster = Cluster::of_three(seed, 5);
        match one_way {
            Some((from, to)) => cluster.cut_one_way(from, to),
            None => cluster.cut(0, 1),
        }
        for _ in 0..50 {
            cluster.write(0);
        }
        cluster.pass(7_000);
        assert_eq!(cluster.acknowledged(), 0, "without the standby's word");
        cluster.mend(0, 1);
        wait_for_link(&mut cluster, 1, REDIALLED_MS);
        cluster.check(0);
    }
}

#[test]
fn what_a_link_held_back_is_not_lost_and_does_no_harm_when_it_comes() {
    let mut cluster = Cluster::of_three(5, 5);
    for hold_ms in [300, 900, 3_000, 40_000] {
        cluster.hold(0, 1);
        for _ in 0..20 {
            cluster.write(0);
            cluster.pass(hold_ms / 20);
        }
        cluster.release(0, 1);
        wait_for_link(&mut cluster, 1, REDIALLED_MS);
        cluster.write_all(0, 20);
    }
    cluster.check(0);
}

#[test]
fn a_replica_that_takes_nothing_delays_nobody_and_is_given_up() {
    let mut cluster = Cluster::of_three(6, 5);
    cluster.cut(0, 2);
    for _ in 0..2_000 {
        cluster.write(0);
        cluster.pass(20);
    }
    assert!(cluster.acknowledged() > 1_900);
    let peers = cluster.status(0).expect("it runs").peers;
    assert_eq!(
        peers.iter().filter(|peer| peer.session.is_some()).count(),
        1
    );
    cluster.mend(0, 2);
    wait_for_link(&mut cluster, 2, REDIALLED_MS);
    cluster.check(0);
}

#[test]
fn a_node_whose_primary_is_gone_hears_of_the_next_view_from_another_node() {
    let mut cluster = Cluster::of_three(7, 5);
    cluster.write_all(0, 20);
    cluster.kill(0);
    cluster.promote(1, &[1]);
    let limit_ms = VIEW_ASK_AFTER_MS + 2 * VIEW_ASK_EVERY_MS + REDIALLED_MS;
    wait_for_link(&mut cluster, 2, limit_ms);
    cluster.pair(1, 2);
    cluster.write_all(1, 20);
    cluster.start(0);
    cluster.check(1);
}

/// Breaks one link after the other while something is written, and lets each heal again.
fn suffer(seed: u64, faults: usize) {
    let mut dice = Dice::new(seed);
    let mut cluster = Cluster::of_three(seed, 1 + dice.roll(40));
    for _ in 0..faults {
        let (one, other) = dice.pick(&[(0, 1), (1, 0), (0, 2), (2, 0), (1, 2)]);
        let kind = dice.roll(3);
        match kind {
            0 => cluster.cut(one, other),
            1 => cluster.cut_one_way(one, other),
            _ => cluster.hold(one, other),
        }
        let longest_ms = dice.pick(&[200, 2_000, 2_000, 15_000]);
        for _ in 0..=dice.roll(longest_ms) / 20 {
            cluster.write(0);
            cluster.pass(20);
        }
        match kind {
            0 | 1 => cluster.mend(one, other),
            _ => cluster.release(one, other),
        }
        cluster.pass(dice.roll(1_500));
    }
    let goal = cluster.acknowledged() + 10;
    cluster.until("writes go on", HEALED_MS, |now| {
        now.write(0);
        now.acknowledged() >= goal
    });
    cluster.check(0);
}

#[test]
fn whatever_becomes_of_links_nothing_acknowledged_is_lost() {
    for seed in 100..106 {
        suffer(seed, 12);
    }
}
