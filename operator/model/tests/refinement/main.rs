//! Ties the model to the code: the product's replicas and the product's planner are driven through random
//! schedules, and after each thing that happens the model must allow what became of it. Broken replicas
//! show that this can fail.

mod operators;

mod projection;
mod script;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use standby_core::replica::{Input, Mutant, RoleKind};
use standby_core::{Epoch, NodeId, View};

use operators::Operator;
use projection::Pair;
use world::World;

/// Things that happen in one run.
const STEPS: usize = 800;
/// The model has room for so many epochs.
const EPOCHS_MAX: u64 = 7;
/// Entries of one epoch the model has room for.
const ENTRIES_MAX: usize = 3;
/// Random runs with sound replicas.
const SEEDS: u64 = 60;

/// What is counted over all runs, so that a driver that does nothing is noticed.
#[derive(Debug, Default)]
struct Counts {
    recorded_by_planner: u64,
    recorded_by_hand: u64,
    recovered: u64,
    commits: u64,
    promotions: u64,
}

struct Driver {
    rng: StdRng,
    world: World,
    pair: Pair,
    operators: [Operator; 2],
    /// Every view that may still be on its way, by epoch.
    views: BTreeMap<u64, View>,
    recorded: Option<View>,
    replaced: bool,
    restored: bool,
    counts: Counts,
}

fn node(serial: u32, volume: u32) -> NodeId {
    NodeId::new(format!("db-{serial}"), format!("{volume:016x}"))
}

impl Driver {
    fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let nodes: Vec<NodeId> = (1..=3).map(|serial| node(serial, serial)).collect();
        Self {
            rng: StdRng::seed_from_u64(seed),
            pair: Pair::new(&nodes),
            world: World::new(nodes, mutant),
            operators: [Operator::default(), Operator::default()],
            views: BTreeMap::new(),
            recorded: None,
            replaced: false,
            restored: false,
            counts: Counts::default(),
        }
    }

    fn epoch(&self) -> u64 {
        self.recorded.as_ref().map_or(0, |view| view.epoch.0)
    }

    fn highest(&self) -> u64 {
        let stored = |place: &world::Place| place.disk.view.as_ref().map_or(0, |v| v.epoch.0);
        self.world.places.iter().map(stored).max().unwrap_or(0)
    }

    fn follow(&mut self, what: String) {
        let before = self.pair.state.committed;
        self.pair.follow(what, &self.world, self.recorded.as_ref());
        self.counts.commits += u64::from(self.pair.state.committed != before);
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            self.one();
        }
    }

    fn one(&mut self) {
        let at = self.rng.random_range(0..3_usize);
        match self.rng.random_range(0..100) {
            0..=44 => self.deliver(),
            45..=62 => self.disk(),
            63..=67 => {
                self.world.dial(at);
                self.follow(format!("{at} dials"));
            }
            68..=74 => {
                let millis = self.rng.random_range(5..250);
                self.world.pass(millis);
                self.follow(format!("{millis} ms pass"));
            }
            75..=78 => self.propose(at),
            79..=85 => self.operator(),
            86..=90 => self.write(),
            91 | 92 => self.tell(at),
            93 => self.by_hand(),
            94 => self.kill(at),
            95 | 96 => self.start(at),
            97 => self.cut(),
            98 => self.step_down(at),
            _ if self.rng.random_bool(0.5) => self.lose(at),
            _ => self.restore(),
        }
    }

    fn deliver(&mut self) {
        let links = self.world.links();
        if let Some((session, up)) = links.choose(&mut self.rng) {
            self.world.deliver(*session, *up);
            self.follow(format!("a message arrives on {session:?}, up {up}"));
        }
    }

    fn disk(&mut self) {
        let busy: Vec<usize> = (0..3).filter(|at| self.world.has_jobs(*at)).collect();
        if let Some(at) = busy.choose(&mut self.rng) {
            self.world.finish(*at);
            self.follow(format!("the disk of {at} finishes a job"));
        }
    }

    fn propose(&mut self, at: usize) {
        let Some(process) = &self.world.places[at].process else {
            return;
        };
        let epoch = process.replica.epoch();
        let written = process.log.iter().filter(|e| e.position.epoch == epoch);
        if written.count() < ENTRIES_MAX {
            self.world.propose(at);
            self.follow(format!("a write is proposed to {at}"));
        }
    }

    fn operator(&mut self) {
        let which = self.rng.random_range(0..2_usize);
        // After a restore somebody tells that the object is old: that much is assumed.
        let all = self.highest() > self.epoch();
        let recorded = self.recorded.clone();
        let operator = &mut self.operators[which];
        let (plan, told) = operator.turn(&self.world, recorded.as_ref(), all, &mut self.rng);
        if let (Some(view), Some(await_nodes)) = (recorded, told) {
            for at in 0..3 {
                if self.rng.random_bool(0.6) {
                    self.world.tell(at, &view, await_nodes.clone());
                    self.follow(format!(
                        "operator {which} tells {at} {view}, await {await_nodes:?}"
                    ));
                }
            }
        }
        self.follow(format!("operator {which} plans: {}", plan.phase));
    }

    fn record(&mut self, view: &View, what: &str) {
        let promoted = self
            .recorded
            .as_ref()
            .is_none_or(|before| before.primary != view.primary);
        self.counts.promotions += u64::from(promoted);
        self.views.insert(view.epoch.0, view.clone());
        self.recorded = Some(view.clone());
        self.follow(format!("{what} {view}, complete {:?}", view.complete));
    }

    fn write(&mut self) {
        let which = self.rng.random_range(0..2_usize);
        let recovers = self.highest() > self.epoch();
        let written = self.operators[which].write(self.recorded.as_ref());
        if let Some(view) = written.filter(|view| view.epoch.0 <= EPOCHS_MAX) {
            self.counts.recorded_by_planner += 1;
            self.counts.recovered += u64::from(recovers);
            self.record(&view, "the planner records");
        }
    }

    /// Somebody tells a node a view, perhaps one of long ago, and perhaps whom to wait for.
    fn tell(&mut self, at: usize) {
        let views: Vec<View> = self.views.values().cloned().collect();
        let Some(view) = views.choose(&mut self.rng) else {
            return;
        };
        let mut await_nodes = BTreeSet::new();
        let other = self.rng.random_range(0..3_usize);
        let other = self.world.places[other].node.clone();
        if other != view.primary && self.rng.random_bool(0.4) {
            await_nodes.insert(other);
        }
        self.world.tell(at, view, await_nodes.clone());
        self.follow(format!("{at} is told {view}, await {await_nodes:?}"));
    }

    /// A change that the rules allow and no planner would want: safety must not rest on that.
    fn by_hand(&mut self) {
        let Some(view) = self.recorded.clone() else {
            return;
        };
        let seldom = self.rng.random_bool(0.6);
        if seldom || view.epoch.0 >= EPOCHS_MAX || self.highest() > view.epoch.0 {
            return;
        }
        let next = if self.rng.random_bool(0.5) {
            let complete: Vec<_> = view.complete.iter().cloned().collect();
            complete
                .choose(&mut self.rng)
                .map(|node| view.promote(node.clone()))
        } else {
            self.reported(&view).map(|set| view.with_synchronous(set))
        };
        if let Some(next) = next.filter(|next| view.check_successor(next).is_ok()) {
            self.counts.recorded_by_hand += 1;
            self.record(&next, "somebody records");
        }
    }

    /// Some of those that the primary says have everything.
    fn reported(&mut self, view: &View) -> Option<BTreeSet<NodeId>> {
        let status = self.world.status(self.world.at(&view.primary)?)?;
        let leads = matches!(status.role, RoleKind::Primary | RoleKind::SteppedDown);
        if !leads || status.view.as_ref() != Some(view) {
            return None;
        }
        let complete = status.peers.iter().filter(|peer| peer.complete);
        let set: BTreeSet<NodeId> = complete
            .filter(|_| self.rng.random_bool(0.7))
            .map(|peer| peer.node.clone())
            .collect();
        (!set.is_empty()).then_some(set)
    }

    fn kill(&mut self, at: usize) {
        self.world.kill(at);
        self.follow(format!("{at} ends"));
        if self.rng.random_bool(0.7) {
            self.start(at);
        }
    }

    fn start(&mut self, at: usize) {
        if self.world.places[at].process.is_none() {
            self.world.start(at);
            self.follow(format!("{at} starts"));
        }
    }

    fn cut(&mut self) {
        let links = self.world.links();
        if let Some((session, _)) = links.choose(&mut self.rng) {
            self.world.cut(*session);
            self.follow(format!("{session:?} is cut"));
        }
    }

    fn step_down(&mut self, at: usize) {
        if self.rng.random_bool(0.3) {
            let epoch = Epoch(self.epoch());
            self.world.input(at, Input::StepDown(epoch));
            self.follow(format!("{at} is asked to step down in epoch {epoch}"));
        }
    }

    /// The last copy of what was acknowledged is not lost: the model's own bound.
    fn lose(&mut self, at: usize) {
        if self.replaced || self.rng.random_bool(0.8) {
            return;
        }
        let id = self.pair.id(&self.world.places[at].node).expect("known");
        let state = &self.pair.state;
        let holds = |other: u8| state.committed.is_prefix_of(state.node(other).log);
        if !state.here().any(|other| other != id && holds(other)) {
            return;
        }
        self.replaced = true;
        let recovers = self.highest() > self.epoch();
        let new = node(u32::try_from(at).expect("few") + 1, 4);
        self.pair.replaced(new.clone());
        self.world.destroy(at, new);
        for operator in &mut self.operators {
            operator.forget(at);
            // Written now it would be as if it had been written before: nothing depends on the order.
            if recovers || self.recorded.is_none() {
                operator.decided = None;
            }
        }
        self.follow(format!("the volume of {at} is lost"));
        self.start(at);
    }

    /// The object is put back, or lost. What nobody has stored since does not arrive any more, and
    /// nobody writes what he decided before.
    fn restore(&mut self) {
        if self.restored || self.rng.random_bool(0.8) {
            return;
        }
        while let Some(at) = (0..3).find(|at| self.world.has_jobs(*at)) {
            self.world.finish(at);
            self.follow(format!("the disk of {at} finishes a job"));
        }
        let earlier: Vec<u64> = (0..self.epoch()).collect();
        let Some(epoch) = earlier.choose(&mut self.rng).copied() else {
            return;
        };
        let known = epoch == 0
            || self
                .pair
                .state
                .view(u8::try_from(epoch).expect("small"))
                .is_some();
        if !known {
            return;
        }
        self.restored = true;
        self.recorded = self.views.get(&epoch).cloned();
        let stored: BTreeSet<u64> = self
            .world
            .places
            .iter()
            .filter_map(|place| place.disk.view.as_ref().map(|view| view.epoch.0))
            .collect();
        self.views
            .retain(|at, _| *at <= epoch || stored.contains(at));
        for operator in &mut self.operators {
            *operator = Operator::default();
        }
        self.follow(format!("the view object is put back to epoch {epoch}"));
    }
}

fn random_run(seed: u64, mutant: Option<Mutant>) -> Counts {
    let mut driver = Driver::new(seed, mutant);
    driver.run();
    driver.counts
}

#[test]
fn the_model_allows_whatever_replicas_and_planner_do() {
    let mut sum = Counts::default();
    for seed in 0..SEEDS {
        let counts = random_run(seed, None);
        sum.recorded_by_planner += counts.recorded_by_planner;
        sum.recorded_by_hand += counts.recorded_by_hand;
        sum.recovered += counts.recovered;
        sum.commits += counts.commits;
        sum.promotions += counts.promotions;
    }
    println!("{sum:?}");
    let moved = sum.recorded_by_planner.min(sum.commits).min(sum.promotions);
    assert!(moved > SEEDS / 2 && sum.recovered > SEEDS / 20, "{sum:?}");
}

/// Panics are expected; their texts would drown the one that matters.
fn caught(mutant: Mutant, seeds: u64) -> Option<u64> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let run = |seed: &u64| {
        let seed = *seed;
        catch_unwind(AssertUnwindSafe(|| _ = random_run(seed, Some(mutant)))).is_err()
    };
    let found = (0..seeds).find(run);
    std::panic::set_hook(hook);
    found
}

/// Seeds within which each broken replica must be noticed.
const MUTANT_SEEDS: u64 = 60;

#[test]
fn the_model_refuses_what_broken_replicas_do() {
    for mutant in [
        Mutant::AppendOfLowerEpoch,
        Mutant::AcknowledgeOnOwnDisk,
        Mutant::ResumeInSameEpoch,
        Mutant::CommitInBareView,
        Mutant::PromiseIgnored,
        Mutant::CompleteWithPartOfLog,
        Mutant::AnswerToEarlierHello,
    ] {
        let seed = caught(mutant, MUTANT_SEEDS);
        println!("{mutant:?}: noticed by seed {seed:?}");
        assert!(seed.is_some(), "{mutant:?} passed {MUTANT_SEEDS} seeds");
    }
}
