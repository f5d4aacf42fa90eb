//! What nodes say to each other. A follower dials the primary of its view; everything below travels
//! on that one connection, in order.
//!
//! Messages never carry decisions of the operator other than the recorded view itself.

use crate::entry::{Entry, Position};
use crate::ids::{ClusterId, Epoch, Index, Micros, NodeId};
use crate::log_index::LogOutline;
use crate::view::View;

/// A follower presents itself: who it is, the view it has stored, and what its log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The cluster the follower's volume belongs to.
    pub cluster_id: ClusterId,
    /// The follower.
    pub node: NodeId,
    /// The highest view it has stored.
    pub view: Option<View>,
    /// Its log.
    pub log: LogOutline,
    /// What it knows to be committed.
    pub commit: Index,
    /// Recovery found that the log lost entries it may have acknowledged.
    pub damaged: bool,
    /// Counts up with each presentation; the answer names it. A follower changes nothing in its log
    /// between presenting it and the answer, so an answer to an earlier presentation must not be
    /// acted on.
    pub attempt: u64,
}

/// Why a primary will not have a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// The follower belongs to another cluster.
    ForeignCluster,
    /// The follower's log ends before what it once acknowledged (V11).
    RolledBack,
    /// The follower knows of committed entries that the primary lacks, and their logs have nothing in
    /// common.
    LacksCommitted,
}

/// A message between two nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Follower to primary, first on a connection and again after each change of view.
    Hello(Hello),
    /// Primary to follower: cut your log after `start`, the stream goes on from there.
    Welcome {
        /// The epoch of the primary's view.
        epoch: Epoch,
        /// The last position both logs hold.
        start: Position,
        /// The presentation this answers.
        attempt: u64,
    },
    /// Primary to follower: your log ends too early for mine; a snapshot follows.
    SnapshotFollows {
        /// The epoch of the primary's view.
        epoch: Epoch,
        /// The presentation this answers.
        attempt: u64,
    },
    /// Either way: a view the other may not know. Also the answer of a node that is not primary.
    ViewIs(View),
    /// Primary to follower: it cannot take part.
    Reject(RejectReason),
    /// Primary to follower: entries, each following the one before.
    Append {
        /// The epoch of the primary's view.
        epoch: Epoch,
        /// The position before the first entry.
        previous: Position,
        /// The entries.
        entries: Vec<Entry>,
        /// Everything up to here is committed.
        commit: Index,
    },
    /// Follower to primary: durable up to `durable`, under `epoch`.
    Ack {
        /// The epoch the follower has stored.
        epoch: Epoch,
        /// The highest index it has on disk.
        durable: Index,
    },
    /// Primary to follower, at a steady pace.
    Heartbeat {
        /// The epoch of the primary's view.
        epoch: Epoch,
        /// Counts up; the answer names it.
        sequence: u64,
        /// Everything up to here is committed.
        commit: Index,
        /// For how long writes have waited without any being committed.
        stuck: Micros,
    },
    /// Follower to primary: the answer to a heartbeat. It grants the primary the right to answer
    /// reads for the length of a lease from when the heartbeat was sent (V5).
    HeartbeatReply {
        /// The epoch the follower has stored.
        epoch: Epoch,
        /// The heartbeat's number.
        sequence: u64,
        /// The highest index it has on disk.
        durable: Index,
    },
}
