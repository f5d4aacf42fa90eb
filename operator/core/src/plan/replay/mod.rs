//! A small Kubernetes with nodes that behave, for replays: plan, carry out, let time pass, plan again,
//! until nothing changes any more. What the operator does and says on the way is kept as text.
//!
//! Unlike [`super::world`], which is about views under faults, this one has pods, claims, volumes and
//! hosts that come and go.

mod events;
mod kubernetes;
mod property;
mod scenarios;
mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use standby_core::{Micros, NodeId, View};

use super::fixtures;
use super::{Action, Phase, Plan, check_record, plan};
use crate::memory::Memory;
use crate::observe::ClusterFacts;

/// Between two looks of the operator.
const TURN: Micros = Micros::from_millis(1_500);
/// A transition that has not ended after so many looks never does.
const TURNS_MAX: usize = 120;
/// A plan that has not changed for so many looks, long enough for every limit but the longest, is
/// the last one.
const STILL_TURNS: usize = 12;
/// What a terminating primary waits for a successor, in looks.
const HANDOVER_TURNS: u32 = 6;

/// A running process.
#[derive(Clone, Debug)]
struct Process {
    run: u32,
    adopted_by_this_run: bool,
    stepped_down: bool,
    awaited: BTreeSet<NodeId>,
    completed: BTreeSet<NodeId>,
}

#[derive(Clone, Debug)]
struct Pod {
    uid: String,
    host: Option<String>,
    built_from: String,
    since: Micros,
    deleting: Option<Micros>,
    terminating_turns: u32,
    /// The number of its last container.
    last_run: Option<u32>,
    process: Option<Process>,
}

#[derive(Clone, Debug, Default)]
struct Claim {
    uid: String,
    volume: Option<String>,
    deleting: bool,
    lost: bool,
    owned: bool,
    bytes: u64,
}

/// What is on a disk.
#[derive(Clone, Debug, Default)]
struct Volume {
    adopted: Option<View>,
    has: u64,
    cluster: String,
    /// The only host it can be used on.
    host: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    Ready,
    Cordoned,
    Away(Micros),
    Gone(Micros),
}

/// Everything there is.
#[derive(Clone, Debug)]
struct Sim {
    cluster: ClusterFacts,
    recorded: Option<View>,
    pods: BTreeMap<String, Pod>,
    claims: BTreeMap<String, Claim>,
    volumes: BTreeMap<String, Volume>,
    hosts: BTreeMap<String, Host>,
    /// Pods built from these never start.
    broken: BTreeSet<String>,
    /// From these the primary hears nothing, and since when. They hear it.
    unheard: BTreeMap<String, Micros>,
    /// Volumes are tied to the host they were made on.
    local_volumes: bool,
    acknowledged: u64,
    /// Looks at which a write could be acknowledged, and at which none could.
    writes: (usize, usize),
    memory: Memory,
    now: Micros,
    made: u32,
    announced: Option<String>,
    text: String,
    last: String,
}

impl Sim {
    fn new(instances: u32) -> Self {
        let mut cluster = fixtures::facts();
        cluster.wanted = (1..=instances)
            .map(|serial| format!("db-{serial}"))
            .collect();
        cluster.may_go_alone = instances == 1;
        cluster.upkeep.storage_bytes = 1 << 30;
        let mut sim = Self {
            cluster,
            recorded: None,
            pods: BTreeMap::new(),
            claims: BTreeMap::new(),
            volumes: BTreeMap::new(),
            hosts: (1..=5)
                .map(|n| (format!("host-{n}"), Host::Ready))
                .collect(),
            broken: BTreeSet::new(),
            unheard: BTreeMap::new(),
            local_volumes: false,
            acknowledged: 0,
            writes: (0, 0),
            memory: Memory::default(),
            now: Micros::from_millis(100_000),
            made: 0,
            announced: None,
            text: String::new(),
            last: String::new(),
        };
        sim.settle();
        sim.text.clear();
        sim.writes = (0, 0);
        sim
    }

    fn next_number(&mut self) -> u32 {
        self.made += 1;
        self.made
    }

    /// Says in the text what a person, or fate, does.
    fn say(&mut self, what: &str) {
        writeln!(self.text, "== {what}").expect("a text");
        self.last.clear();
    }

    /// Looks until nothing changes any more; the last phase.
    fn settle(&mut self) -> Phase {
        let mut still = 0;
        for _ in 0..TURNS_MAX {
            let (phase, changed) = self.turn();
            still = if changed { 0 } else { still + 1 };
            if still >= STILL_TURNS {
                return phase;
            }
        }
        panic!("it never ends:\n{}", self.text);
    }

    /// One look of the operator, and then time passes. Whether anything was done or said anew.
    fn turn(&mut self) -> (Phase, bool) {
        self.now = self.now.plus(TURN);
        let observation = self.observe();
        self.memory.observe(&observation, self.now);
        let plan = plan(&observation, &mut self.memory, self.now);
        let told = self.tell(&plan);
        self.check(&plan);
        let did = self.carry_out(&plan);
        let lived = self.live();
        (plan.phase, told || did || lived)
    }

    /// Adds to the text what is new in a plan. Roles in labels are left out.
    fn tell(&mut self, plan: &Plan) -> bool {
        let mut text = format!("{}: {}\n", plan.phase, plan.why);
        for planned in &plan.actions {
            match &planned.action {
                Action::Push { .. } | Action::LabelPod { .. } => continue,
                Action::Announce { node, .. } if self.announced.as_ref() == Some(node) => continue,
                Action::Withdraw if self.announced.is_none() => continue,
                _ => {}
            }
            writeln!(text, "- {}\n    because {}", planned.action, planned.why).expect("a text");
        }
        for notice in plan.notices.iter().filter(|notice| notice.warning) {
            writeln!(text, "! {}: {}", notice.reason, notice.message).expect("a text");
        }
        if let super::Turn::Waits { left, why, .. } = &plan.turn {
            writeln!(text, "~ {left} to be replaced: {why}").expect("a text");
        }
        let new = text != self.last;
        if new {
            self.text.push_str(&text);
            self.last = text;
        }
        new
    }

    /// What must hold of every plan.
    fn check(&self, plan: &Plan) {
        let running = |name: &String| {
            self.pods
                .get(name)
                .is_some_and(|pod| pod.deleting.is_none() && pod.process.is_some())
        };
        let mut taken = BTreeSet::new();
        for planned in &plan.actions {
            match &planned.action {
                Action::DeleteClaim { node, .. } => {
                    let view = self
                        .recorded
                        .as_ref()
                        .expect("no claim goes without a view");
                    assert!(
                        view.complete.iter().all(|complete| complete.name != *node),
                        "the claim of {node} may hold what no other has:\n{plan}\n{}",
                        self.text
                    );
                }
                Action::DeletePod { node, .. } if running(node) => {
                    taken.insert(node.clone());
                }
                _ => {}
            }
        }
        let wanted = &self.cluster.wanted;
        let asleep = self.cluster.hibernated || self.cluster.deleting;
        let taken_wanted = taken.iter().filter(|name| wanted.contains(name)).count();
        let other_down = wanted
            .iter()
            .filter(|name| !taken.contains(*name) && !running(name))
            .count();
        assert!(
            asleep || taken_wanted <= 1,
            "two nodes are taken at once:\n{plan}\n{}",
            self.text
        );
        // A pod that works is taken only from a cluster in which all the others run. What a fault has
        // taken away may be a replica when the one that is replaced does not work either.
        let works = taken
            .iter()
            .any(|name| wanted.contains(name) && self.follows_or_leads(name));
        assert!(
            asleep || !works || other_down == 0,
            "a node that works is taken while another is away:\n{plan}\n{}",
            self.text
        );
    }

    /// Carries a plan out; whether anything changed.
    fn carry_out(&mut self, plan: &Plan) -> bool {
        let mut changed = false;
        for planned in &plan.actions {
            match &planned.action {
                Action::RecordView { next, basis } => {
                    check_record(basis, next).expect("every recorded view obeys the rules");
                    self.recorded = Some(next.clone());
                    self.memory.view_recorded(next, self.now);
                    return true;
                }
                Action::Push { await_nodes, .. } => self.push(await_nodes),
                Action::StepDown { node, epoch } => self.step_down(node, *epoch),
                Action::Announce { node, .. } => {
                    changed |= self.announced.as_ref() != Some(node);
                    self.announced = Some(node.clone());
                }
                Action::Withdraw => {
                    changed |= self.announced.is_some();
                    self.announced = None;
                }
                other => changed |= self.apply(other),
            }
        }
        changed
    }

    /// The text so far, with what it cost the writers.
    fn story(&self) -> String {
        let (went, waited) = self.writes;
        format!(
            "{}== writes went at {went} looks and waited at {waited}\n",
            self.text
        )
    }
}
