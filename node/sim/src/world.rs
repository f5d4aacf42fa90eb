//! The world: time and events, processes that start and end, the recorded view.

mod event;
mod network;
mod shell;

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use standby_core::replica::{Input, Mutant, SessionId, Timing};
use standby_core::{Micros, NodeId, View};

use crate::clients::Clients;
use crate::disk::Disk;
use crate::faults::Faults;
use crate::invariants;
use crate::node::SimNode;
use crate::operator::Operator;

pub(crate) use event::Event;
use event::discriminant;

const MS: u64 = 1_000;
/// How long the faults last.
const SAFETY_PHASE: u64 = 12_000 * MS;
/// After the faults the cluster must be writable within this time.
const HEAL_WITHIN: u64 = 12_000 * MS;
/// Then, without new writes, every node must have everything within this time. Packets that were sent
/// before the faults ended may take seconds.
const CATCH_UP: u64 = 5_000 * MS;
const TICK_EVERY: u64 = 20 * MS;
/// How far the clock of a node is off, at most, in parts per million. Within one lease two clocks then
/// part by far less than the drift that leases allow for.
const CLOCK_PPM: i64 = 5_000;
const REDIAL_AFTER: u64 = 50 * MS;
/// A connection that lost a packet is noticed to be dead after this time.
const DEAD_CONNECTION: u64 = 400 * MS;

#[derive(Debug)]
struct Connection {
    ends: [(usize, u64); 2],
    /// The earliest time the next packet toward each end may arrive: packets keep their order.
    arrives: [u64; 2],
    broken: bool,
}

/// What a run did, for statistics and for the test of determinism.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Events processed.
    pub events: u64,
    /// Writes acknowledged to clients.
    pub acknowledged: u64,
    /// Linearizable reads answered.
    pub reads: u64,
    /// Views recorded.
    pub views: u64,
    /// Views that made another node primary.
    pub promotions: u64,
    /// Faults injected.
    pub faults: u64,
    /// Volumes destroyed and replaced by empty ones.
    pub replaced: u64,
    /// Volumes that were given up because somebody noticed that they had lost something.
    pub discards: u64,
    /// Snapshots that reached a follower.
    pub snapshots: u64,
    /// Hash over every event, in order.
    pub trace: u64,
}

/// One simulated cluster.
#[derive(Debug)]
pub struct World {
    pub(crate) now: u64,
    pub(crate) rng: StdRng,
    pub(crate) nodes: Vec<SimNode>,
    /// The recorded views, by epoch; the last is the current one.
    pub(crate) views: BTreeMap<standby_core::Epoch, (View, u64)>,
    pub(crate) api_up: bool,
    pub(crate) operators: Vec<Operator>,
    pub(crate) clients: Clients,
    pub(crate) faults: Faults,
    pub(crate) report: Report,
    /// Volumes that were destroyed; they never come back.
    pub(crate) retired: BTreeSet<NodeId>,
    /// When a volume was last destroyed or spoiled.
    pub(crate) volume_fault_at: u64,
    /// A place that was rolled back, and until when somebody must notice. No other fault meanwhile.
    pub(crate) watched: Option<(usize, u64)>,
    volumes: u64,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    connections: BTreeMap<SessionId, Connection>,
    next_session: u64,
}

/// Runs one seed to the end. Panics with the seed when an invariant is broken.
#[must_use]
pub fn run(seed: u64) -> Report {
    run_with(seed, None)
}

/// Like [`run`], with a rule that every node breaks on purpose.
///
/// # Panics
/// When an invariant is broken, or the cluster does not heal.
#[must_use]
pub fn run_with(seed: u64, mutant: Option<Mutant>) -> Report {
    let mut world = World::new(seed, None, mutant);
    world.begin();
    world.run_until(SAFETY_PHASE);
    world.end_faults();
    let acknowledged = world.report.acknowledged;
    let deadline = world.now + HEAL_WITHIN;
    while world.report.acknowledged < acknowledged + 5 {
        assert!(
            world.now < deadline,
            "seed {seed}: not writable {HEAL_WITHIN} us after the last fault: {:?}",
            world.describe()
        );
        world.run_one();
    }
    world.clients.stopped = true;
    world.run_until(world.now + CATCH_UP);
    invariants::converged::check(&world);
    world.report
}

impl World {
    /// So many nodes and nobody who acts on them but a script.
    pub(crate) fn scripted(seed: u64, count: usize, mutant: Option<Mutant>) -> Self {
        let mut world = Self::new(seed, Some(count), mutant);
        world.faults.end();
        world
    }

    fn new(seed: u64, count: Option<usize>, mutant: Option<Mutant>) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let drawn = rng.random_range(2..=6);
        let count = count.unwrap_or(drawn);
        let mut nodes: Vec<_> = (0..count)
            .map(|n| SimNode::new(NodeId::new(format!("n{n}"), format!("{n:016x}"))))
            .collect();
        for node in &mut nodes {
            node.mutant = mutant;
            node.clock_ppm = rng.random_range(-CLOCK_PPM..=CLOCK_PPM);
        }
        let mut world = Self {
            now: 0,
            nodes,
            views: BTreeMap::new(),
            api_up: true,
            operators: vec![Operator::default(), Operator::default()],
            clients: Clients::new(3),
            faults: Faults::new(&mut rng, count),
            report: Report {
                seed,
                ..Report::default()
            },
            events: BTreeMap::new(),
            sequence: 0,
            connections: BTreeMap::new(),
            next_session: 0,
            retired: BTreeSet::new(),
            volume_fault_at: 0,
            watched: None,
            volumes: 1 << 32,
            rng,
        };
        for node in 0..count {
            world.schedule(0, Event::Start(node));
        }
        world
    }

    /// Operators, clients and faults begin to act.
    fn begin(&mut self) {
        for operator in 0..2 {
            self.schedule(10 * MS, Event::Operator(operator));
        }
        for client in 0..3 {
            self.schedule(20 * MS, Event::Client(client));
        }
        self.schedule(1_000 * MS, Event::Fault);
    }

    pub(crate) fn schedule(&mut self, after: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + after, self.sequence), event);
    }

    pub(crate) fn recorded(&self) -> Option<&View> {
        self.views.last_key_value().map(|(_, (view, _))| view)
    }

    /// What the clock of a place says.
    pub(crate) fn micros(&self, node: usize) -> Micros {
        let ppm = self.nodes[node].clock_ppm;
        let gained = i64::try_from(self.now).expect("a run lasts seconds") * ppm / 1_000_000;
        // Far from zero, so that spans before the start never saturate.
        Micros((self.now + 3_600_000_000).saturating_add_signed(gained))
    }

    /// Where a node is whose volume is neither destroyed nor spoiled.
    pub(crate) fn sound(&self, node: &NodeId) -> Option<usize> {
        let at = self.index_of(node);
        assert!(
            at.is_some() || self.retired.contains(node),
            "views name nodes of this cluster"
        );
        at.filter(|at| !self.nodes[*at].disk.spoiled)
    }

    /// Whether a volume that was rolled back waits to be noticed.
    pub(crate) fn watching(&self) -> bool {
        if let Some((node, until)) = self.watched {
            assert!(
                self.now < until,
                "seed {}: V11: nobody noticed that n{node} was rolled back: {:#?}",
                self.report.seed,
                self.describe()
            );
        }
        self.watched.is_some()
    }

    pub(crate) fn records_are_under_way(&self) -> bool {
        self.events
            .values()
            .any(|event| matches!(event, Event::Record { .. } | Event::StepDown { .. }))
    }

    /// A place gets a new, empty volume, and so a new identity.
    pub(crate) fn renew(&mut self, node: usize) {
        self.kill(node);
        self.volumes += 1;
        let name = self.nodes[node].disk.node.name.clone();
        let fresh = Disk::new(NodeId::new(name, format!("{:016x}", self.volumes)));
        let old = std::mem::replace(&mut self.nodes[node].disk, fresh);
        self.retired.insert(old.node);
        self.nodes[node].backup = None;
        for operator in &mut self.operators {
            operator.forget(node);
        }
        if self.watched.is_some_and(|(watched, _)| watched == node) {
            self.watched = None;
        }
        self.schedule(20 * MS, Event::Start(node));
    }

    /// Somebody tells a place the view of another cluster.
    pub(crate) fn tell_foreign_view(&mut self, node: usize) {
        let primary = self.nodes[node].disk.node.clone();
        let view = View::first(standby_core::ClusterId("other".into()), primary);
        self.schedule(
            MS,
            Event::Push {
                node,
                view,
                await_nodes: BTreeSet::new(),
                previous_stopped: false,
            },
        );
    }

    pub(crate) fn index_of(&self, node: &NodeId) -> Option<usize> {
        self.nodes.iter().position(|n| n.disk.node == *node)
    }

    pub(crate) fn run_until(&mut self, end: u64) {
        while self.now < end {
            self.run_one();
        }
    }

    fn run_one(&mut self) {
        let Some(((at, sequence), event)) = self.events.pop_first() else {
            panic!("seed {}: nothing is left to happen", self.report.seed);
        };
        self.now = at;
        self.report.events += 1;
        let mark = at ^ sequence.rotate_left(32) ^ discriminant(&event);
        self.report.trace = self.report.trace.rotate_left(5).wrapping_mul(0x9E37_79B9) ^ mark;
        self.happen(event);
    }

    /// What a paused process finds when it goes on, in the order in which it happened.
    fn postponed(&mut self, event: Event) -> Option<Event> {
        let (Event::Deliver { to: node, run, .. }
        | Event::Closed { to: node, run, .. }
        | Event::DiskDone { node, run }) = event
        else {
            return Some(event);
        };
        if !self.waits_for_pause(node, run) {
            return Some(event);
        }
        let after = self.nodes[node].paused_until - self.now;
        self.schedule(after, event);
        None
    }

    fn happen(&mut self, event: Event) {
        let Some(event) = self.postponed(event) else {
            return;
        };
        match event {
            Event::Start(node) => self.start(node),
            Event::StartFromBackup(node) => {
                crate::volumes::put_back(self, node);
                self.start(node);
            }
            Event::Tick { node, run } => {
                if self.runs(node, run) {
                    self.step(node, Input::Tick);
                    self.schedule(TICK_EVERY, Event::Tick { node, run });
                }
            }
            Event::DiskDone { node, run } => self.disk_done(node, run),
            Event::Dial { node, run } => self.dial(node, run),
            Event::Connect { node, run, target } => self.connect(node, run, target),
            Event::Deliver {
                session,
                to,
                run,
                packet,
            } => {
                if self.runs(to, run) {
                    self.deliver(session, to, packet);
                }
            }
            Event::Closed { session, to, run } => self.closed(session, to, run),
            Event::Push {
                node,
                view,
                await_nodes,
                previous_stopped,
            } => {
                if self.nodes[node].process.is_some() {
                    self.step(
                        node,
                        Input::View {
                            view,
                            await_nodes,
                            previous_stopped,
                        },
                    );
                }
            }
            Event::StepDown { node, epoch } => {
                if self.nodes[node].process.is_some() {
                    self.step(node, Input::StepDown(epoch));
                }
            }
            Event::Record { based_on, view } => self.record(based_on, view),
            Event::Operator(which) => crate::operator::act(self, which),
            Event::Client(which) => crate::clients::act(self, which),
            Event::Fault => crate::faults::act(self),
        }
    }

    pub(crate) fn runs(&self, node: usize, run: u64) -> bool {
        self.nodes[node].process.is_some() && self.nodes[node].run == run
    }

    pub(super) fn waits_for_pause(&self, node: usize, run: u64) -> bool {
        self.runs(node, run) && self.nodes[node].paused_until > self.now
    }

    pub(super) fn start(&mut self, node: usize) {
        if self.nodes[node].process.is_some() {
            return;
        }
        let now = self.micros(node);
        self.nodes[node].start(now, Timing::default());
        let run = self.nodes[node].run;
        self.carry_out(node);
        self.schedule(TICK_EVERY, Event::Tick { node, run });
        self.schedule(MS, Event::Dial { node, run });
    }

    /// Ends a process at once.
    pub(crate) fn kill(&mut self, node: usize) {
        if self.nodes[node].process.take().is_none() {
            return;
        }
        let mut rng = StdRng::seed_from_u64(self.rng.random());
        self.nodes[node].disk.crash(&mut rng);
        self.nodes[node].paused_until = 0;
        self.clients.forget_node(node);
        let gone: Vec<_> = self.connections.keys().copied().collect();
        for session in gone {
            if self.connections[&session]
                .ends
                .iter()
                .any(|(n, _)| *n == node)
            {
                self.break_connection(session, 2 * MS);
            }
        }
    }

    pub(crate) fn step(&mut self, node: usize, input: Input) {
        let paused = self.nodes[node].paused_until > self.now;
        let now = self.micros(node);
        if let Some(process) = &mut self.nodes[node].process
            && !paused
        {
            process.replica.step(now, input);
            self.carry_out(node);
        }
    }

    // === the recorded view ===

    pub(crate) fn record(&mut self, based_on: Option<standby_core::Epoch>, view: View) {
        if !self.api_up || self.recorded().map(|v| v.epoch) != based_on {
            return;
        }
        invariants::views_are_safe::check(self, &view);
        self.report.views += 1;
        if self.recorded().is_some_and(|v| v.primary != view.primary) {
            self.report.promotions += 1;
        }
        self.views.insert(view.epoch, (view, self.now));
        invariants::complete_has_everything::check(self);
    }

    fn end_faults(&mut self) {
        self.faults.end();
        if let Some((_, until)) = self.watched {
            self.run_until(until.min(self.now + 4_000 * MS));
        }
        self.api_up = true;
        for node in 0..self.nodes.len() {
            self.schedule(10 * MS, Event::Start(node));
        }
    }

    fn describe(&self) -> Vec<String> {
        let mut lines: Vec<_> = self
            .nodes
            .iter()
            .enumerate()
            .map(|(at, node)| match &node.process {
                None => format!("{} is down", node.disk.node),
                Some(process) => {
                    format!(
                        "{}: {:?}",
                        node.disk.node,
                        process.replica.status(self.micros(at))
                    )
                }
            })
            .collect();
        lines.push(format!("recorded: {:?}", self.recorded()));
        lines
    }
}
