//! What goes wrong: crashes, pauses, cut and lossy links, slow disks, an absent API server.

use rand::Rng;
use rand::rngs::StdRng;

use crate::world::{Event, World};

const MS: u64 = 1_000;

/// The faults in force.
#[derive(Debug)]
pub struct Faults {
    /// `cut[a][b]`: nothing goes from a to b.
    cut: Vec<Vec<bool>>,
    /// Nodes that the operators cannot reach. Clients still can.
    hidden: Vec<bool>,
    pub drops: f64,
    pub slow_disk: Option<usize>,
    /// Whether the operators may let a primary go on alone (`durability: Available`).
    pub available: bool,
    /// How often a packet takes up to seconds.
    pub late: f64,
    active: bool,
    /// Mean time between faults of this run.
    every: u64,
}

impl Faults {
    pub fn new(rng: &mut StdRng, nodes: usize) -> Self {
        Self {
            cut: vec![vec![false; nodes]; nodes],
            hidden: vec![false; nodes],
            drops: if rng.random_bool(0.3) { 0.002 } else { 0.0 },
            slow_disk: None,
            available: rng.random_bool(0.25),
            late: if rng.random_bool(0.3) { 0.001 } else { 0.0 },
            active: true,
            every: rng.random_range(60 * MS..900 * MS),
        }
    }

    pub fn active(&self) -> bool {
        self.active
    }

    pub fn cuts(&self, from: usize, to: usize) -> bool {
        self.cut[from][to]
    }

    pub fn hides(&self, node: usize) -> bool {
        self.hidden[node]
    }

    /// Cuts the link between two nodes, both ways.
    pub fn cut_between(&mut self, one: usize, other: usize) {
        self.cut[one][other] = one != other;
        self.cut[other][one] = one != other;
    }

    pub fn end(&mut self) {
        self.active = false;
        self.calm();
    }

    /// Ends everything that can be ended.
    pub fn calm(&mut self) {
        self.drops = 0.0;
        self.late = 0.0;
        self.slow_disk = None;
        self.heal();
    }

    fn heal(&mut self) {
        self.cut
            .iter_mut()
            .flatten()
            .chain(&mut self.hidden)
            .for_each(|cut| *cut = false);
    }
}

/// Injects one fault, or ends some, and plans the next.
pub fn act(world: &mut World) {
    if !world.faults.active {
        return;
    }
    let every = world.faults.every;
    let after = world.rng.random_range(every / 2..every * 2);
    world.schedule(after, Event::Fault);
    if world.watching() {
        return;
    }
    world.report.faults += 1;
    let count = world.nodes.len();
    let node = world.rng.random_range(0..count);
    let other = world.rng.random_range(0..count);
    match world.rng.random_range(0..22) {
        0..=3 => {
            // Aim at the primary half of the time: that is where it hurts.
            let primary = world.recorded().map(|view| view.primary.clone());
            let primary = primary.and_then(|primary| world.index_of(&primary));
            let victim = primary
                .filter(|_| world.rng.random_bool(0.5))
                .unwrap_or(node);
            world.kill(victim);
            let down = world.rng.random_range(5 * MS..1_500 * MS);
            world.schedule(down, Event::Start(victim));
        }
        4 => {
            for node in 0..count {
                world.kill(node);
                let down = world.rng.random_range(50 * MS..500 * MS);
                world.schedule(down, Event::Start(node));
            }
        }
        5 => world.faults.cut[node][other] = node != other,
        6 => {
            // Aim at the primary: cut off but alive, it must neither acknowledge nor answer reads.
            let primary = world.recorded().map(|view| view.primary.clone());
            let primary = primary.and_then(|primary| world.index_of(&primary));
            let node = primary
                .filter(|_| world.rng.random_bool(0.6))
                .unwrap_or(node);
            world.faults.hidden[node] = world.rng.random_bool(0.8);
            for peer in (0..count).filter(|peer| *peer != node) {
                world.faults.cut[node][peer] = true;
                world.faults.cut[peer][node] = true;
            }
        }
        7 | 8 => world.faults.heal(),
        9 => world.faults.slow_disk = world.rng.random_bool(0.5).then_some(node),
        10 => world.api_up = !world.api_up || world.rng.random_bool(0.5),
        11 => {
            // Longer than every lease.
            let pause = world.rng.random_range(100 * MS..1_500 * MS);
            world.nodes[node].paused_until = world.now + pause;
        }
        12 => crate::volumes::replace(world, node),
        13 | 14 => world.nodes[node].backup = Some(world.nodes[node].disk.durable.clone()),
        15 | 16 => crate::volumes::roll_back(world, node),
        17 => crate::volumes::damage(world, node),
        18 => world.tell_foreign_view(node),
        19 => world.dial_twice(node),
        _ => {
            let release = world.rng.random_bool(0.5);
            world.checkpoint(node, release);
        }
    }
}
