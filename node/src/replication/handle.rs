//! Replication as a protocol server sees it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use standby_core::{ClusterId, Epoch, Index, NodeId, Position, View};
use standby_interface::{
    MemberInfo, Refusal, Replication, ReplicationFuture, Role, RoleInfo, StatusInfo,
};
use standby_store::limits::FRAME_PAYLOAD_MAX_BYTES;
use standby_store::log::LogReader;
use standby_store::volume::PeerAddress;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Clock, Command, Proposals, Shared, Told};
use crate::limits::{
    PROPOSAL_TIMEOUT_MS, PROPOSALS_IN_FLIGHT_BYTES, PROPOSALS_IN_FLIGHT_MAX, READ_TIMEOUT_MS,
    SWITCHOVER_ASKED_MS,
};

/// The handle that servers call.
pub struct NodeReplication<O> {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// This node.
    pub node: NodeId,
    /// The driver.
    pub driver: mpsc::UnboundedSender<Command>,
    /// Commands on their way to the driver.
    pub proposals: Arc<Proposals<O>>,
    /// Published numbers.
    pub shared: Arc<Shared>,
    /// Time.
    pub clock: Clock,
    /// The role.
    pub role: watch::Receiver<RoleInfo>,
    /// The view.
    pub view: watch::Receiver<Option<View>>,
    /// Where everybody is.
    pub addresses: watch::Receiver<(Vec<PeerAddress>, String)>,
    /// For positions.
    pub log: LogReader,
}

/// Counts a waiting command for as long as it waits, also when the client gives up.
struct Waiting<'a> {
    shared: &'a Shared,
    bytes: usize,
}

impl<'a> Waiting<'a> {
    fn enter(shared: &'a Shared, bytes: usize) -> Result<Self, Refusal> {
        let count = shared.waiting.fetch_add(1, Ordering::Relaxed);
        let total = shared.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let entered = Self { shared, bytes };
        if count >= PROPOSALS_IN_FLIGHT_MAX || total >= PROPOSALS_IN_FLIGHT_BYTES {
            return Err(Refusal::Overloaded);
        }
        Ok(entered)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        self.shared
            .waiting_bytes
            .fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A wish for a switchover, reported for as long as somebody waits for it.
struct Wish<'a> {
    shared: &'a Shared,
    wish: (Epoch, String),
}

impl<'a> Wish<'a> {
    fn make(shared: &'a Shared, epoch: Epoch, name: String) -> Self {
        let wish = (epoch, name);
        *shared.wants_switchover.lock() = Some(wish.clone());
        Self { shared, wish }
    }
}

impl Drop for Wish<'_> {
    fn drop(&mut self) {
        let mut standing = self.shared.wants_switchover.lock();
        // A later one may have taken its place.
        if standing.as_ref() == Some(&self.wish) {
            *standing = None;
        }
    }
}

impl<O: Send + 'static> NodeReplication<O> {
    async fn answer<T>(
        reply: oneshot::Receiver<Result<T, Refusal>>,
        limit_ms: u64,
    ) -> Result<T, Refusal> {
        match tokio::time::timeout(Duration::from_millis(limit_ms), reply).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Refusal::ShuttingDown),
            Err(_) => Err(Refusal::Timeout { after_ms: limit_ms }),
        }
    }

    fn send(&self, command: Command) -> Result<(), Refusal> {
        self.driver.send(command).map_err(|_| Refusal::ShuttingDown)
    }

    async fn applied(&self, index: Index) -> Result<(), Refusal> {
        if self.shared.applied() >= index {
            return Ok(());
        }
        let mut applied = self.shared.watch_applied();
        let waited = applied.wait_for(|now| *now >= index);
        match tokio::time::timeout(Duration::from_millis(READ_TIMEOUT_MS), waited).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Refusal::ShuttingDown),
            Err(_) => Err(Refusal::Timeout {
                after_ms: READ_TIMEOUT_MS,
            }),
        }
    }

    /// A larger command would be refused by the log, after which this node could not go on.
    fn fits_into_log(payload: &Bytes) -> Result<(), Refusal> {
        let (given_bytes, most_bytes) = (payload.len(), FRAME_PAYLOAD_MAX_BYTES);
        if given_bytes > most_bytes {
            return Err(Refusal::TooLarge {
                given_bytes,
                most_bytes,
            });
        }
        Ok(())
    }

    fn disk_has_room(&self) -> Result<(), Refusal> {
        if !self.shared.disk_full.load(Ordering::Relaxed) {
            return Ok(());
        }
        let total = self.shared.disk_total.load(Ordering::Relaxed);
        Err(Refusal::DiskFull {
            free_bytes: self.shared.disk_free.load(Ordering::Relaxed),
            needed_bytes: crate::disk_watch::reserve_bytes(total),
        })
    }

    /// Has the operator told whom clients want for a primary, until it is so or for as long as a
    /// command may take.
    async fn ask_for_switchover(&self, name: String) -> Result<(), Refusal> {
        let Some(view) = self.view.borrow().clone() else {
            return Err(Refusal::NotPrimary);
        };
        if view.primary != self.node {
            return Err(Refusal::NotPrimary);
        }
        if view.primary.name == name {
            return Ok(());
        }
        if !view.synchronous.iter().any(|node| node.name == name) {
            return Err(Refusal::NotSynchronous { name });
        }
        tracing::info!(to = name, "a client asks for a switchover");
        let wish = Wish::make(&self.shared, view.epoch, name.clone());
        self.send(Command::Told(Told::News))?;
        let mut role = self.role.clone();
        let moved = role.wait_for(|info| {
            let primary = info.primary.as_ref();
            primary.is_some_and(|node| *node != self.node)
        });
        let after_ms = SWITCHOVER_ASKED_MS;
        let moved = tokio::time::timeout(Duration::from_millis(after_ms), moved).await;
        drop(wish);
        match moved {
            Err(_) => Err(Refusal::Timeout { after_ms }),
            Ok(Err(_)) => Err(Refusal::ShuttingDown),
            Ok(Ok(info)) if info.primary.as_ref().is_some_and(|n| n.name == name) => Ok(()),
            Ok(Ok(_)) => Err(Refusal::RoleLost),
        }
    }

    fn members(&self) -> Vec<MemberInfo> {
        let (peers, client_url) = self.addresses.borrow().clone();
        let primary = self.role.borrow().primary.clone();
        let view = self.view.borrow().clone();
        let named = view.iter().flat_map(|v| v.synchronous.union(&v.complete));
        let named: Vec<_> = primary.iter().chain([&self.node]).chain(named).collect();
        let mut members: Vec<_> = peers
            .into_iter()
            .map(|peer| {
                let leads = primary
                    .as_ref()
                    .is_some_and(|primary| primary.name == peer.name);
                let known = named.iter().find(|node| node.name == peer.name);
                MemberInfo {
                    volume: known.map(|node| node.volume.clone()),
                    primary: leads,
                    peer_url: format!("https://{}", peer.peer),
                    client_url: if leads {
                        client_url.clone()
                    } else {
                        peer.client_url
                    },
                    name: peer.name,
                }
            })
            .collect();
        if members.is_empty() {
            members.push(MemberInfo {
                name: self.node.name.clone(),
                volume: Some(self.node.volume.clone()),
                primary: true,
                peer_url: String::new(),
                client_url,
            });
        }
        members.sort_by(|a, b| a.name.cmp(&b.name));
        members
    }
}

impl<O: Send + 'static> Replication<O> for NodeReplication<O> {
    fn propose(&self, payload: Bytes, frees_space: bool) -> ReplicationFuture<'_, (Position, O)> {
        Box::pin(async move {
            Self::fits_into_log(&payload)?;
            if !frees_space {
                self.disk_has_room()?;
            }
            let waiting = Waiting::enter(&self.shared, payload.len())?;
            let (reply, answer) = oneshot::channel();
            if self.proposals.add((payload, reply)) {
                self.send(Command::Proposed)?;
            }
            let outcome = Self::answer(answer, PROPOSAL_TIMEOUT_MS).await;
            drop(waiting);
            outcome
        })
    }

    fn read_barrier(&self) -> ReplicationFuture<'_, ()> {
        Box::pin(async move {
            if let Some(index) = self.shared.leased_read(self.clock.now()) {
                return self.applied(index).await;
            }
            if matches!(self.role.borrow().role, Role::Follower | Role::Unassigned) {
                return Err(Refusal::NotPrimary);
            }
            let waiting = Waiting::enter(&self.shared, 0)?;
            let (reply, answer) = oneshot::channel();
            self.send(Command::Read(reply))?;
            let outcome = Self::answer(answer, READ_TIMEOUT_MS).await;
            drop(waiting);
            outcome
        })
    }

    fn move_primary(&self, name: String) -> ReplicationFuture<'_, ()> {
        Box::pin(self.ask_for_switchover(name))
    }

    fn role(&self) -> watch::Receiver<RoleInfo> {
        self.role.clone()
    }

    fn status(&self) -> StatusInfo {
        let commit = self.shared.commit();
        let commit = self.log.position_of(commit);
        StatusInfo {
            cluster_id: self.cluster_id.clone(),
            node: self.node.clone(),
            last: self.log.last(),
            commit: commit.unwrap_or_else(|| self.log.base()),
            members: self.members(),
            disk_full: self.shared.disk_full.load(Ordering::Relaxed),
        }
    }
}
