//! Clients: each writes a fresh command or reads, at whichever node takes it, also one that only
//! believes itself primary. What they are told is held against what must be true.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::Rng;
use standby_core::Index;
use standby_core::replica::{Input, ReadTicket};

use crate::world::{Event, World};

const MS: u64 = 1_000;

/// All clients, and what they may rely on.
#[derive(Debug)]
pub struct Clients {
    next_command: u64,
    next_ticket: u64,
    /// Reads under way: the node asked, and how much of the history was already seen when it began.
    reads: BTreeMap<ReadTicket, (usize, usize)>,
    /// How much of the history somebody was shown: an acknowledged write, or a read.
    seen: usize,
    /// Every acknowledged command.
    pub acknowledged: Vec<u64>,
    /// The one history of applied commands, as far as any node has applied it.
    pub history: Vec<u64>,
    count: usize,
    /// No more requests, so that everybody can catch up.
    pub stopped: bool,
}

impl Clients {
    pub fn new(count: usize) -> Self {
        Self {
            next_command: 1,
            next_ticket: 1,
            reads: BTreeMap::new(),
            seen: 0,
            acknowledged: Vec::new(),
            history: Vec::new(),
            count,
            stopped: false,
        }
    }

    pub fn acknowledged(&mut self, command: u64, _seen: usize) {
        self.acknowledged.push(command);
        let at = self.history.iter().rposition(|c| *c == command);
        let at = at.expect("what is acknowledged was applied, and so is in the history");
        self.seen = self.seen.max(at + 1);
    }

    pub fn read_answered(&mut self, node: usize, ticket: ReadTicket, shown: usize, seed: u64) {
        let Some((asked, must_see)) = self.reads.remove(&ticket) else {
            return;
        };
        assert_eq!(asked, node, "a read is answered where it was asked");
        assert!(
            shown >= must_see,
            "seed {seed}: V5: stale read on n{node}: it showed {shown} commands, {must_see} were \
             known to clients before it began"
        );
        self.seen = self.seen.max(shown);
    }

    pub fn read_refused(&mut self, _node: usize, ticket: ReadTicket) {
        self.reads.remove(&ticket);
    }

    pub fn forget_node(&mut self, node: usize) {
        self.reads.retain(|_, (asked, _)| *asked != node);
    }
}

/// One client does one thing.
pub fn act(world: &mut World, which: usize) {
    debug_assert!(which < world.clients.count);
    if world.clients.stopped {
        return;
    }
    let pause = world.rng.random_range(MS..15 * MS);
    world.schedule(pause, Event::Client(which));
    let willing: Vec<_> = (0..world.nodes.len())
        .filter(|node| world.nodes[*node].paused_until <= world.now)
        .filter(|node| {
            let process = world.nodes[*node].process.as_ref();
            process.is_some_and(|process| process.replica.accepts_proposals())
        })
        .collect();
    if willing.is_empty() {
        return;
    }
    let node = willing[world.rng.random_range(0..willing.len())];
    match world.rng.random_range(0..10) {
        0..=5 => write(world, node),
        6 | 7 => read_by_lease(world, node),
        _ => {
            let ticket = ReadTicket(world.clients.next_ticket);
            world.clients.next_ticket += 1;
            let must_see = world.clients.seen;
            world.clients.reads.insert(ticket, (node, must_see));
            world.step(node, Input::Read(ticket));
        }
    }
}

pub fn write(world: &mut World, node: usize) {
    let now = world.micros(node);
    let count = world.rng.random_range(1..4u64);
    let first_command = world.clients.next_command;
    world.clients.next_command += count;
    let payloads = (0..count)
        .map(|n| Bytes::copy_from_slice(&(first_command + n).to_le_bytes()))
        .collect();
    let Some(process) = &mut world.nodes[node].process else {
        return;
    };
    // A client's patience is bounded, and so is what waits.
    if process.proposals.len() > 64 {
        return;
    }
    let Ok(Index(first)) = process.replica.propose(now, payloads) else {
        return;
    };
    for n in 0..count {
        process
            .proposals
            .insert(Index(first + n), first_command + n);
    }
    world.carry_out(node);
}

/// The short way: no question asked, only the lease looked at.
pub fn read_by_lease(world: &mut World, node: usize) {
    let now = world.micros(node);
    let must_see = world.clients.seen;
    let Some(process) = &mut world.nodes[node].process else {
        return;
    };
    if now >= process.replica.read_lease() || process.applied.index < process.replica.commit() {
        return;
    }
    let seen = process.state.len();
    let ticket = ReadTicket(world.clients.next_ticket);
    world.clients.next_ticket += 1;
    world.clients.reads.insert(ticket, (node, must_see));
    world
        .clients
        .read_answered(node, ticket, seen, world.report.seed);
    world.report.reads += 1;
}
