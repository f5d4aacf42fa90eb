//! Nodes that are killed in the middle of something, and started again on what is on their volumes.

use std::time::Duration;

use standby_core::replica::{LinkState, RoleKind};

use super::cluster::{Cluster, HEALED_MS};

/// Commands after which the log has given up its beginning.
const RELEASED_AFTER: usize = 500;

#[test]
fn a_standby_that_is_killed_in_the_middle_of_a_stream_goes_on_where_its_log_ends() {
    let mut cluster = Cluster::of_three(20, 3);
    for at in 1..20 {
        for step in 0..20 {
            cluster.write(0);
            if step == at {
                cluster.kill(1);
            }
            cluster.step();
        }
        cluster.start(1);
        cluster.write_all(0, 1);
    }
    assert_eq!(cluster.acknowledged(), 19 * 21);
    cluster.check(0);
}

#[test]
fn what_a_primary_acknowledged_before_it_was_killed_stands_on_its_successor() {
    let mut acknowledged = 0;
    for at in 0..14 {
        let mut cluster = Cluster::of_three(30 + at, 3);
        for _ in 0..=at * 2 {
            cluster.write(0);
            cluster.write(0);
            cluster.step();
        }
        cluster.kill(0);
        acknowledged += cluster.acknowledged();
        cluster.give_up_waiting();
        cluster.promote(1, &[1, 2]);
        cluster.pair(1, 2);
        cluster.start(0);
        cluster.write_all(1, 10);
        cluster.check(1);
    }
    assert!(acknowledged > 50, "only {acknowledged}");
}

#[test]
fn nodes_that_were_all_killed_find_each_other_by_what_is_on_their_volumes() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut cluster = Cluster::of_three(50, 3);
        cluster.write_all(0, 100);
        for at in 0..3 {
            cluster.kill(at);
        }
        for at in order {
            cluster.start(at);
            cluster.pass(300);
        }
        let role = cluster.status(0).expect("it runs").role;
        assert_eq!(role, RoleKind::Restarted, "of an epoch it led before");
        // Nobody tells the others anything.
        cluster.promote(0, &[0]);
        for at in [1, 2] {
            cluster.until("a follower of the new epoch", HEALED_MS, |now| {
                let status = now.status(at).expect("it runs");
                let link = status.primary_link.map(|link| link.state);
                let epoch = status.view.map(|view| view.epoch.0);
                (epoch, link) == (Some(3), Some(LinkState::Up))
            });
        }
        cluster.pair(0, 1);
        cluster.write_all(0, 10);
        cluster.check(0);
    }
}

/// Three nodes, of which the third lacks what the others' logs have given up, and is far from the primary,
/// so that a snapshot is under way for a while.
fn one_lags(seed: u64) -> Cluster {
    let mut cluster = Cluster::of_three(seed, 3);
    cluster.kill(2);
    cluster.write_all(0, RELEASED_AFTER);
    let far = Duration::from_millis(40);
    cluster.sim.set_link_latency("n0", "n2", far);
    cluster.start(2);
    cluster
}

fn until_pieces(cluster: &mut Cluster, pieces: usize) {
    let store = cluster.store(2);
    cluster.until("pieces of a snapshot", HEALED_MS, |_| {
        store.lock().pieces >= pieces
    });
    assert_eq!(store.lock().restored, 0, "not the whole of it");
}

#[test]
fn a_node_that_is_killed_while_it_takes_in_a_snapshot_takes_in_a_whole_one_later() {
    for pieces in [1, 2, 20, 40] {
        let mut cluster = one_lags(60);
        until_pieces(&mut cluster, pieces);
        cluster.kill(2);
        cluster.write_all(0, 5);
        cluster.start(2);
        let store = cluster.store(2);
        cluster.until("a whole snapshot", HEALED_MS, |_| {
            store.lock().restored == 1
        });
        cluster.check(0);
    }
}

#[test]
fn a_primary_that_is_killed_while_it_sends_a_snapshot_leaves_no_half_one_behind() {
    for pieces in [1, 2, 20, 40] {
        let mut cluster = one_lags(70);
        until_pieces(&mut cluster, pieces);
        cluster.kill(0);
        cluster.until("the end of who took it in", HEALED_MS, |now| {
            now.ended(2) == 1
        });
        cluster.promote(1, &[1, 2]);
        let store = cluster.store(2);
        cluster.until("a whole snapshot", HEALED_MS, |_| {
            store.lock().restored == 1
        });
        cluster.pair(1, 2);
        cluster.start(0);
        cluster.write_all(1, 10);
        cluster.check(1);
    }
}

#[test]
fn a_link_that_is_cut_during_a_snapshot_ends_it_within_the_limit_and_it_begins_again() {
    for (pieces, one_way) in [(1, true), (20, false), (40, true)] {
        let mut cluster = one_lags(80);
        until_pieces(&mut cluster, pieces);
        if one_way {
            cluster.cut_one_way(0, 2);
        } else {
            cluster.cut(0, 2);
        }
        let waited_ms = cluster.until("the end of who took it in", HEALED_MS, |now| {
            now.ended(2) == 1
        });
        let limit_ms = crate::limits::PRIMARY_SILENT_MS;
        assert!(waited_ms <= limit_ms + 100, "{waited_ms} ms");
        cluster.mend(0, 2);
        let store = cluster.store(2);
        cluster.until("a whole snapshot", HEALED_MS, |_| {
            store.lock().restored == 1
        });
        cluster.check(0);
    }
}
