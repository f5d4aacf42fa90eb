//! Replication without replicas and without a log: one thread applies what is proposed, at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

use bytes::Bytes;
use standby_core::{ClusterId, Entry, Epoch, Index, NodeId, Position};
use standby_interface::{
    MemberInfo, Refusal, Replication, ReplicationFuture, Role, RoleInfo, StateMachine, StatusInfo,
};
use tokio::sync::{oneshot, watch};

/// Proposals that are applied together.
const GROUP: usize = 256;

struct Proposal<O> {
    payload: Bytes,
    applied: oneshot::Sender<(Position, O)>,
}

/// A cluster of one, always primary unless a test says otherwise.
pub struct LocalReplication<O> {
    proposals: mpsc::SyncSender<Proposal<O>>,
    role: watch::Sender<RoleInfo>,
    index: Arc<AtomicU64>,
    node: NodeId,
    /// What the server is told of the disk.
    pub disk_full: AtomicBool,
}

impl<O: Send + 'static> LocalReplication<O> {
    /// Takes the state machine over; its thread ends with the last handle.
    pub fn start<M: StateMachine<Outcome = O>>(mut machine: M) -> Self {
        let node = NodeId::new("local-1", "0123456789abcdef");
        let epoch = Epoch(1);
        let (role, _) = watch::channel(RoleInfo {
            role: Role::Primary,
            epoch,
            primary: Some(node.clone()),
            primary_alive: true,
        });
        let opening = Entry::open(Position::new(epoch, machine.applied().index.next()));
        machine.apply(&[opening]).expect("an epoch can be opened");
        let index = Arc::new(AtomicU64::new(machine.applied().index.0));
        let (proposals, receiver) = mpsc::sync_channel(4 * GROUP);
        let applied = Arc::clone(&index);
        std::thread::spawn(move || apply_all(machine, epoch, &receiver, &applied));
        Self {
            proposals,
            role,
            index,
            node,
            disk_full: AtomicBool::new(false),
        }
    }

    /// Makes the node something else in the eyes of the server.
    pub fn become_role(&self, role: Role, primary_alive: bool) {
        self.role.send_modify(|info| {
            info.role = role;
            info.primary_alive = primary_alive;
        });
    }
}

fn apply_all<M: StateMachine>(
    mut machine: M,
    epoch: Epoch,
    proposals: &mpsc::Receiver<Proposal<M::Outcome>>,
    applied: &AtomicU64,
) {
    while let Ok(first) = proposals.recv() {
        let group: Vec<_> = std::iter::once(first)
            .chain(proposals.try_iter().take(GROUP - 1))
            .collect();
        let mut index = machine.applied().index;
        let entries: Vec<Entry> = group
            .iter()
            .map(|proposal| {
                index = index.next();
                Entry::data(Position::new(epoch, index), proposal.payload.clone())
            })
            .collect();
        let outcomes = machine
            .apply(&entries)
            .expect("entries that the server wrote apply");
        applied.store(index.0, Ordering::Release);
        for ((proposal, entry), outcome) in group.into_iter().zip(&entries).zip(outcomes) {
            // A client that gave up does not listen any more.
            let _ = proposal.applied.send((entry.position, outcome));
        }
    }
}

impl<O: Send + 'static> Replication<O> for LocalReplication<O> {
    fn propose(&self, payload: Bytes, _: bool) -> ReplicationFuture<'_, (Position, O)> {
        let (applied, outcome) = oneshot::channel();
        let sent = self.proposals.try_send(Proposal { payload, applied });
        Box::pin(async move {
            sent.map_err(|_| Refusal::Overloaded)?;
            outcome.await.map_err(|_| Refusal::ShuttingDown)
        })
    }

    fn read_barrier(&self) -> ReplicationFuture<'_, ()> {
        let primary = self.role.borrow().role == Role::Primary;
        Box::pin(std::future::ready(if primary {
            Ok(())
        } else {
            Err(Refusal::NotPrimary)
        }))
    }

    fn move_primary(&self, name: String) -> ReplicationFuture<'_, ()> {
        let refused = Refusal::NotSynchronous { name };
        Box::pin(std::future::ready(Err(refused)))
    }

    fn role(&self) -> watch::Receiver<RoleInfo> {
        self.role.subscribe()
    }

    fn status(&self) -> StatusInfo {
        let epoch = self.role.borrow().epoch;
        let last = Position::new(epoch, Index(self.index.load(Ordering::Acquire)));
        StatusInfo {
            cluster_id: ClusterId("local".to_owned()),
            node: self.node.clone(),
            last,
            commit: last,
            members: vec![MemberInfo {
                name: self.node.name.clone(),
                volume: Some(self.node.volume.clone()),
                primary: true,
                peer_url: String::new(),
                client_url: "http://localhost:2379".to_owned(),
            }],
            disk_full: self.disk_full.load(Ordering::Relaxed),
        }
    }
}
