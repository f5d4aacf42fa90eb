//! What is known about one cluster at one moment, as a value. Facts only: nothing here decides.
//!
//! Points in time are on the operator's own monotonic clock, unless a type says otherwise.

use std::collections::{BTreeMap, BTreeSet};

use standby_core::{ClusterId, Epoch, Index, Micros, NodeId, Position, View};

use jiff::Timestamp;
use standby_api::DataLoss;

use crate::detect::{Loss, Thresholds};
use crate::limits;
use crate::orders::Orders;
use crate::policy::Policy;

/// What the user asked for, as far as the planner needs it.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent facts, each named"
)]
pub struct ClusterFacts {
    /// Name of the `StandbyCluster`.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The identity written on its volumes.
    pub id: ClusterId,
    /// The generation of the spec these facts come from.
    pub generation: i64,
    /// Names of the pods there should be, in order of their serials.
    pub wanted: Vec<String>,
    /// Being deleted.
    pub deleting: bool,
    /// Volumes outlive the cluster.
    pub retain_volumes: bool,
    /// `durability: Available`: the primary may acknowledge alone when nobody is left (V7).
    pub may_go_alone: bool,
    /// `failover.mode: Automatic`.
    pub automatic: bool,
    /// When a silent stream is lost.
    pub thresholds: Thresholds,
    /// A pod whose host has been gone for so long is replaced.
    pub replace_after: Micros,
    /// Writes waiting for so long mean a stuck disk.
    pub write_stuck: Micros,
    /// What people order by annotations.
    pub orders: Orders,
    /// What the specification says about moves.
    pub policy: Policy,
    /// `hibernated`: no pods are wanted.
    pub hibernated: bool,
    /// What pods and claims should be like.
    pub upkeep: Upkeep,
}

/// What pods and claims should be like, and when they may be changed for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// What a pod made now would be built from (annotation `standby.dev/built-from`).
    pub built_from: String,
    /// The size of the volumes that is asked for.
    pub storage_bytes: u64,
    /// There is a host that could take another of the cluster's pods.
    pub room: bool,
}

/// The recorded view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Not asked for yet, or the API does not answer.
    Unknown,
    /// There is no view object.
    Absent,
    /// There is one.
    View(View),
}

/// What a pod's node container is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// The identity of the container that runs now.
    pub running: Option<String>,
    /// The identities of containers that are reported terminated: the current one if it has ended,
    /// and the one before.
    pub terminated: BTreeSet<String>,
    /// The current container has ended and no other has started.
    pub ended: bool,
    /// Why, in the runtime's words.
    pub ended_why: String,
}

impl Container {
    /// Whether it runs, or has ever run in this pod.
    #[must_use]
    pub fn has_started(&self) -> bool {
        self.running.is_some() || self.ended || !self.terminated.is_empty()
    }
}

/// A pod, as the API shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// The pod object's identity.
    pub uid: String,
    /// Where it is reached.
    pub ip: Option<String>,
    /// The host it was put on.
    pub host: Option<String>,
    /// That host's zone.
    pub zone: Option<String>,
    /// Its phase is `Failed` or `Succeeded`: it will never run again.
    pub over: bool,
    /// Its node container.
    pub container: Container,
    /// Being deleted, since when this operator knows.
    pub deleting_since: Option<Micros>,
    /// The kubelet calls it ready.
    pub ready: bool,
    /// The value of the label `standby.dev/role`.
    pub role_label: Option<String>,
    /// What it was built from (annotation `standby.dev/built-from`).
    pub built_from: Option<String>,
    /// Its host takes no new pods: it is cordoned, or about to be removed.
    pub cordoned: bool,
    /// When this operator first saw the pod object.
    pub since: Micros,
    /// Why it does not run yet, in Kubernetes' words; empty when it does, or nothing is said.
    pub waits: String,
}

/// A volume claim, as the API shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent facts, each named"
)]
pub struct ClaimFacts {
    /// The claim object's identity.
    pub uid: String,
    /// Being deleted, or about to be: its owner is gone.
    pub deleting: bool,
    /// Goes with the cluster: it has the `StandbyCluster` as owner.
    pub owned: bool,
    /// The only host its volume can be used on, when it is bound to one.
    pub bound_to_host: Option<String>,
    /// How that host is, also while no pod is on it.
    pub home: HostFacts,
    /// Its volume is lost: Kubernetes knows of none any more.
    pub lost: bool,
    /// The size it asks for; zero when that is not known.
    pub requested_bytes: u64,
    /// Whether its storage class can grow volumes; none until that was looked up.
    pub expandable: Option<bool>,
    /// The volume has grown, and its file system grows when a pod mounts it anew.
    pub grows_when_mounted: bool,
}

/// The host of a pod, as the API shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostFacts {
    /// No host yet, or hosts are not known.
    #[default]
    Unknown,
    /// Ready.
    Ready,
    /// Not ready since.
    NotReady(Micros),
    /// Its object is gone since.
    Gone(Micros),
}

impl HostFacts {
    /// For how long it has been away; zero while it is not.
    #[must_use]
    pub fn away(self, now: Micros) -> Micros {
        match self {
            Self::NotReady(since) | Self::Gone(since) => now.since(since),
            Self::Unknown | Self::Ready => Micros(0),
        }
    }
}

/// The operator's stream to a node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Stream {
    /// There is no pod to dial.
    #[default]
    None,
    /// Not lost: reports arrive, or the silence is still acceptable.
    Alive,
    /// Lost.
    Lost(Loss),
}

/// What a node says it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeRole {
    /// Nothing yet.
    #[default]
    Unassigned,
    /// Follows the primary.
    Follower,
    /// Primary of its view.
    Primary,
    /// Named primary, but this run did not adopt the view (V3).
    Restarted,
    /// Was primary and stepped down within the epoch (V8).
    SteppedDown,
}

/// A follower as the primary sees it.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "the control protocol's own flags"
)]
pub struct Peer {
    /// Who.
    pub node: NodeId,
    /// Its connection stands.
    pub connected: bool,
    /// Highest index it made durable in this epoch.
    pub durable: Index,
    /// Since something arrived from it.
    pub silent: Micros,
    /// Suspicion level of that silence; zero from a node that does not say.
    pub phi: f64,
    /// The primary waits for it.
    pub awaited: bool,
    /// It has everything (V4).
    pub complete: bool,
    /// It is being filled from a snapshot.
    pub in_snapshot: bool,
}

/// How a follower's link to the primary is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    /// Not said.
    #[default]
    Unknown,
    /// Messages arrive.
    Up,
    /// Nothing arrives.
    Silent,
    /// Refused.
    Refused,
    /// The other side says it is not primary.
    NotPrimary,
}

/// The primary as a follower sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PrimaryLink {
    /// The link's state.
    pub state: LinkState,
    /// Since something arrived.
    pub silent: Micros,
    /// Suspicion level.
    pub phi: f64,
    /// Writes wait and commits have not moved for so long.
    pub commits_stuck: Micros,
}

/// Why writes wait on the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteStall {
    /// For so long.
    pub waiting: Micros,
    /// Its own disk has not finished.
    pub local_disk: bool,
    /// These have not acknowledged.
    pub nodes: Vec<NodeId>,
}

/// The last report of a node.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "the control protocol's own flags"
)]
pub struct NodeReport {
    /// When it arrived.
    pub at: Micros,
    /// The pod object that was dialled for it.
    pub pod_uid: String,
    /// Who reports.
    pub node: NodeId,
    /// The cluster its volume belongs to.
    pub cluster_id: ClusterId,
    /// The run of the process.
    pub run: String,
    /// What it is.
    pub role: NodeRole,
    /// The highest view it has stored.
    pub view: Option<View>,
    /// The end of its log.
    pub last: Position,
    /// What it has on disk.
    pub durable: Index,
    /// What it knows to be committed.
    pub commit: Index,
    /// What it has applied.
    pub applied: Index,
    /// It answers writes and linearizable reads.
    pub serving: bool,
    /// Stepped down, and every synchronous node has everything (V8).
    pub drained: bool,
    /// It asks for a switchover before it ends.
    pub wants_handover: bool,
    /// Its followers.
    pub peers: Vec<Peer>,
    /// Its link to the primary.
    pub link: Option<PrimaryLink>,
    /// Why writes wait.
    pub stall: Option<WriteStall>,
    /// Why it refuses to take part; empty when it does not.
    pub doubt: String,
    /// The doubt is about its view or that view's primary, which may lack entries it knows to be
    /// committed (V11). The node itself has them, and may lead in a later view.
    pub doubts_primary: bool,
    /// A client asked it, the primary, to hand over to this node (etcd's `MoveLeader`).
    pub wants_switchover_to: Option<String>,
    /// Size of its volume, bytes.
    pub disk_total_bytes: u64,
    /// Free on its volume, bytes.
    pub disk_free_bytes: u64,
    /// Writes are refused for want of space.
    pub disk_full: bool,
    /// The version of the process.
    pub version: String,
}

impl NodeReport {
    /// The epoch of the highest view it has stored; zero without one.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.view.as_ref().map_or(Epoch(0), |view| view.epoch)
    }

    /// Whether this report, after `before`, may change a plan: anything but the progress of indexes
    /// and of clocks that run as they should. What is timed (a silence, a stall) always may.
    #[must_use]
    pub fn is_news(&self, before: &Self) -> bool {
        let limit = Micros::from_millis(limits::SILENT_PEER_MS);
        let unheard = |peer: &Peer| peer.awaited && peer.connected && peer.silent >= limit;
        let timed = self.stall.is_some()
            || self.peers.iter().any(unheard)
            || self
                .link
                .is_some_and(|link| link.state != LinkState::Up || link.commits_stuck > Micros(0));
        timed || self.still() != before.still()
    }

    /// The report without what moves by itself.
    fn still(&self) -> Self {
        let mut still = self.clone();
        still.at = Micros(0);
        still.last = Position::START;
        still.durable = Index(0);
        still.commit = Index(0);
        still.applied = Index(0);
        still.disk_free_bytes = 0;
        still.link = still.link.map(|link| PrimaryLink {
            state: link.state,
            ..Default::default()
        });
        for peer in &mut still.peers {
            peer.durable = Index(0);
            peer.silent = Micros(0);
            peer.phi = 0.0;
        }
        still
    }

    /// What it says of a follower.
    #[must_use]
    pub fn peer(&self, node: &NodeId) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.node == *node)
    }
}

/// Everything known about one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFacts {
    /// Its pod.
    pub pod: Option<PodFacts>,
    /// Its volume claim.
    pub claim: Option<ClaimFacts>,
    /// Its host.
    pub host: HostFacts,
    /// The stream to it.
    pub stream: Stream,
    /// Its last report in this operator's life.
    pub report: Option<NodeReport>,
}

impl NodeFacts {
    /// Whether the stream is alive and has reported: what the node says can be acted on.
    #[must_use]
    pub fn live(&self) -> Option<&NodeReport> {
        match self.stream {
            Stream::Alive => self.report.as_ref(),
            Stream::None | Stream::Lost(_) => None,
        }
    }

    /// The pod, unless it is being deleted.
    #[must_use]
    pub fn staying_pod(&self) -> Option<&PodFacts> {
        self.pod.as_ref().filter(|pod| pod.deleting_since.is_none())
    }

    /// Whether pod and volume are there to stay: neither is being deleted or lost.
    #[must_use]
    pub fn stays(&self) -> bool {
        let ends = self
            .claim
            .as_ref()
            .is_some_and(|claim| claim.deleting || claim.lost);
        self.staying_pod().is_some() && !ends
    }

    /// For how long the pod's host, or the only one its volume can be used on, has been away; zero
    /// while neither is.
    #[must_use]
    pub fn host_away(&self, now: Micros) -> Micros {
        let home = self
            .claim
            .as_ref()
            .map_or(HostFacts::Unknown, |claim| claim.home);
        self.host.away(now).max(home.away(now))
    }

    /// Whether the pod's host, or the only one its volume can be used on, is gone for good.
    #[must_use]
    pub fn host_gone(&self) -> bool {
        let home = self
            .claim
            .as_ref()
            .map_or(HostFacts::Unknown, |claim| claim.home);
        [self.host, home]
            .iter()
            .any(|host| matches!(host, HostFacts::Gone(_)))
    }
}

/// One cluster at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// What is wanted.
    pub cluster: ClusterFacts,
    /// The wall clock, for maintenance windows alone.
    pub wall: Timestamp,
    /// What is recorded.
    pub recorded: Recorded,
    /// Every loss of acknowledged writes that somebody consented to, the oldest first.
    pub losses: Vec<DataLoss>,
    /// Every node there is or should be, by pod name.
    pub nodes: BTreeMap<String, NodeFacts>,
}

impl Observation {
    /// The recorded view, if there is one.
    #[must_use]
    pub fn view(&self) -> Option<&View> {
        match &self.recorded {
            Recorded::View(view) => Some(view),
            Recorded::Unknown | Recorded::Absent => None,
        }
    }

    /// What is known of a pod name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&NodeFacts> {
        self.nodes.get(name)
    }

    /// The live report of exactly this node: this name **and** this volume.
    #[must_use]
    pub fn live(&self, node: &NodeId) -> Option<&NodeReport> {
        self.node(&node.name)?
            .live()
            .filter(|report| report.node == *node)
    }

    /// How good a pod's place is for the primary: the less, the better.
    #[must_use]
    pub fn place(&self, name: &str) -> (usize, usize) {
        let pod = self.node(name).and_then(|facts| facts.pod.as_ref());
        let zone = pod.and_then(|pod| pod.zone.as_deref());
        self.cluster.policy.rank(name, zone)
    }

    /// Whether there should be such a pod.
    #[must_use]
    pub fn wanted(&self, name: &str) -> bool {
        self.cluster.wanted.iter().any(|wanted| wanted == name)
    }
}
