//! What a protocol server asks of replication.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use standby_core::{ClusterId, Epoch, NodeId, Position, VolumeId};
use tokio::sync::watch;

/// What a node is at the moment, as far as clients are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// No view is known yet.
    Unassigned,
    /// Answers writes and linearizable reads.
    Primary,
    /// Primary of a view in which it may not serve yet (V5), or in which nothing can be acknowledged
    /// (V7): requests are held until it may.
    PrimaryWaiting,
    /// Was primary until a moment ago and answers nothing more: the next view is about to name another
    /// (V8).
    SteppedDown,
    /// Follows a primary: answers serializable reads and status only.
    Follower,
}

impl Role {
    /// Whether the view it has adopted names it as primary.
    #[must_use]
    pub fn is_primary(self) -> bool {
        matches!(
            self,
            Self::Primary | Self::PrimaryWaiting | Self::SteppedDown
        )
    }
}

/// The role, and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleInfo {
    /// What the node is.
    pub role: Role,
    /// The epoch of the view it has adopted; zero without one.
    pub epoch: Epoch,
    /// Who is primary in that view.
    pub primary: Option<NodeId>,
    /// Whether a live primary is known: on the primary itself, whether it may serve; on a follower,
    /// whether the primary's messages arrive.
    pub primary_alive: bool,
}

/// Why replication did not do what was asked. Nothing was done, unless the variant says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// This node is not the primary; nothing was written.
    #[error("this node is not the primary")]
    NotPrimary,
    /// The node lost its role while the request was in flight. A write may still take effect.
    #[error("the primary changed while the request was in flight")]
    RoleLost,
    /// Not answered within the limit. A write may still take effect.
    #[error("not replicated within {after_ms} ms")]
    Timeout {
        /// The limit that passed.
        after_ms: u64,
    },
    /// The queue of waiting requests is full; nothing was written.
    #[error("too many requests are waiting")]
    Overloaded,
    /// The command does not fit into the log; nothing was written.
    #[error("the command has {given_bytes} bytes, at most {most_bytes} fit into the log")]
    TooLarge {
        /// Its size.
        given_bytes: usize,
        /// What fits.
        most_bytes: usize,
    },
    /// The disk is too full for more writes; nothing was written. Reads and deletions of space go on.
    #[error("the disk is too full: {free_bytes} bytes free, {needed_bytes} are kept in reserve")]
    DiskFull {
        /// What is free.
        free_bytes: u64,
        /// What must stay free.
        needed_bytes: u64,
    },
    /// The node that was to become primary is not synchronous: it may lack acknowledged writes.
    #[error("{name} is not a synchronous standby of the present view")]
    NotSynchronous {
        /// Its name.
        name: String,
    },
    /// The process is ending; nothing was written.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// A member of the cluster for listings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    /// The pod's name.
    pub name: String,
    /// The volume it runs on, if that is known: with the name it identifies the node.
    pub volume: Option<VolumeId>,
    /// Whether it is the primary.
    pub primary: bool,
    /// URL of its peer port; empty when unknown.
    pub peer_url: String,
    /// URL of its client port; for the primary the address that follows the primary.
    pub client_url: String,
}

/// Replication's state, for status calls and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusInfo {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// This node.
    pub node: NodeId,
    /// Last entry in this node's log.
    pub last: Position,
    /// What is known to be committed.
    pub commit: Position,
    /// Every member, sorted by name.
    pub members: Vec<MemberInfo>,
    /// Whether writes are refused for want of disk space.
    pub disk_full: bool,
}

/// A future that replication returns.
pub type ReplicationFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send + 'a>>;

/// Replication, as a protocol server sees it. `O` is the state machine's outcome.
pub trait Replication<O>: Send + Sync + 'static {
    /// Writes `payload` to the log; resolves once it is committed (V1) and applied here. Held while
    /// the node is [`Role::PrimaryWaiting`].
    ///
    /// `frees_space` marks a command that is let through when the disk is full.
    fn propose(&self, payload: Bytes, frees_space: bool) -> ReplicationFuture<'_, (Position, O)>;

    /// Resolves once everything acknowledged before the call is applied here, under proof of primacy
    /// (V5): what is read from the state afterwards is linearizable.
    fn read_barrier(&self) -> ReplicationFuture<'_, ()>;

    /// Asks for `name` to become primary, and resolves once it is. Who decides is not this node: the
    /// wish is passed on, and may be refused by silence.
    fn move_primary(&self, name: String) -> ReplicationFuture<'_, ()>;

    /// The role now and as it changes.
    fn role(&self) -> watch::Receiver<RoleInfo>;

    /// The state now.
    fn status(&self) -> StatusInfo;
}

impl<O: 'static, R: Replication<O> + ?Sized> Replication<O> for Arc<R> {
    fn propose(&self, payload: Bytes, frees_space: bool) -> ReplicationFuture<'_, (Position, O)> {
        (**self).propose(payload, frees_space)
    }

    fn read_barrier(&self) -> ReplicationFuture<'_, ()> {
        (**self).read_barrier()
    }

    fn move_primary(&self, name: String) -> ReplicationFuture<'_, ()> {
        (**self).move_primary(name)
    }

    fn role(&self) -> watch::Receiver<RoleInfo> {
        (**self).role()
    }

    fn status(&self) -> StatusInfo {
        (**self).status()
    }
}
