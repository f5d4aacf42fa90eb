//! What a node says of itself: the facts that the operator's decisions and the status rest on. Reading
//! it changes nothing.

use std::fmt;

use crate::detect::{Detector, Thresholds};
use crate::entry::Position;
use crate::ids::{ClusterId, Epoch, Index, Micros, NodeId};
use crate::view::View;

use super::primary::Peer;
use super::{Replica, Role, SessionId};

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleKind {
    /// No view is stored.
    Unassigned,
    /// Follows the primary of its view.
    Follower,
    /// Primary of its view.
    Primary,
    /// Named primary by a view that an earlier run of the process stored, or may have led: only a later
    /// view can make it primary (V3).
    Restarted,
    /// Was primary and has stepped down within the epoch (V8).
    SteppedDown,
}

/// Why a node does not take part fully.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It was told the view of another cluster.
    ForeignView {
        /// The other cluster.
        cluster_id: ClusterId,
    },
    /// The primary says that it belongs to another cluster.
    RejectedAsForeign,
    /// Its log ends before what it once acknowledged (V11).
    RolledBack,
    /// Its primary lacks entries that this node knows to be committed (V6, V11).
    PrimaryLacksCommitted {
        /// Where the logs part.
        start: Index,
        /// What is committed.
        commit: Index,
    },
    /// It holds committed entries of a history that was given up by consent.
    GivenUp {
        /// The epoch of the view with the consent.
        epoch: Epoch,
    },
    /// Two different views of one epoch have reached it (V10). It acknowledges and grants nothing in
    /// that epoch.
    ConflictingView {
        /// The epoch.
        epoch: Epoch,
    },
    /// It is named primary of a view in which it may acknowledge, and has not led the epoch before in
    /// this run of its process (V3). It waits for a later view.
    NotLedBefore {
        /// The epoch.
        epoch: Epoch,
    },
    /// Its log is damaged below what was known to be durable.
    DamagedLog {
        /// What recovery found.
        what: String,
    },
}

impl Doubt {
    /// Whether the node may lack acknowledged writes, and so must not lead.
    #[must_use]
    pub fn bars_primacy(&self) -> bool {
        match self {
            Self::RolledBack | Self::GivenUp { .. } | Self::DamagedLog { .. } => true,
            Self::ForeignView { .. }
            | Self::RejectedAsForeign
            | Self::PrimaryLacksCommitted { .. }
            | Self::ConflictingView { .. }
            | Self::NotLedBefore { .. } => false,
        }
    }

    /// Whether it is about the view or its primary, while the node itself has everything it ever
    /// acknowledged, and may lead in a later view.
    #[must_use]
    pub fn is_about_view(&self) -> bool {
        matches!(
            self,
            Self::PrimaryLacksCommitted { .. }
                | Self::ConflictingView { .. }
                | Self::NotLedBefore { .. }
        )
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForeignView { cluster_id } => {
                write!(f, "was told a view of cluster {cluster_id}, which is not its own")
            }
            Self::RejectedAsForeign => f.write_str("the primary belongs to another cluster"),
            Self::RolledBack => f.write_str(
                "the log ends before what this volume once acknowledged: it was rolled back, cloned \
                 or restored (V11)",
            ),
            Self::PrimaryLacksCommitted {
                start: Index(0),
                commit,
            } => write!(
                f,
                "the primary's log has nothing in common with this one and ends before the committed \
                 {commit}: the primary's volume was rolled back (V6, V11)"
            ),
            Self::PrimaryLacksCommitted { start, commit } => write!(
                f,
                "the primary's log parts from this one at {start}, before the committed {commit}: \
                 the primary's volume was rolled back (V6, V11)"
            ),
            Self::GivenUp { epoch } => write!(
                f,
                "this volume holds committed writes that were given up by consent in epoch {epoch}"
            ),
            Self::ConflictingView { epoch } => write!(
                f,
                "two different views of epoch {epoch} were told: the view object was restored or \
                 tampered with (V10)"
            ),
            Self::NotLedBefore { epoch } => write!(
                f,
                "epoch {epoch} lets it acknowledge, and this run of its process did not lead the epoch \
                 before: an earlier run may have written there; it waits for a later epoch (V3)"
            ),
            Self::DamagedLog { what } => write!(f, "the commit log is damaged: {what}"),
        }
    }
}

/// How the primary looks from a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Messages arrive.
    Up,
    /// Nothing arrives.
    Silent,
    /// Nobody listens there.
    Refused,
    /// It answers that it does not lead in this view.
    NotPrimary,
}

/// The primary, as a follower sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimaryLink {
    /// How it looks.
    pub state: LinkState,
    /// Since when nothing has come from it.
    pub silent: Micros,
    /// The suspicion level of that silence, times 1000.
    pub phi_milli: u64,
    /// It is silent for so long, and so surprisingly, that it counts as lost.
    pub lost: bool,
    /// For how long its writes have waited, by its own account.
    pub stuck: Micros,
}

/// A follower, as the primary sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent facts of a report, not states"
)]
pub struct PeerStatus {
    /// The follower.
    pub node: NodeId,
    /// Its connection, if it has one.
    pub session: Option<SessionId>,
    /// What it has on disk, by what it said in this epoch.
    pub durable: Index,
    /// Since when nothing has come from it.
    pub silent: Micros,
    /// The suspicion level of that silence, times 1000.
    pub phi_milli: u64,
    /// The primary waits for it (V4).
    pub awaited: bool,
    /// It has everything (V4). Never taken back within an epoch.
    pub complete: bool,
    /// It is being filled from a snapshot.
    pub in_snapshot: bool,
    /// Its log lost what it had acknowledged (V11).
    pub rolled_back: bool,
}

/// Writes that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteStall {
    /// Since when nothing was committed although something waits.
    pub waiting: Micros,
    /// This node's own disk has not finished.
    pub local_disk: bool,
    /// Nodes that have not acknowledged.
    pub nodes: Vec<NodeId>,
}

/// All of it at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What the node is.
    pub role: RoleKind,
    /// The stored view.
    pub view: Option<View>,
    /// The first retained index of the log.
    pub first: Index,
    /// The last entry of the log.
    pub last: Position,
    /// How far the log is on disk.
    pub durable: Index,
    /// What is known to be committed.
    pub commit: Index,
    /// Writes and linearizable reads are answered.
    pub serving: bool,
    /// Since when, if they are.
    pub serving_for: Micros,
    /// Since when the view is stored.
    pub view_stored_for: Micros,
    /// Stepped down, with nothing left to replicate (V8).
    pub drained: bool,
    /// The followers, on a primary.
    pub peers: Vec<PeerStatus>,
    /// The primary, on a follower.
    pub primary_link: Option<PrimaryLink>,
    /// Writes that wait, on a primary.
    pub write_stall: Option<WriteStall>,
    /// Why the node does not take part fully.
    pub doubt: Option<Doubt>,
}

impl Replica {
    /// What this node is.
    #[must_use]
    pub fn role_kind(&self) -> RoleKind {
        match &self.role {
            Role::Primary(primary) if primary.stepped_down => RoleKind::SteppedDown,
            Role::Primary(_) => RoleKind::Primary,
            Role::Follower(_) => RoleKind::Follower,
            Role::Idle if self.view.is_some() => RoleKind::Restarted,
            Role::Idle => RoleKind::Unassigned,
        }
    }

    /// Whether writes and linearizable reads are answered: [`Status::serving`] without the rest.
    #[must_use]
    pub fn serves(&self) -> bool {
        let can = self.view.as_ref().is_some_and(View::can_acknowledge);
        matches!(&self.role, Role::Primary(primary)
            if can && !primary.stepped_down && primary.serving_since.is_some())
    }

    /// Whether a node that is waited for has not everything yet, so that every acknowledgement may be
    /// news for the operator.
    #[must_use]
    pub fn expects_news(&self) -> bool {
        matches!(&self.role, Role::Primary(primary)
            if !primary.wait_for.is_subset(&primary.complete) || primary.stepped_down)
    }

    /// Everything that is reported, as of the last step.
    #[must_use]
    pub fn status(&self, now: Micros) -> Status {
        let now = self.now.max(now);
        let mut status = Status {
            role: self.role_kind(),
            view: self.view.clone(),
            first: self.log.base().index.next(),
            last: self.log.last(),
            durable: self.log.durable(),
            commit: self.commit,
            serving: false,
            serving_for: Micros(0),
            view_stored_for: now.since(self.view_stored_at),
            drained: false,
            peers: Vec::new(),
            primary_link: None,
            write_stall: None,
            doubt: self.reported_doubt(),
        };
        match &self.role {
            Role::Primary(primary) => {
                let can =
                    self.view.as_ref().is_some_and(View::can_acknowledge) && !self.is_conflicted();
                let since = primary
                    .serving_since
                    .filter(|_| can && !primary.stepped_down);
                status.serving = since.is_some();
                status.serving_for = since.map_or(Micros(0), |since| now.since(since));
                status.drained = self
                    .view
                    .as_ref()
                    .is_some_and(|view| primary.drained(self.log.last().index, view));
                status.peers = self.peer_statuses(now);
                status.write_stall = self.write_stall(now);
            }
            Role::Follower(follower) => {
                status.primary_link = Some(PrimaryLink {
                    state: follower.link,
                    silent: now.since(follower.heard_at),
                    phi_milli: phi_milli(&follower.detector, now),
                    lost: follower
                        .detector
                        .lost(now, &Thresholds::default())
                        .is_some(),
                    stuck: follower.stuck,
                });
            }
            Role::Idle => {}
        }
        status
    }

    fn peer_statuses(&self, now: Micros) -> Vec<PeerStatus> {
        let Role::Primary(primary) = &self.role else {
            return Vec::new();
        };
        let describe = |node: &NodeId, known: Option<(SessionId, &Peer)>| PeerStatus {
            node: node.clone(),
            session: known.map(|(session, _)| session),
            durable: known.map_or(Index(0), |(_, peer)| peer.durable),
            silent: known.map_or(Micros(u64::MAX), |(_, peer)| peer.detector.silence(now)),
            phi_milli: known.map_or(0, |(_, peer)| phi_milli(&peer.detector, now)),
            awaited: primary.wait_for.contains(node),
            complete: primary.complete.contains(node),
            in_snapshot: known.is_some_and(|(_, peer)| peer.in_snapshot),
            rolled_back: primary.rolled_back.contains(node),
        };
        let mut peers: Vec<_> = primary
            .peers
            .iter()
            .map(|(session, peer)| describe(&peer.node, Some((*session, peer))))
            .collect();
        let mut absent: Vec<_> = primary.wait_for.union(&primary.rolled_back).collect();
        absent.retain(|node| peers.iter().all(|peer| peer.node != **node));
        peers.extend(absent.into_iter().map(|node| describe(node, None)));
        peers
    }

    fn write_stall(&self, now: Micros) -> Option<WriteStall> {
        let Role::Primary(primary) = &self.role else {
            return None;
        };
        if self.log.last().index <= self.commit {
            return None;
        }
        let next = self.commit.next();
        let lacks = |node: &&NodeId| primary.held_by_node(node) < next;
        Some(WriteStall {
            waiting: now.since(primary.progress_at),
            local_disk: self.log.durable() < next,
            nodes: primary.wait_for.iter().filter(lacks).cloned().collect(),
        })
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bounded just before, and suspicion is never negative"
)]
fn phi_milli(detector: &Detector, now: Micros) -> u64 {
    (detector.phi(now) * 1_000.0).clamp(0.0, 1e9) as u64
}
