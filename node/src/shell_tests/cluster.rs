//! A simulated cluster, driven from outside step by step: who is told which view, what is written, what
//! breaks; and what must be true of all of it at the end.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Once};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use standby_core::replica::{Input, RoleKind, Status};
use standby_core::{NodeId, Position, View};
use standby_interface::Refusal;
use standby_store::volume::PeerAddress;
use tokio::sync::oneshot;
use turmoil::{Builder, Sim};

use super::machine::{Image, Store};
use super::network::{Links, Network, PEER_PORT};
use super::node::{self, Live, Seat, cluster_id};
use crate::limits::{PEER_DEAD_AFTER_MS, PRIMARY_SILENT_MS};
use crate::replication::{Command, NODE_ENDS, Told};

/// How much time passes in a step.
const STEP_MS: u64 = 1;
/// Longer than anything may take that heals by itself.
pub const HEALED_MS: u64 = PRIMARY_SILENT_MS + PEER_DEAD_AFTER_MS + 10_000;
/// How long a node may take to say how it is.
const STATUS_MS: u64 = 100;
/// Connections that a node may have open while links break and heal: with each other node the one that
/// stands, and those of the last seconds that nobody knows to be dead yet.
const OPEN_MAX: usize = 24;
/// Bytes of a command.
const COMMAND_BYTES: usize = 700;

thread_local! {
    /// What was said by panics on this thread, which is all of a simulation's.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn note_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let said = panic.payload().downcast_ref::<String>().cloned();
            let said = said.unwrap_or_else(|| panic.to_string());
            if !said.starts_with(NODE_ENDS) {
                before(panic);
            }
            PANICS.with_borrow_mut(|panics| panics.push(said));
        }));
    });
}

/// A small generator, so that faults are determined by a number.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let at = usize::try_from(self.roll(from.len() as u64));
        from[at.expect("smaller than a length")]
    }
}

type Answer = Result<(Position, ()), Refusal>;

/// Some nodes, and the recorded view.
pub struct Cluster {
    pub sim: Sim<'static>,
    pub links: Links,
    seats: Vec<Arc<Seat>>,
    _dirs: Vec<tempfile::TempDir>,
    view: Option<View>,
    down: BTreeSet<usize>,
    waiting: Vec<(Bytes, oneshot::Receiver<Answer>)>,
    acknowledged: BTreeMap<Position, Bytes>,
    written: u64,
}

impl Cluster {
    /// `count` nodes without a view. Messages take so long.
    pub fn new(seed: u64, count: usize, delay_ms: RangeInclusive<u64>) -> Self {
        eprintln!("seed {seed}");
        note_panics();
        PANICS.with_borrow_mut(Vec::clear);
        let mut sim = Builder::new()
            .rng_seed(seed)
            .tick_duration(Duration::from_millis(STEP_MS))
            .min_message_latency(Duration::from_millis(*delay_ms.start()))
            .max_message_latency(Duration::from_millis(*delay_ms.end()))
            .tcp_capacity(128)
            .enable_random_order()
            .build();
        let links = Links::default();
        let (mut seats, mut dirs) = (Vec::new(), Vec::new());
        for at in 0..count {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let (name, open) = (format!("n{at}"), Arc::default());
            let seat = Arc::new(Seat {
                dir: dir.path().join("data"),
                store: Arc::new(Mutex::new(Store::default())),
                network: Network::new(&name, &links, &open),
                live: Mutex::new(None),
                ended: Mutex::new(Vec::new()),
                open,
                name,
            });
            let runs = Arc::clone(&seat);
            sim.host(seat.name.clone(), move || node::run(Arc::clone(&runs)));
            seats.push(seat);
            dirs.push(dir);
        }
        Self {
            sim,
            links,
            seats,
            _dirs: dirs,
            view: None,
            down: BTreeSet::new(),
            waiting: Vec::new(),
            acknowledged: BTreeMap::new(),
            written: 0,
        }
    }

    /// Three nodes, the first of them primary and the second waited for. Messages take up to `delay_ms`.
    pub fn of_three(seed: u64, delay_ms: u64) -> Self {
        Self::of_three_with(seed, 1..=delay_ms)
    }

    /// The same with nodes in far places: every message takes `delay_ms`, never less.
    pub fn of_three_far(seed: u64, delay_ms: u64) -> Self {
        Self::of_three_with(seed, delay_ms..=delay_ms)
    }

    fn of_three_with(seed: u64, delay_ms: RangeInclusive<u64>) -> Self {
        let mut cluster = Self::new(seed, 3, delay_ms);
        cluster.first(0);
        cluster.pair(0, 1);
        cluster
    }

    /// Lets a little time pass. A process that has ended by itself is started again.
    pub fn step(&mut self) {
        let stepped = self.sim.step();
        stepped.unwrap_or_else(|error| panic!("{error}"));
        for at in 0..self.seats.len() {
            let name = self.seats[at].name.clone();
            if !self.down.contains(&at) && !self.sim.is_host_running(name.clone()) {
                self.sim.bounce(name);
            }
            let open = self.seats[at].open.load(Ordering::Relaxed);
            assert!(open <= OPEN_MAX, "n{at} has {open} connections open");
        }
        let acknowledged = &mut self.acknowledged;
        self.waiting
            .retain_mut(|(command, answer)| match answer.try_recv() {
                Ok(Ok((position, ()))) => {
                    let before = acknowledged.insert(position, command.clone());
                    assert_eq!(before, None, "two commands were acknowledged at {position}");
                    false
                }
                Err(oneshot::error::TryRecvError::Empty) => true,
                Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => false,
            });
    }

    pub fn pass(&mut self, millis: u64) {
        for _ in 0..millis / STEP_MS {
            self.step();
        }
    }

    /// Lets time pass until something is true; says how much did.
    pub fn until(&mut self, what: &str, limit_ms: u64, is: impl Fn(&mut Self) -> bool) -> u64 {
        let begun = self.sim.elapsed();
        loop {
            if is(self) {
                break;
            }
            self.step();
            let passed = self.sim.elapsed().saturating_sub(begun).as_millis();
            assert!(
                passed < u128::from(limit_ms),
                "not within {limit_ms} ms: {what}; {}",
                self.describe()
            );
        }
        let passed = self.sim.elapsed().saturating_sub(begun).as_millis();
        u64::try_from(passed).expect("a short time")
    }

    fn describe(&mut self) -> String {
        let all: Vec<_> = (0..self.seats.len()).map(|at| self.status(at)).collect();
        format!("{all:#?}")
    }

    pub fn live(&self, at: usize) -> Option<Live> {
        self.seats[at].live.lock().clone()
    }

    pub fn id(&self, at: usize) -> NodeId {
        self.live(at).expect("it runs").node
    }

    pub fn store(&self, at: usize) -> Arc<Mutex<Store>> {
        Arc::clone(&self.seats[at].store)
    }

    /// What its processes said that ended by themselves.
    pub fn ended(&self, at: usize) -> usize {
        self.seats[at].ended.lock().len()
    }

    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// What the node says of itself, if it runs and answers.
    pub fn status(&mut self, at: usize) -> Option<Status> {
        let live = self.live(at)?;
        let (reply, mut status) = oneshot::channel();
        live.driver.send(Command::Status(reply)).ok()?;
        for _ in 0..STATUS_MS {
            self.step();
            if let Ok(status) = status.try_recv() {
                return Some(status);
            }
        }
        None
    }

    /// Tells these nodes the recorded view.
    pub fn tell(&self, to: &[usize], await_nodes: &BTreeSet<NodeId>) {
        let peers = self.seats.iter().map(|seat| PeerAddress {
            name: seat.name.clone(),
            peer: format!("{}:{PEER_PORT}", seat.name),
            client_url: String::new(),
        });
        let peers: Vec<_> = peers.collect();
        let view = self.view.clone().expect("a view is recorded");
        for live in to.iter().filter_map(|at| self.live(*at)) {
            let told = Told::Addresses {
                peers: peers.clone(),
                client_url: "http://rw".into(),
            };
            let input = Input::View {
                view: view.clone(),
                await_nodes: await_nodes.clone(),
                previous_stopped: false,
            };
            // A process that ends just now hears of it later.
            let _ = live.driver.send(Command::Told(told));
            let _ = live.driver.send(Command::Input(input));
        }
    }

    fn everybody(&self) -> Vec<usize> {
        (0..self.seats.len()).collect()
    }

    fn first(&mut self, at: usize) {
        self.step();
        self.view = Some(View::first(cluster_id(), self.id(at)));
        self.tell(&self.everybody(), &BTreeSet::new());
        self.until("the first primary", HEALED_MS, |now| {
            now.status(at).is_some_and(|s| s.role == RoleKind::Primary)
        });
    }

    /// Records a view and tells these nodes.
    fn record(&mut self, next: View, to: &[usize]) {
        let view = self.view.as_ref().expect("a view is recorded");
        view.check_successor(&next).expect("it may follow");
        self.view = Some(next);
        self.tell(to, &BTreeSet::new());
    }

    /// Makes the primary wait for another node, as soon as that one has everything.
    pub fn pair(&mut self, primary: usize, with: usize) {
        let standby = BTreeSet::from([self.id(with)]);
        let everybody = self.everybody();
        self.tell(&everybody, &standby);
        let node = self.id(with);
        self.until("a complete standby", HEALED_MS, |now| {
            let epoch = now.view.as_ref().map(|view| view.epoch);
            now.status(primary).is_some_and(|status| {
                let current = status.view.as_ref().map(|view| view.epoch) == epoch;
                let mut peers = status.peers.iter();
                current && peers.any(|peer| peer.complete && peer.node == node)
            })
        });
        let next = self.view.as_ref().expect("recorded");
        let next = next.with_synchronous(standby);
        self.record(next, &everybody);
        self.until("a serving primary", HEALED_MS, |now| {
            now.status(primary).is_some_and(|status| status.serving)
        });
    }

    /// Makes another node primary; only these are told.
    pub fn promote(&mut self, at: usize, to: &[usize]) {
        let next = self.view.as_ref().expect("recorded").promote(self.id(at));
        self.record(next, to);
        self.until("a new primary", HEALED_MS, |now| {
            now.status(at).is_some_and(|s| s.role == RoleKind::Primary)
        });
    }

    /// Writes something where the primary is, if it runs.
    pub fn write(&mut self, at: usize) {
        let Some(live) = self.live(at) else { return };
        let mut command = format!("command {:06} ", self.written).into_bytes();
        command.resize(COMMAND_BYTES, b'.');
        let command = Bytes::from(command);
        self.written += 1;
        let (reply, answer) = oneshot::channel();
        if live.proposals.add((command.clone(), reply)) {
            // A process that ends just now answers nothing.
            let _ = live.driver.send(Command::Proposed);
        }
        self.waiting.push((command, answer));
    }

    /// Writes so much, a command a step, and waits until all of it is acknowledged.
    pub fn write_all(&mut self, at: usize, count: usize) {
        for _ in 0..count {
            self.write(at);
            self.step();
        }
        self.until("acknowledgements", HEALED_MS, |now| now.waiting.is_empty());
    }

    /// Forgets writes that nobody will answer any more: they are in doubt.
    pub fn give_up_waiting(&mut self) {
        self.waiting.clear();
    }

    /// Kills the process; its host goes on and refuses connections.
    pub fn kill(&mut self, at: usize) {
        let name = self.seats[at].name.clone();
        self.down.insert(at);
        *self.seats[at].live.lock() = None;
        self.links.set_refusing(&name, true);
        self.sim.crash(name);
    }

    pub fn start(&mut self, at: usize) {
        let name = self.seats[at].name.clone();
        self.down.remove(&at);
        self.links.set_refusing(&name, false);
        self.sim.bounce(name);
    }

    fn names(&self, one: usize, other: usize) -> (String, String) {
        (self.seats[one].name.clone(), self.seats[other].name.clone())
    }

    /// Loses everything that `from` sends to `to`.
    pub fn cut_one_way(&mut self, from: usize, to: usize) {
        let (from, to) = self.names(from, to);
        self.links.cut(&from, &to);
        self.sim.partition_oneway(from, to);
    }

    pub fn cut(&mut self, one: usize, other: usize) {
        let (one, other) = self.names(one, other);
        self.links.cut(&one, &other);
        self.links.cut(&other, &one);
        self.sim.partition(one, other);
    }

    pub fn mend(&mut self, one: usize, other: usize) {
        let (one, other) = self.names(one, other);
        self.links.mend(&one, &other);
        self.sim.repair(one, other);
    }

    /// Holds back what two nodes send each other, until it is released.
    pub fn hold(&mut self, one: usize, other: usize) {
        let (one, other) = self.names(one, other);
        self.sim.hold(one, other);
    }

    pub fn release(&mut self, one: usize, other: usize) {
        let (one, other) = self.names(one, other);
        self.sim.release(one, other);
    }

    /// Waits until all nodes have applied all that the primary has; then nothing that was ever
    /// acknowledged is missing or stands elsewhere, all say the same, nothing is there twice, and no
    /// connection is left over.
    pub fn check(mut self, primary: usize) {
        self.until("everybody has everything", HEALED_MS, |now| {
            let image = |at: usize| now.seats[at].store.lock().now.position;
            let same = (0..now.seats.len()).all(|at| image(at) == image(primary));
            let last = now.live(primary).map(|live| live.shared.commit());
            same && now.waiting.is_empty() && last == Some(image(primary).index)
        });
        let count = self.seats.len();
        self.until("one connection a follower", HEALED_MS, |now| {
            (0..count).all(|at| {
                let wanted = if at == primary { count - 1 } else { 1 };
                now.seats[at].open.load(Ordering::Relaxed) == wanted
            })
        });
        let images: Vec<Image> = (0..count)
            .map(|at| self.seats[at].store.lock().now.clone())
            .collect();
        for (at, image) in images.iter().enumerate() {
            assert!(*image == images[primary], "n{at} says something else");
        }
        let found: BTreeMap<_, _> = images[primary].commands.iter().cloned().collect();
        for (position, command) in &self.acknowledged {
            assert_eq!(found.get(position), Some(command), "lost at {position}");
        }
        let once: BTreeSet<_> = found.values().collect();
        assert_eq!(once.len(), images[primary].commands.len(), "doubled");
        PANICS.with_borrow(|panics| {
            for said in panics {
                assert!(said.starts_with(NODE_ENDS), "{said}");
            }
        });
    }
}
