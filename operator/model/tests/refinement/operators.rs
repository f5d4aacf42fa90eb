//! Two operators with the product's planner, each with its own memory and its own, often old, reports.
//! What they decide is written later, by compare-and-swap, as the product's shell does.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rand::Rng;
use rand::rngs::StdRng;
use standby_core::replica::{self, RoleKind, Status};
use standby_core::{Micros, View};
use standby_model::views::cluster_id;
use standby_operator_core::detect::{Loss, Thresholds};
use standby_operator_core::memory::Memory;
use standby_operator_core::observe::{
    ClaimFacts, ClusterFacts, Container, HostFacts, LinkState, NodeFacts, NodeReport, NodeRole,
    Observation, Peer, PodFacts, PrimaryLink, Recorded, Stream, WriteStall,
};
use standby_operator_core::orders::Orders;
use standby_operator_core::plan::{Action, Basis, Plan, check_record, plan};
use standby_operator_core::policy::Policy;

use crate::world::World;

/// An operator.
#[derive(Debug, Default)]
pub struct Operator {
    memory: Memory,
    reports: BTreeMap<usize, NodeReport>,
    /// What it decided and has not written yet.
    pub decided: Option<(View, Basis)>,
}

fn cluster(available: bool) -> ClusterFacts {
    ClusterFacts {
        name: "db".into(),
        namespace: "model".into(),
        id: cluster_id(),
        generation: 1,
        wanted: (1..=3).map(|serial| format!("db-{serial}")).collect(),
        deleting: false,
        hibernated: false,
        upkeep: standby_operator_core::observe::Upkeep::default(),
        retain_volumes: false,
        may_go_alone: available,
        automatic: true,
        thresholds: Thresholds::default(),
        replace_after: Micros::from_millis(60_000),
        write_stuck: Micros::from_millis(300),
        orders: Orders::default(),
        policy: Policy::default(),
    }
}

/// What a node tells operators.
fn report(world: &World, at: usize, status: Status) -> NodeReport {
    let place = &world.places[at];
    let run = place.process.as_ref().map_or(0, |process| process.run);
    let durable = |peer: &replica::PeerStatus| Peer {
        node: peer.node.clone(),
        connected: peer.session.is_some(),
        durable: peer.durable,
        silent: peer.silent,
        phi: 0.0,
        awaited: peer.awaited,
        complete: peer.complete,
        in_snapshot: peer.in_snapshot,
    };
    NodeReport {
        at: world.now,
        pod_uid: format!("pod-{at}"),
        node: place.node.clone(),
        cluster_id: cluster_id(),
        run: format!("run-{run}"),
        role: match status.role {
            RoleKind::Unassigned => NodeRole::Unassigned,
            RoleKind::Follower => NodeRole::Follower,
            RoleKind::Primary => NodeRole::Primary,
            RoleKind::Restarted => NodeRole::Restarted,
            RoleKind::SteppedDown => NodeRole::SteppedDown,
        },
        peers: status.peers.iter().map(durable).collect(),
        last: status.last,
        durable: status.durable,
        commit: status.commit,
        applied: status.commit,
        serving: status.serving,
        drained: status.drained,
        wants_handover: false,
        link: status.primary_link.as_ref().map(|link| PrimaryLink {
            state: match link.state {
                replica::LinkState::Up => LinkState::Up,
                replica::LinkState::Silent => LinkState::Silent,
                replica::LinkState::Refused => LinkState::Refused,
                replica::LinkState::NotPrimary => LinkState::NotPrimary,
            },
            silent: link.silent,
            phi: if link.lost { 100.0 } else { 0.0 },
            commits_stuck: link.stuck,
        }),
        stall: status.write_stall.map(|stall| WriteStall {
            waiting: stall.waiting,
            local_disk: stall.local_disk,
            nodes: stall.nodes,
        }),
        doubt: status
            .doubt
            .map(|doubt| doubt.to_string())
            .unwrap_or_default(),
        view: status.view,
        doubts_primary: false,
        wants_switchover_to: None,
        disk_total_bytes: 1 << 30,
        disk_free_bytes: 1 << 29,
        disk_full: false,
        version: String::new(),
    }
}

impl Operator {
    /// Looks at what it can reach. `all`: at everybody.
    fn observe(
        &mut self,
        world: &World,
        recorded: Option<&View>,
        all: bool,
        rng: &mut StdRng,
    ) -> Observation {
        let mut nodes = BTreeMap::new();
        for (at, place) in world.places.iter().enumerate() {
            let status = world.status(at);
            let ended = status.is_none();
            let reached = all || rng.random_bool(0.6);
            if let Some(status) = status.filter(|_| reached) {
                self.reports.insert(at, report(world, at, status));
            }
            // An old report may still count as live for a while, and a silent node as lost at once.
            let lost = ended || (!reached && rng.random_bool(0.5));
            let run = place
                .process
                .as_ref()
                .map(|process| format!("c-{}", process.run));
            let facts = NodeFacts {
                pod: Some(PodFacts {
                    uid: format!("pod-{at}"),
                    ip: Some(format!("10.0.0.{at}")),
                    host: Some(format!("host-{at}")),
                    container: Container {
                        running: run,
                        ended: ended && rng.random_bool(0.7),
                        ..Container::default()
                    },
                    ..PodFacts::default()
                }),
                claim: Some(ClaimFacts {
                    uid: format!("claim-{}", place.node.volume),
                    owned: true,
                    ..ClaimFacts::default()
                }),
                host: HostFacts::Ready,
                stream: if lost {
                    Stream::Lost(Loss::Refused)
                } else {
                    Stream::Alive
                },
                report: self.reports.get(&at).cloned(),
            };
            nodes.insert(place.node.name.clone(), facts);
        }
        Observation {
            cluster: cluster(rng.random_bool(0.3)),
            wall: Timestamp::UNIX_EPOCH,
            recorded: recorded.cloned().map_or(Recorded::Absent, Recorded::View),
            losses: Vec::new(),
            nodes,
        }
    }

    /// Looks, plans, and keeps a decision to be written. Whom it tells of the recorded view, and whom the
    /// primary shall wait for.
    pub fn turn(
        &mut self,
        world: &World,
        recorded: Option<&View>,
        all: bool,
        rng: &mut StdRng,
    ) -> (Plan, Option<BTreeSet<standby_core::NodeId>>) {
        if rng.random_bool(0.05) {
            // Another process takes over.
            *self = Self::default();
        }
        let observation = self.observe(world, recorded, all, rng);
        self.memory.observe(&observation, world.now);
        let plan = plan(&observation, &mut self.memory, world.now);
        let mut told = None;
        for planned in &plan.actions {
            match &planned.action {
                Action::RecordView { next, basis } => {
                    self.decided = Some((next.clone(), basis.clone()));
                    break;
                }
                Action::Push { await_nodes, .. } => told = Some(await_nodes.clone()),
                _ => {}
            }
        }
        (plan, told)
    }

    /// Writes what was decided, if what it was decided on is recorded still.
    pub fn write(&mut self, recorded: Option<&View>) -> Option<View> {
        let (next, basis) = self.decided.take()?;
        let as_planned = match &basis {
            Basis::Nothing => recorded.is_none(),
            Basis::View(view) => recorded == Some(view),
            Basis::Nodes {
                recorded: planned, ..
            } => recorded == planned.as_ref(),
            Basis::Loss { .. } => false,
        };
        let allowed = as_planned && check_record(&basis, &next).is_ok();
        allowed.then_some(next)
    }

    /// What it knew of a place is void: another volume stands there.
    pub fn forget(&mut self, at: usize) {
        self.reports.remove(&at);
    }
}
