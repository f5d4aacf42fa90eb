//! What every service stands on: the way to write and to read, who this node is, and the headers.
//!
//! Refuses what this node may not answer; never decides what replication decides.

use std::sync::Arc;

use standby_core::{ClusterId, Epoch, Micros, NodeId};
use standby_interface::{MemberInfo, Refusal, Replication, Role, RoleInfo};
use tokio::sync::watch;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::command::{self, Command};
use crate::error::EtcdError;
use crate::lessor::Lessor;
use crate::limits::{DEFAULT_QUOTA_BYTES, MAX_REQUEST_BYTES};
use crate::pb::etcdserverpb::ResponseHeader;
use crate::state::{Outcome, ReadView};

/// A monotonic clock. Tests bring their own.
pub trait Clock: Send + Sync + 'static {
    /// The time since some moment before.
    fn now(&self) -> Micros;
}

/// The process's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    start: std::time::Instant,
}

impl MonotonicClock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            start: std::time::Instant::now(),
        }
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Micros {
        let micros = self.start.elapsed().as_micros();
        Micros(u64::try_from(micros).expect("a process does not run for 500,000 years"))
    }
}

/// The parts of a [`Node`].
pub struct NodeParts<R> {
    /// Replication.
    pub replication: R,
    /// The state as it can be read.
    pub view: ReadView,
    /// The space quota in bytes; 0 means etcd's default, `None` no quota.
    pub quota_backend_bytes: Option<u64>,
    /// The clock that leases run by.
    pub clock: Arc<dyn Clock>,
}

/// What the services share. Cheap to clone.
pub struct Node<R> {
    shared: Arc<Shared<R>>,
}

struct Shared<R> {
    replication: R,
    role: watch::Receiver<RoleInfo>,
    view: ReadView,
    lessor: Lessor,
    clock: Arc<dyn Clock>,
    quota_bytes: Option<u64>,
    cluster_id: u64,
    member_id: u64,
}

impl<R> Clone for Node<R> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

/// The number clients know a node by, as long as nothing was given up. Stable, never 0.
#[must_use]
pub fn member_id(node: &NodeId) -> u64 {
    hash(&[node.name.as_bytes(), b"/", node.volume.0.as_bytes()])
}

/// The number clients know a cluster by, as long as nothing was given up. Stable, never 0.
#[must_use]
pub fn cluster_number(cluster: &ClusterId) -> u64 {
    hash(&[cluster.0.as_bytes()])
}

/// A number in the history that is named by `history`: another one after acknowledged writes were given
/// up, so that clients can see it.
fn in_history(number: u64, history: u64) -> u64 {
    if history == 0 {
        return number;
    }
    hash(&[&number.to_le_bytes(), &history.to_le_bytes()])
}

/// FNV-1a with 64 bits: the same in every version, and there is nobody to collide on purpose with.
pub(crate) fn hash(parts: &[&[u8]]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let hash = parts
        .iter()
        .flat_map(|part| part.iter())
        .fold(OFFSET, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
        });
    hash.max(1)
}

impl<R: Replication<Outcome>> Node<R> {
    /// Puts the parts together.
    pub fn new(parts: NodeParts<R>) -> Self {
        let status = parts.replication.status();
        let quota_bytes = match parts.quota_backend_bytes {
            Some(0) => Some(DEFAULT_QUOTA_BYTES),
            quota => quota,
        };
        let shared = Shared {
            cluster_id: cluster_number(&status.cluster_id),
            member_id: member_id(&status.node),
            role: parts.replication.role(),
            replication: parts.replication,
            view: parts.view,
            lessor: Lessor::default(),
            clock: parts.clock,
            quota_bytes,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Replication.
    pub fn replication(&self) -> &R {
        &self.shared.replication
    }

    /// The state as it can be read.
    pub fn view(&self) -> &ReadView {
        &self.shared.view
    }

    /// The leases' times.
    pub fn lessor(&self) -> &Lessor {
        &self.shared.lessor
    }

    /// The time.
    pub fn now(&self) -> Micros {
        self.shared.clock.now()
    }

    /// The number clients know this node by.
    pub fn member_id(&self) -> u64 {
        in_history(self.shared.member_id, self.shared.view.history())
    }

    /// The number clients know `node` by.
    pub fn member_id_of(&self, node: &NodeId) -> u64 {
        in_history(member_id(node), self.shared.view.history())
    }

    /// The number of a member as it is listed. One whose volume is not known is known by its name.
    pub fn member_id_in_list(&self, info: &MemberInfo) -> u64 {
        match &info.volume {
            Some(volume) => self.member_id_of(&NodeId {
                name: info.name.clone(),
                volume: volume.clone(),
            }),
            None => hash(&[info.name.as_bytes()]),
        }
    }

    /// The space quota in bytes, if there is one.
    pub fn quota_bytes(&self) -> Option<u64> {
        self.shared.quota_bytes
    }

    /// The role now.
    pub fn role(&self) -> RoleInfo {
        self.shared.role.borrow().clone()
    }

    fn epoch(&self) -> Epoch {
        self.shared.role.borrow().epoch
    }

    /// A header with `revision`.
    pub fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader {
            cluster_id: in_history(self.shared.cluster_id, self.shared.view.history()),
            member_id: self.member_id(),
            revision,
            raft_term: self.epoch().0,
        }
    }

    /// A header with the newest revision that can be read.
    pub fn current_header(&self) -> ResponseHeader {
        self.header(self.shared.view.current_revision())
    }

    /// Completes a header that carries a revision.
    pub fn complete(&self, header: &mut Option<ResponseHeader>) {
        let revision = header.as_ref().map_or(0, |header| header.revision);
        let revision = if revision == 0 {
            self.shared.view.current_revision()
        } else {
            revision
        };
        *header = Some(self.header(revision));
    }

    /// Refuses requests that ask for a known primary (`hasleader`) while there is none.
    pub fn check_leader(&self, metadata: &MetadataMap) -> Result<(), EtcdError> {
        let wants_leader = metadata
            .get("hasleader")
            .is_some_and(|value| value == "true");
        if wants_leader && !self.shared.role.borrow().primary_alive {
            return Err(EtcdError::NoLeader);
        }
        Ok(())
    }

    /// Refuses what only a primary answers.
    pub fn check_primary(&self) -> Result<(), EtcdError> {
        match self.shared.role.borrow().role {
            Role::Primary | Role::PrimaryWaiting | Role::SteppedDown => Ok(()),
            Role::Follower => Err(EtcdError::NotSupportedForLearner),
            Role::Unassigned => Err(EtcdError::NoLeader),
        }
    }

    /// Refuses to write more while `cost_bytes` more would exceed the quota.
    pub fn check_quota(&self, cost_bytes: u64) -> Result<(), EtcdError> {
        match self.shared.quota_bytes {
            Some(quota) if cost_bytes > 0 && self.view().disk_bytes() + cost_bytes >= quota => {
                Err(EtcdError::NoSpace)
            }
            _ => Ok(()),
        }
    }

    /// Writes a command to the log; resolves with what it did.
    pub async fn write(&self, command: Command) -> Result<Outcome, EtcdError> {
        let frees_space = command::frees_space(&command);
        let payload = command::encode(command);
        if payload.len() > MAX_REQUEST_BYTES {
            return Err(EtcdError::RequestTooLarge);
        }
        match self.shared.replication.propose(payload, frees_space).await {
            Ok((_, outcome)) => Ok(outcome),
            Err(refusal) => Err(self.refused(refusal)),
        }
    }

    /// Resolves once reads are linearizable (V5).
    pub async fn barrier(&self) -> Result<(), EtcdError> {
        self.shared
            .replication
            .read_barrier()
            .await
            .map_err(|refusal| self.refused(refusal))
    }

    fn refused(&self, refusal: Refusal) -> EtcdError {
        match (&refusal, self.role().role) {
            // Held for want of a view that can acknowledge, or of proof of primacy: to a client that
            // is a cluster without a leader.
            (Refusal::Timeout { .. }, Role::PrimaryWaiting | Role::SteppedDown)
            | (Refusal::NotPrimary, Role::Unassigned) => EtcdError::NoLeader,
            _ => refusal.into(),
        }
    }
}

/// An outcome of another command than the one that was written.
pub(super) fn mismatched(outcome: &Outcome) -> Status {
    Status::internal(format!(
        "standby: the log answered another command: {outcome:?}"
    ))
}

/// A call that Standby does not offer, with what to do instead.
pub(super) fn not_offered(call: &str, instead: &str) -> Status {
    Status::unimplemented(format!("standby: {call} is not offered: {instead}"))
}
