//! Scripts for what a random search meets too rarely: few nodes, views recorded by hand, links cut at
//! the right moment. The same world, the same invariants; only operators, clients and faults are told
//! what to do. Every millisecond somebody writes wherever writes are taken, and reads everywhere.

use std::collections::BTreeSet;

use standby_core::replica::{Input, Mutant};
use standby_core::{ClusterId, NodeId, View};

use crate::clients;
use crate::world::{Event, World};

const MS: u64 = 1_000;
/// Longer than every lease, so that starting up grants nothing any more.
const SETTLE_MS: u64 = 600;
/// How long a script waits for a node to have everything.
const COMPLETE_WITHIN_MS: u64 = 400;

struct Script {
    world: World,
}

impl Script {
    /// `count` nodes that run; `n0` leads with `n1` synchronous and serves. `strangers` never had a
    /// link to `n0`.
    fn begin(seed: u64, count: usize, strangers: &[usize], mutant: Option<Mutant>) -> Self {
        let mut script = Self {
            world: World::scripted(seed, count, mutant),
        };
        for node in strangers {
            script.world.faults.cut_between(0, *node);
        }
        let first = View::first(ClusterId("sim".into()), script.id(0));
        let everybody: Vec<_> = (0..count).collect();
        script.run(SETTLE_MS);
        script.record(&first, &everybody, false);
        script.pair(0, 1, &everybody);
        script.run(SETTLE_MS);
        script
    }

    fn id(&self, node: usize) -> NodeId {
        self.world.nodes[node].disk.node.clone()
    }

    fn view(&self) -> View {
        let view = self.world.recorded();
        view.expect("a script records its first view before all else")
            .clone()
    }

    /// Records a view and tells it to some.
    fn record(&mut self, view: &View, told: &[usize], previous_stopped: bool) {
        let before = self.world.recorded().map(|view| view.epoch);
        self.world.record(before, view.clone());
        self.tell(view, told, &BTreeSet::new(), previous_stopped);
    }

    fn tell(&mut self, view: &View, told: &[usize], await_nodes: &BTreeSet<NodeId>, stopped: bool) {
        for node in told {
            let input = Input::View {
                view: view.clone(),
                await_nodes: await_nodes.clone(),
                previous_stopped: stopped,
            };
            self.world.step(*node, input);
        }
    }

    /// Lets `primary` wait for `node` until it has everything.
    fn promise(&mut self, primary: usize, node: usize) {
        let (view, id) = (self.view(), self.id(node));
        self.tell(&view, &[primary], &BTreeSet::from([id.clone()]), false);
        for _ in 0..COMPLETE_WITHIN_MS {
            self.run(1);
            let now = self.world.micros(primary);
            let process = self.world.nodes[primary].process.as_ref();
            let peers = process.map(|process| process.replica.status(now).peers);
            let complete =
                |peer: &standby_core::replica::PeerStatus| peer.node == id && peer.complete;
            if peers.iter().flatten().any(complete) {
                return;
            }
        }
    }

    /// Makes `node` the synchronous one, by the rules.
    fn pair(&mut self, primary: usize, node: usize, told: &[usize]) {
        self.promise(primary, node);
        let next = self
            .view()
            .with_synchronous(BTreeSet::from([self.id(node)]));
        self.record(&next, told, false);
    }

    fn promote(&mut self, node: usize, told: &[usize], stopped: bool) {
        let next = self.view().promote(self.id(node));
        self.record(&next, told, stopped);
    }

    /// Cuts a node off from all others. Clients still reach it.
    fn isolate(&mut self, node: usize) {
        for other in 0..self.world.nodes.len() {
            self.world.faults.cut_between(node, other);
        }
    }

    fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.world.run_until(self.world.now + MS);
            for node in 0..self.world.nodes.len() {
                clients::write(&mut self.world, node);
                clients::read_by_lease(&mut self.world, node);
            }
        }
    }
}

/// The primary is cut off while it holds a lease, and the node that granted it is promoted at once.
pub fn a_granter_is_promoted_at_once(seed: u64, mutant: Option<Mutant>) {
    let mut script = Script::begin(seed, 3, &[], mutant);
    script.isolate(0);
    script.promote(1, &[1, 2], false);
    script.pair(1, 2, &[1, 2]);
    script.run(1_000);
}

/// Two promotions within one lease: the second node never granted the first primary anything.
pub fn two_promotions_within_one_lease(seed: u64, mutant: Option<Mutant>) {
    let mut script = Script::begin(seed, 4, &[2, 3], mutant);
    script.isolate(0);
    script.promote(1, &[1, 2, 3], false);
    script.pair(1, 2, &[1, 2, 3]);
    script.promote(2, &[1, 2, 3], false);
    script.pair(2, 3, &[1, 2, 3]);
    script.run(1_000);
}

/// The same, and the node that was promoted first is proven dead; the first primary is not.
pub fn the_second_primary_is_proven_dead_the_first_is_not(seed: u64, mutant: Option<Mutant>) {
    let mut script = Script::begin(seed, 4, &[], mutant);
    script.isolate(0);
    script.promote(1, &[1, 2, 3], false);
    script.pair(1, 2, &[1, 2, 3]);
    script.world.kill(1);
    script.promote(2, &[2, 3], true);
    script.pair(2, 3, &[2, 3]);
    script.run(1_000);
}

/// A promised node takes the place of the synchronous one and is promoted, while the primary and the
/// former synchronous node hear of none of it and go on granting each other leases.
pub fn a_promised_node_is_promoted_behind_the_primary(seed: u64, mutant: Option<Mutant>) {
    let mut script = Script::begin(seed, 4, &[], mutant);
    script.promise(0, 2);
    for (one, other) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        script.world.faults.cut_between(one, other);
    }
    let next = script
        .view()
        .with_synchronous(BTreeSet::from([script.id(2)]));
    script.record(&next, &[], false);
    script.promote(2, &[2, 3], false);
    script.pair(2, 3, &[2, 3]);
    script.run(1_500);
}

/// The primary's own volume is put back to an earlier state, and the primary is recorded once more.
pub fn the_volume_of_the_primary_is_put_back(seed: u64, mutant: Option<Mutant>) {
    let mut script = Script::begin(seed, 3, &[], mutant);
    let backup = script.world.nodes[0].disk.durable.clone();
    script.run(300);
    script.world.kill(0);
    script.world.nodes[0].disk.durable = backup;
    script.world.nodes[0].disk.spoiled = true;
    script.world.schedule(0, Event::Start(0));
    script.run(20);
    script.promote(0, &[0, 1, 2], false);
    script.run(1_000);
}

/// The primary's volume is put back to what it was before it stored its view, and the primary is told that
/// view once more: in it, it must not begin to write again (V3).
pub fn the_primary_is_put_back_and_told_its_own_view(seed: u64, mutant: Option<Mutant>) {
    let mut script = Script::begin(seed, 3, &[], mutant);
    let backup = script.world.nodes[0].disk.durable.clone();
    script.pair(0, 2, &[0, 1, 2]);
    // Less than what clients have the patience to let wait.
    script.run(20);
    script.world.kill(0);
    let disk = &mut script.world.nodes[0].disk;
    disk.durable = backup;
    disk.spoiled = true;
    script.isolate(0);
    script.world.schedule(0, Event::Start(0));
    script.run(20);
    let view = script.view();
    script.tell(&view, &[0], &BTreeSet::new(), false);
    // Longer than what the others have, were it to write.
    script.run(300);
    script.world.faults.calm();
    script.run(600);
    script.promote(2, &[0, 1, 2], true);
    script.run(1_000);
}

/// A volume of a complete node is put back to an earlier state while it is down, and nobody's memory of
/// what it acknowledged outlives that: whoever leads next must notice all the same (V11).
fn put_back_while_it_is_down(seed: u64, mutant: Option<Mutant>, whose: usize, leads_next: usize) {
    let mut script = Script::begin(seed, 3, &[], mutant);
    let backup = script.world.nodes[whose].disk.durable.clone();
    script.run(300);
    script.world.checkpoint(leads_next, false);
    script.run(50);
    script.world.kill(0);
    script.world.kill(whose);
    let disk = &mut script.world.nodes[whose].disk;
    disk.durable = backup;
    disk.spoiled = true;
    script.world.schedule(0, Event::Start(0));
    script.world.schedule(0, Event::Start(whose));
    script.run(20);
    script.promote(leads_next, &[0, 1, 2], true);
    script.run(1_000);
    assert_eq!(
        script.world.report.discards, 1,
        "seed {seed}: V11: nobody noticed that n{whose} was put back"
    );
}

/// The standby's volume is put back while the primary restarts.
pub fn the_standby_is_put_back_while_the_primary_restarts(seed: u64, mutant: Option<Mutant>) {
    put_back_while_it_is_down(seed, mutant, 1, 0);
}

/// The old primary's volume is put back while the standby takes over.
pub fn the_old_primary_is_put_back_while_another_takes_over(seed: u64, mutant: Option<Mutant>) {
    put_back_while_it_is_down(seed, mutant, 0, 1);
}
