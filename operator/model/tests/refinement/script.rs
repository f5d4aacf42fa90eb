//! A schedule that chance meets too rarely: a lease that is asked for while the granter stores the view
//! that makes it primary (V2, V5).

use std::collections::BTreeSet;

use standby_core::replica::{Mutant, RoleKind};
use standby_core::{NodeId, View};
use standby_model::views::cluster_id;

use crate::world::World;

/// Longer than every lease.
const SETTLED_MS: u64 = 600;
/// How long the granter's disk takes for the view: less than a lease, more than two heartbeats.
const STORING_MS: u64 = 350;
const TICK_MS: u64 = 10;

/// Everything arrives, and every disk but one is done.
fn calm(world: &mut World, slow: Option<usize>) {
    loop {
        let mut quiet = true;
        for (session, up) in world.links() {
            world.deliver(session, up);
            quiet = false;
        }
        for at in 0..world.places.len() {
            if Some(at) != slow && world.has_jobs(at) {
                world.finish(at);
                quiet = false;
            }
        }
        if quiet {
            return;
        }
    }
}

fn run(world: &mut World, millis: u64, slow: Option<usize>) {
    for _ in 0..millis / TICK_MS {
        world.pass(TICK_MS);
        for at in 0..world.places.len() {
            world.dial(at);
        }
        calm(world, slow);
    }
}

fn tell(world: &mut World, view: &View, slow: Option<usize>) {
    for at in 0..world.places.len() {
        world.tell(at, view, BTreeSet::new());
    }
    calm(world, slow);
}

/// The granter is promoted; its disk is slow, and the old primary, cut off from operators, goes on asking
/// it. Whether it then serves before the last lease that it granted is over.
fn served_early(mutant: Option<Mutant>) -> Option<String> {
    let nodes: Vec<NodeId> = (1..=3)
        .map(|serial| NodeId::new(format!("db-{serial}"), format!("{serial:016x}")))
        .collect();
    let set = |at: usize| BTreeSet::from([nodes[at].clone()]);
    let mut world = World::new(nodes.clone(), mutant);
    run(&mut world, SETTLED_MS, None);
    let first = View::first(cluster_id(), nodes[0].clone());
    tell(&mut world, &first, None);
    run(&mut world, SETTLED_MS, None);
    let pair = first.with_synchronous(set(1));
    tell(&mut world, &pair, None);
    run(&mut world, SETTLED_MS, None);
    assert!(world.status(0).expect("it runs").serving);
    let promoted = pair.promote(nodes[1].clone());
    world.tell(1, &promoted, BTreeSet::new());
    run(&mut world, STORING_MS, Some(1));
    tell(&mut world, &promoted, None);
    run(&mut world, TICK_MS, None);
    tell(&mut world, &promoted.with_synchronous(set(2)), None);
    run(&mut world, 2 * SETTLED_MS, None);
    let status = world.status(1).expect("it runs");
    assert!(status.role == RoleKind::Primary && status.serving);
    world.served_early
}

#[test]
fn a_lease_granted_while_the_next_view_is_stored_is_noticed() {
    assert_eq!(served_early(None), None);
    let early = served_early(Some(Mutant::GrantWhileStoring));
    assert!(early.is_some(), "the grant passed unnoticed");
}
