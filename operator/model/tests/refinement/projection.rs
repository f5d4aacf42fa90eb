//! What the model sees of the real world, and whether the model allows what happened.

use std::collections::BTreeMap;

use standby_core::replica::RoleKind;
use standby_core::{Entry, Epoch, NodeId, View};
use standby_model::log::Log;
use standby_model::state::{Id, Left, NODES, Node, Place, Set, State};
use standby_model::steps::{Bounds, Rules};
use standby_model::views::{Code, to_code};

use crate::world::World;

/// The most steps of the model that one thing in the real world may be: a view that is adopted with
/// three promises, and what is committed by it.
const STEPS_MAX: usize = 6;
/// What may still happen is not bounded here.
const LEFT: Left = Left {
    writes: 3,
    losses: 1,
    restores: 1,
    alone: 1,
    put_back: 0,
};

fn small(number: u64) -> u8 {
    u8::try_from(number).expect("the driver keeps numbers small")
}

/// The real world and the model's moment beside it.
#[derive(Debug)]
pub struct Pair {
    rules: Rules,
    pub state: State,
    ids: BTreeMap<NodeId, Id>,
    /// The logs of primaries as they last were, by epoch: what was sent may arrive after their end.
    sources: BTreeMap<u8, (Id, Log)>,
    acked: BTreeMap<(u8, Id), u8>,
    what: Vec<String>,
}

fn log_of(entries: &[Entry]) -> Log {
    let mut log = Log::default();
    for entry in entries {
        let epoch = small(entry.position.epoch.0);
        log = log.with(epoch, log.count(epoch) + 1);
    }
    log
}

impl Pair {
    pub fn new(nodes: &[NodeId]) -> Self {
        let rules = Rules::new(Bounds {
            name: "refinement",
            nodes: 3,
            epochs: 7,
            left: LEFT,
            paired: false,
            reads: false,
            blind: false,
        });
        let state = rules.start();
        Self {
            rules,
            state,
            ids: nodes.iter().cloned().zip(0..).collect(),
            sources: BTreeMap::new(),
            acked: BTreeMap::new(),
            what: Vec::new(),
        }
    }

    pub fn id(&self, node: &NodeId) -> Option<Id> {
        self.ids.get(node).copied()
    }

    /// The view as the model knows it.
    pub fn code(&self, view: &View) -> Code {
        to_code(view, |node| self.id(node)).expect("a view names nodes of this world")
    }

    /// What the model sees now. Nothing but nodes and the recorded view is taken from the real world.
    fn seen(&mut self, world: &World, recorded: Option<&View>) -> State {
        let mut seen = self.state;
        for (id, node) in (0_u8..).zip(&mut seen.nodes) {
            let real = self
                .ids
                .iter()
                .find(|(_, at)| **at == id)
                .map(|(node, _)| node);
            let lives = real.and_then(|real| world.at(real));
            let place = match (lives, node.place) {
                (Some(_), _) => Place::Here,
                (None, Place::Unborn) => Place::Unborn,
                (None, _) => Place::Lost,
            };
            *node = Node {
                place,
                ..Node::default()
            };
        }
        for place in &world.places {
            let Some(id) = self.id(&place.node) else {
                continue;
            };
            let stored = place.disk.view.as_ref().map_or(0, |v| small(v.epoch.0));
            // A view that was overtaken while it was being stored is on disk, and nobody acts on it.
            let acted = place.process.as_ref().map(|p| small(p.replica.epoch().0));
            let epoch = acted.unwrap_or(stored);
            let role = place.process.as_ref().map(|p| (p, p.replica.role_kind()));
            let node = &mut seen.nodes[usize::from(id)];
            node.epoch = epoch;
            node.log = log_of(&place.disk.log);
            if let Some((process, RoleKind::Primary | RoleKind::SteppedDown)) = role {
                node.leads = true;
                node.log = log_of(&process.log);
                let commit = usize::try_from(process.replica.commit().0).expect("small");
                let committed = process.log.get(..commit).unwrap_or(&process.log);
                node.committed = log_of(committed).count(epoch);
                let status = process.replica.status(world.now);
                for peer in status.peers.iter().filter(|peer| peer.awaited) {
                    if let Some(other) = self.ids.get(&peer.node)
                        && world.at(&peer.node).is_some()
                    {
                        node.awaits = node.awaits.with(*other);
                    }
                }
                self.sources.insert(epoch, (id, node.log));
            }
        }
        self.acknowledgements(&mut seen);
        let epoch = recorded.map_or(0, |view| small(view.epoch.0));
        seen.recorded = epoch;
        if let Some(view) = recorded {
            seen.views[usize::from(epoch)] = self.code(view);
        }
        seen
    }

    /// What a matched follower has on disk it has acknowledged, or is about to.
    fn acknowledgements(&mut self, seen: &mut State) {
        let nodes = seen.nodes;
        for (id, primary) in (0_u8..).zip(&mut seen.nodes) {
            if !primary.leads {
                continue;
            }
            for (other, follower) in (0_u8..).zip(&nodes) {
                let same = follower.epoch == primary.epoch && other != id;
                let known = self.acked.entry((primary.epoch, other)).or_default();
                if same && follower.log.is_prefix_of(primary.log) {
                    *known = follower.log.count(primary.epoch).max(*known);
                }
                primary.note_ack(other, *known);
            }
        }
    }

    /// Follows one thing that happened in the real world.
    ///
    /// # Panics
    /// When the model does not allow it.
    pub fn follow(&mut self, what: String, world: &World, recorded: Option<&View>) {
        self.what.push(what);
        if let Some(early) = &world.served_early {
            panic!("V5: {early}\n{}", self.story());
        }
        self.state.left = LEFT;
        let mut seen = self.seen(world, recorded);
        seen.tidy();
        if let Some(next) = self.explained(&seen) {
            self.state = next;
        } else {
            panic!(
                "the model does not allow the last of these:\n{}\nit was\n{}\nand is\n{}",
                self.story(),
                describe(&self.state),
                describe(&seen)
            );
        }
        self.reports(world);
    }

    /// What real primaries report as complete, the model must have reported too.
    fn reports(&self, world: &World) {
        for at in 0..world.places.len() {
            let Some(status) = world.status(at) else {
                continue;
            };
            let epoch = status.view.as_ref().map_or(Epoch(0), |view| view.epoch);
            let leads = matches!(status.role, RoleKind::Primary | RoleKind::SteppedDown);
            if !leads || small(epoch.0) != self.state.recorded {
                continue;
            }
            for peer in status.peers.iter().filter(|peer| peer.complete) {
                let Some(id) = self.id(&peer.node) else {
                    continue;
                };
                let lost = self.state.node(id).place == Place::Lost;
                assert!(
                    lost || self.state.reported.has(id),
                    "V4: {} reports that {} has everything, the model does not:\n{}\n{}",
                    world.places[at].node,
                    peer.node,
                    self.story(),
                    describe(&self.state)
                );
            }
        }
    }

    fn explained(&self, seen: &State) -> Option<State> {
        let mut edge = vec![self.state];
        for _ in 0..=STEPS_MAX {
            if let Some(found) = edge.iter().find(|state| same(state, seen)) {
                return Some(*found);
            }
            let mut next: Vec<State> = Vec::new();
            for state in &edge {
                let mut free = *state;
                free.left = LEFT;
                let steps = self.rules.steps(&free).into_iter();
                for follows in steps
                    .filter_map(|(_, next)| next.ok())
                    .chain(self.late(&free))
                {
                    if nearer(state, &follows, seen) && !next.contains(&follows) {
                        next.push(follows);
                    }
                }
            }
            edge = next;
        }
        None
    }

    /// What comes later than in the model, where nothing is in flight.
    fn late<'a>(&'a self, state: &'a State) -> impl Iterator<Item = State> + 'a {
        self.late_message(state).chain(self.late_write(state))
    }

    /// What a former primary wrote while it stored the view that ended its role reaches its disk after
    /// that. In the model it was there before. Nobody is told of it in between.
    fn late_write<'a>(&'a self, state: &'a State) -> impl Iterator<Item = State> + 'a {
        state.here().filter_map(move |id| {
            let node = state.node(id);
            let mine = |epoch: &u8| self.sources.get(epoch).filter(|(by, _)| *by == id);
            let (epoch, source) = (1..node.epoch)
                .filter_map(|epoch| Some((epoch, mine(&epoch)?.1)))
                .find(|(_, source)| node.log != *source && node.log.is_prefix_of(*source))?;
            let mut next = *state;
            next.node_mut(id).log = node.log.next_of(source)?;
            let own = next.node(id).log.last_epoch() == epoch;
            (!node.leads && own).then_some(next)
        })
    }

    /// What a primary sent before its role ended may arrive after that. In the model it arrived before:
    /// the follower was in the same epoch and matched already, so that nothing in between depends on it.
    fn late_message<'a>(&'a self, state: &'a State) -> impl Iterator<Item = State> + 'a {
        state.here().filter_map(move |id| {
            let node = state.node(id);
            let (_, source) = *self.sources.get(&node.epoch)?;
            let ended = !state
                .here()
                .any(|p| state.node(p).leads && state.node(p).epoch == node.epoch);
            let common = node.log.common(source);
            let log = if common == node.log {
                common.next_of(source)?
            } else {
                common
            };
            let mut next = *state;
            next.node_mut(id).log = log;
            ended.then_some(next)
        })
    }

    /// A volume is lost, another comes in its place.
    pub fn replaced(&mut self, node: NodeId) {
        let next = u8::try_from(self.ids.len()).expect("few");
        assert!(usize::from(next) < NODES, "the driver replaces once");
        self.ids.insert(node, next);
    }

    pub fn story(&self) -> String {
        let from = self.what.len().saturating_sub(60);
        self.what[from..].join("\n")
    }
}

/// A node without what is the model's own knowledge: how much of its log may not be on disk. Whether it
/// waits for a volume that is gone does not matter either: it can then do less, not more.
fn visible(state: &State, at: usize) -> Node {
    let here = state.here().fold(Set::NONE, Set::with);
    let node = state.nodes[at];
    Node {
        loose: 0,
        awaits: Set(node.awaits.0 & here.0),
        ..node
    }
}

fn same(state: &State, seen: &State) -> bool {
    let view = |state: &State| state.view(state.recorded);
    (0..NODES).all(|at| visible(state, at) == seen.nodes[at])
        && state.recorded == seen.recorded
        && view(state) == view(seen)
}

/// A step is worth following only if it leaves alone what is as it was seen already.
fn nearer(before: &State, after: &State, seen: &State) -> bool {
    let settled = |state: &State, at: usize| visible(state, at) == seen.nodes[at];
    (0..NODES).all(|at| !settled(before, at) || settled(after, at))
}

pub fn describe(state: &State) -> String {
    let mut text = format!(
        "  recorded {} {:?}, reported {:?}, committed {:?}\n",
        state.recorded,
        state.view(state.recorded),
        state.reported,
        state.committed
    );
    for (id, node) in (0_u8..).zip(&state.nodes) {
        let counts: Vec<u8> = (1..8).map(|epoch| node.log.count(epoch)).collect();
        let acked: Vec<u8> = (0..4).map(|other| node.acked_by(other)).collect();
        let line = format!(
            "  db-{} {:?} epoch {} leads {} log {counts:?} committed {} awaits {:?} acked {acked:?}\n",
            id + 1,
            node.place,
            node.epoch,
            node.leads,
            node.committed,
            Set::iter(node.awaits).map(|id| id + 1).collect::<Vec<_>>(),
        );
        text.push_str(&line);
    }
    text
}
