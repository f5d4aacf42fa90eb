//! A small world of three nodes that behave, and faults: whatever happens, no view breaks a rule, no
//! promoted node lacks an acknowledged write, and once the faults are over the cluster heals.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use proptest::prelude::*;
use standby_core::{Index, Micros, NodeId, View};

use super::fixtures::{claim, facts, id, peer, pod, report};
use super::{Action, Phase, Plan, check_record, plan};
use standby_api::names;

use crate::detect::Loss;
use crate::memory::Memory;
use crate::observe::{
    HostFacts, LinkState, NodeFacts, NodeRole, Observation, Peer, PrimaryLink, Recorded, Stream,
};
use crate::orders::Orders;

const NODES: u32 = 3;
const STEP: Micros = Micros::from_millis(1_500);
/// Steps within which a world without faults must be healthy: recording twice, adopting, limits.
const HEAL_STEPS_MAX: usize = 20;

#[allow(clippy::struct_excessive_bools, reason = "independent faults")]
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    alive: bool,
    /// Kubernetes has noticed that it ended.
    noticed: bool,
    /// Cut from the operator.
    cut: bool,
    leaving: bool,
    adopted: Option<View>,
    adopted_by_this_run: bool,
    stepped_down: bool,
    awaited: BTreeSet<NodeId>,
    completed: BTreeSet<NodeId>,
    /// Acknowledged writes it has on disk.
    has: u8,
    restarts: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct World {
    recorded: Option<View>,
    nodes: BTreeMap<NodeId, Node>,
    acknowledged: u8,
    may_go_alone: bool,
    /// The annotations that people have set.
    annotations: BTreeMap<String, String>,
    /// The node that `failover.preference` puts first.
    preferred: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Crash(u32),
    Restart(u32),
    /// The volume of a node that is down is put back to what it was before it stored any view. It lacks
    /// no acknowledged write.
    PutBack(u32),
    Notice(u32),
    Cut(u32),
    Mend(u32),
    Leave(u32),
    /// A person orders a switchover to this node in the recorded epoch.
    Order(u32),
    /// A person fences this node, and no other.
    Fence(u32),
    Unfence,
    Prefer(u32),
    Pause,
    Unpause,
    Write,
    Operator,
    NewOperator,
}

impl World {
    fn new(may_go_alone: bool) -> Self {
        let node = Node {
            alive: true,
            noticed: false,
            cut: false,
            leaving: false,
            adopted: None,
            adopted_by_this_run: true,
            stepped_down: false,
            awaited: BTreeSet::new(),
            completed: BTreeSet::new(),
            has: 0,
            restarts: 0,
        };
        Self {
            recorded: None,
            nodes: (1..=NODES)
                .map(|serial| (id(serial), node.clone()))
                .collect(),
            acknowledged: 0,
            may_go_alone,
            annotations: BTreeMap::new(),
            preferred: None,
        }
    }

    fn node(&mut self, serial: u32) -> &mut Node {
        self.nodes
            .get_mut(&id(serial))
            .expect("a node of the world")
    }

    fn role(&self, node: &NodeId) -> NodeRole {
        let state = &self.nodes[node];
        match &state.adopted {
            None => NodeRole::Unassigned,
            Some(view) if view.primary != *node => NodeRole::Follower,
            Some(_) if !state.adopted_by_this_run => NodeRole::Restarted,
            Some(_) if state.stepped_down => NodeRole::SteppedDown,
            Some(_) => NodeRole::Primary,
        }
    }

    /// A follower hears its primary: both alive, in the same epoch.
    fn linked(&self, primary: &NodeId, follower: &NodeId) -> bool {
        let (p, f) = (&self.nodes[primary], &self.nodes[follower]);
        p.alive && f.alive && p.adopted == f.adopted && p.adopted.is_some()
    }

    fn waits_for(&self, primary: &NodeId) -> BTreeSet<NodeId> {
        let state = &self.nodes[primary];
        let view = state.adopted.as_ref().expect("a primary has a view");
        view.synchronous.union(&state.awaited).cloned().collect()
    }

    /// Every primary that may acknowledges a write, if all it waits for take it; followers catch up.
    fn write(&mut self) {
        let primaries: Vec<NodeId> = self
            .nodes
            .keys()
            .filter(|n| self.nodes[*n].alive && self.role(n) == NodeRole::Primary)
            .cloned()
            .collect();
        for primary in primaries {
            let waited = self.waits_for(&primary);
            for node in &waited {
                if self.linked(&primary, node) {
                    let has = self.nodes[&primary].has;
                    self.nodes.get_mut(node).expect("known").has = has;
                    self.nodes
                        .get_mut(&primary)
                        .expect("known")
                        .completed
                        .insert(node.clone());
                }
            }
            let view = self.nodes[&primary].adopted.clone().expect("it is primary");
            let all = waited.iter().all(|node| self.linked(&primary, node));
            if view.can_acknowledge() && all && self.acknowledged < 3 {
                assert_eq!(
                    self.nodes[&primary].has, self.acknowledged,
                    "a primary that lacks acknowledged writes acknowledges another"
                );
                self.acknowledged += 1;
                let has = self.acknowledged;
                self.nodes.get_mut(&primary).expect("known").has = has;
                for node in waited {
                    self.nodes.get_mut(&node).expect("known").has = has;
                }
            }
        }
    }

    fn peers(&self, primary: &NodeId) -> Vec<Peer> {
        let waited = self.waits_for(primary);
        (1..=NODES)
            .map(id)
            .filter(|node| node != primary)
            .map(|node| Peer {
                connected: self.linked(primary, &node),
                awaited: waited.contains(&node),
                complete: self.nodes[primary].completed.contains(&node),
                node,
                ..peer(1)
            })
            .collect()
    }

    fn observe(&self) -> Observation {
        let mut cluster = facts();
        cluster.may_go_alone = self.may_go_alone;
        cluster.orders = Orders::read(&self.annotations);
        cluster.policy.nodes = self
            .preferred
            .map(|serial| id(serial).name)
            .into_iter()
            .collect();
        let mut nodes = BTreeMap::new();
        for serial in 1..=NODES {
            let node = id(serial);
            let state = &self.nodes[&node];
            let mut pod = pod(serial);
            pod.container.ended = !state.alive && state.noticed;
            pod.deleting_since = state.leaving.then_some(Micros(0));
            let live = state.alive && !state.cut;
            let said = live.then(|| self.report(serial));
            nodes.insert(
                node.name,
                NodeFacts {
                    pod: Some(pod),
                    claim: Some(claim(serial)),
                    host: HostFacts::Ready,
                    stream: if live {
                        Stream::Alive
                    } else {
                        Stream::Lost(Loss::Refused)
                    },
                    report: said,
                },
            );
        }
        let recorded = self
            .recorded
            .clone()
            .map_or(Recorded::Absent, Recorded::View);
        Observation {
            cluster,
            wall: jiff::Timestamp::UNIX_EPOCH,
            losses: Vec::new(),
            recorded,
            nodes,
        }
    }

    fn report(&self, serial: u32) -> crate::observe::NodeReport {
        let node = id(serial);
        let state = &self.nodes[&node];
        let mut said = report(serial, state.adopted.as_ref());
        said.run = format!("run-{}", state.restarts);
        said.role = self.role(&node);
        said.durable = Index(u64::from(state.has));
        match said.role {
            NodeRole::Primary | NodeRole::SteppedDown => {
                let view = state.adopted.as_ref().expect("it has a role");
                said.peers = self.peers(&node);
                said.serving = view.can_acknowledge() && said.role == NodeRole::Primary;
                said.drained = said.role == NodeRole::SteppedDown
                    && view.synchronous.iter().all(|n| self.linked(&node, n));
            }
            NodeRole::Follower => {
                let primary = &state.adopted.as_ref().expect("it follows").primary;
                let up = self.linked(&node, primary) && self.role(primary) == NodeRole::Primary;
                let state = match (up, self.nodes[primary].alive) {
                    (true, _) => LinkState::Up,
                    (false, true) => LinkState::NotPrimary,
                    (false, false) => LinkState::Refused,
                };
                said.link = Some(PrimaryLink {
                    state,
                    ..PrimaryLink::default()
                });
            }
            NodeRole::Unassigned | NodeRole::Restarted => {}
        }
        said
    }

    fn push(&mut self, await_nodes: &BTreeSet<NodeId>) {
        let Some(recorded) = self.recorded.clone() else {
            return;
        };
        for (id, state) in self
            .nodes
            .iter_mut()
            .filter(|(_, state)| state.alive && !state.cut)
        {
            let newer = state
                .adopted
                .as_ref()
                .is_none_or(|view| view.epoch < recorded.epoch);
            if newer {
                // What may have been written in an epoch is not written again (V3).
                let before = state.adopted.as_ref();
                let leads = state.adopted_by_this_run
                    && before.is_some_and(|view| {
                        view.primary == recorded.primary && view.epoch.next() == recorded.epoch
                    });
                let named = *id == recorded.primary && recorded.can_acknowledge();
                state.adopted_by_this_run = leads || !named;
                state.adopted = Some(recorded.clone());
                state.stepped_down = false;
                state.awaited.clear();
                state.completed.clear();
            }
        }
        let primary = self.nodes.get_mut(&recorded.primary).expect("known");
        if primary.alive && !primary.cut && primary.adopted.as_ref() == Some(&recorded) {
            primary.awaited.extend(await_nodes.iter().cloned());
        }
    }

    fn apply(&mut self, plan: &Plan) {
        for planned in &plan.actions {
            match &planned.action {
                Action::RecordView { next, basis } => {
                    check_record(basis, next).expect("every recorded view obeys the rules");
                    if let Some(recorded) = &self.recorded {
                        recorded
                            .check_successor(next)
                            .expect("no consent was given");
                    }
                    self.recorded = Some(next.clone());
                    return;
                }
                Action::Push { await_nodes, .. } => self.push(await_nodes),
                Action::StepDown { node, epoch } => {
                    for (id, state) in &mut self.nodes {
                        let of_epoch = state.adopted.as_ref().is_some_and(|v| v.epoch == *epoch);
                        if id.name == *node && state.alive && !state.cut && of_epoch {
                            state.stepped_down = true;
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn operator(&mut self, memory: &mut Memory, now: &mut Micros) -> Phase {
        *now = now.plus(STEP);
        let observation = self.observe();
        memory.observe(&observation, *now);
        let plan = plan(&observation, memory, *now);
        self.apply(&plan);
        if let Some((next, _)) = plan.view_to_record() {
            memory.view_recorded(next, *now);
        }
        plan.phase
    }

    fn annotate(&mut self, annotation: &str, value: String) {
        self.annotations.insert(annotation.to_owned(), value);
    }

    fn happen(&mut self, event: Event, memory: &mut Memory, now: &mut Micros) {
        match event {
            Event::Crash(serial) => {
                let node = self.node(serial);
                node.alive = false;
                node.noticed = false;
                node.stepped_down = false;
                node.awaited.clear();
                node.completed.clear();
            }
            Event::Restart(serial) => {
                let node = self.node(serial);
                if !node.alive {
                    node.alive = true;
                    node.adopted_by_this_run = false;
                    node.restarts = (node.restarts + 1) % 4;
                    node.leaving = false;
                }
            }
            Event::PutBack(serial) => {
                let node = self.node(serial);
                if !node.alive {
                    node.adopted = None;
                }
            }
            Event::Notice(serial) => self.node(serial).noticed = true,
            Event::Cut(serial) => self.node(serial).cut = true,
            Event::Mend(serial) => self.node(serial).cut = false,
            Event::Leave(serial) => self.node(serial).leaving = true,
            Event::Order(serial) => {
                let epoch = self.recorded.as_ref().map_or(0, |view| view.epoch.0);
                let order = format!("{}@{epoch}", id(serial).name);
                self.annotate(names::ANNOTATION_SWITCHOVER, order);
            }
            Event::Fence(serial) => self.annotate(names::ANNOTATION_FENCE, id(serial).name),
            Event::Unfence => self.annotate(names::ANNOTATION_FENCE, String::new()),
            Event::Prefer(serial) => self.preferred = Some(serial),
            Event::Pause => self.annotate(names::ANNOTATION_PAUSED, "true".into()),
            Event::Unpause => self.annotate(names::ANNOTATION_PAUSED, "false".into()),
            Event::Write => self.write(),
            Event::Operator => {
                self.operator(memory, now);
            }
            Event::NewOperator => *memory = Memory::default(),
        }
    }

    /// All faults end, and nobody is fenced or paused any more; nodes and operator go on. The phases
    /// passed.
    fn heal(&self, memory: &Memory, now: Micros) -> Result<(), Vec<Phase>> {
        let (mut world, mut memory, mut now) = (self.clone(), memory.clone(), now);
        for serial in 1..=NODES {
            world.happen(Event::Restart(serial), &mut memory, &mut now);
            world.happen(Event::Mend(serial), &mut memory, &mut now);
            world.node(serial).leaving = false;
        }
        world.happen(Event::Unfence, &mut memory, &mut now);
        world.happen(Event::Unpause, &mut memory, &mut now);
        let mut phases = Vec::new();
        for _ in 0..HEAL_STEPS_MAX {
            let phase = world.operator(&mut memory, &mut now);
            world.write();
            phases.push(phase);
            if phase == Phase::Healthy {
                return Ok(());
            }
        }
        Err(phases)
    }
}

fn event() -> impl Strategy<Value = Event> {
    let node = 1..=NODES;
    prop_oneof![
        1 => node.clone().prop_map(Event::Crash),
        1 => node.clone().prop_map(Event::Restart),
        1 => node.clone().prop_map(Event::PutBack),
        1 => node.clone().prop_map(Event::Notice),
        1 => node.clone().prop_map(Event::Cut),
        1 => node.clone().prop_map(Event::Mend),
        1 => node.clone().prop_map(Event::Leave),
        2 => node.clone().prop_map(Event::Order),
        1 => node.clone().prop_map(Event::Fence),
        1 => Just(Event::Unfence),
        1 => node.prop_map(Event::Prefer),
        1 => Just(Event::Pause),
        2 => Just(Event::Unpause),
        3 => Just(Event::Write),
        6 => Just(Event::Operator),
        1 => Just(Event::NewOperator),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_schedule_of_faults_breaks_a_rule_or_loses_a_write_and_all_heal(
        may_go_alone: bool,
        events in prop::collection::vec(event(), 0..80),
    ) {
        let (mut world, mut memory, mut now) = (World::new(may_go_alone), Memory::default(), Micros(0));
        for event in events {
            world.happen(event, &mut memory, &mut now);
        }
        if let Err(phases) = world.heal(&memory, now) {
            prop_assert!(false, "never healthy: {phases:?} in {world:#?}");
        }
    }
}

/// Every state reached by up to [`DEPTH`] faults and steps from a healthy cluster heals.
#[test]
fn no_reachable_state_is_without_exit() {
    const DEPTH: usize = 4;
    let mut start = World::new(false);
    let (mut memory, mut now) = (Memory::default(), Micros(0));
    for _ in 0..8 {
        start.operator(&mut memory, &mut now);
        start.write();
    }
    let mut seen: HashSet<String> = HashSet::from([format!("{start:?}")]);
    let mut edge = vec![(start, memory)];
    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for (world, memory) in edge {
            for event in all_events() {
                let (mut world, mut memory, mut now) = (world.clone(), memory.clone(), now);
                world.happen(event, &mut memory, &mut now);
                if seen.insert(format!("{world:?}")) {
                    if let Err(phases) = world.heal(&memory, now) {
                        panic!("never healthy after {event:?}: {phases:?} in {world:#?}");
                    }
                    next.push((world, memory));
                }
            }
        }
        edge = next;
    }
    assert!(seen.len() > 1_000, "only {} states were tried", seen.len());
}

fn all_events() -> Vec<Event> {
    let mut events = vec![Event::Operator, Event::Write];
    for serial in 1..=NODES {
        events.extend([
            Event::Crash(serial),
            Event::Restart(serial),
            Event::PutBack(serial),
            Event::Notice(serial),
            Event::Cut(serial),
            Event::Mend(serial),
            Event::Leave(serial),
        ]);
    }
    // The nodes are alike at the start but for their roles: db-1 is primary, db-2 synchronous.
    events.extend([
        Event::Order(2),
        Event::Order(3),
        Event::Fence(1),
        Event::Unfence,
    ]);
    events
}
