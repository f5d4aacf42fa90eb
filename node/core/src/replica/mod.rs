//! The state machine that every node runs: it takes in what happened (a view, a message, a disk
//! completion, the passing of time) and says what to do (store, send, cut, commit).
//!
//! Shells drive it: [`Replica::step`] with one input at a time, then [`Replica::drain`] for the
//! commands, to be carried out in order. Nothing here waits, reads a clock or keeps a payload.
//!
//! The parts: `adoption` (views, and what they make of a node), `standing` (what a run may lead),
//! `primary` (who is waited for, what is committed), `arrivals` (followers present themselves), `reads`
//! (leases), `follower` (matching logs, acknowledging, granting), `doubts`, `status` (what is reported).

mod adoption;
mod arrivals;
mod doubts;
mod follower;
mod mutant;
mod primary;
mod reads;
mod standing;
mod status;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::entry::{Entry, Position};
use crate::ids::{ClusterId, Epoch, Index, Micros, NodeId};
use crate::log_index::{LogIndex, LogOutline};
use crate::message::{Hello, Message};
use crate::view::View;

use follower::Follower;
use mutant::Mutant as Fault;
#[cfg(feature = "mutants")]
pub use mutant::Mutant;
use primary::Primary;
use standing::Standing;
pub use status::{Doubt, LinkState, PeerStatus, PrimaryLink, RoleKind, Status, WriteStall};

/// A connection to a peer, numbered by the shell. Never used twice within a run of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A linearizable read that waits for proof of primacy, numbered by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadTicket(pub u64);

/// Spans of time the protocol rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often a primary sends heartbeats.
    pub heartbeat: Micros,
    /// For how long a follower's answer lets the primary answer reads (V5), counted from when the
    /// heartbeat was sent.
    pub lease: Micros,
    /// What clocks may gain or lose on each other within one lease. A granter waits `lease + drift`.
    pub drift: Micros,
    /// A link over which nothing arrived for so long is silent.
    pub silent_after: Micros,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Micros::from_millis(100),
            lease: Micros::from_millis(400),
            drift: Micros::from_millis(40),
            silent_after: Micros::from_millis(1_000),
        }
    }
}

/// A view of another cluster that was told once is no news any more after this time.
const FOREIGN_VIEW_FORGIVEN_AFTER: Micros = Micros::from_millis(30_000);

/// What a node finds on its volume when its process starts.
#[derive(Clone, Debug)]
pub struct Start {
    /// The cluster the volume belongs to.
    pub cluster_id: ClusterId,
    /// This node.
    pub node: NodeId,
    /// The view it had stored.
    pub view: Option<View>,
    /// Its log, all of it durable.
    pub log: LogOutline,
    /// Its state is applied up to here, and so that much is committed.
    pub applied: Index,
    /// A reason found by recovery not to take part as a complete node.
    pub doubt: Option<Doubt>,
    /// Spans of time.
    pub timing: Timing,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The operator, or a peer, told a view.
    View {
        /// The recorded view.
        view: View,
        /// Nodes to wait for from now on, within this epoch (V4).
        await_nodes: BTreeSet<NodeId>,
        /// The process that was primary before is proven not to serve any more (V5).
        previous_stopped: bool,
    },
    /// The view of this epoch is durable.
    ViewStored(Epoch),
    /// Everything up to this position is durable. Also told after a truncation or a snapshot.
    Durable(Position),
    /// The operator asks the primary of this epoch to stop serving (V8).
    StepDown(Epoch),
    /// The connection to the primary that [`Output::Follow`] asked for stands.
    Connected(SessionId),
    /// A peer connected to this node.
    Accepted(SessionId),
    /// A connection, of either kind, is gone.
    Closed(SessionId),
    /// Connecting to the primary was refused: nobody listens there.
    ConnectRefused,
    /// A message came in.
    Message(SessionId, Message),
    /// A snapshot was taken in; the log begins after it.
    SnapshotInstalled(Position),
    /// Entries up to here were given up by the log.
    Released(Index),
    /// A linearizable read wants proof of primacy (V5).
    Read(ReadTicket),
    /// Time passed.
    Tick,
}

/// Something to do. Commands are carried out in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Store the view durably, then tell [`Input::ViewStored`].
    StoreView(View),
    /// Append to the log, then tell [`Input::Durable`].
    Append(Vec<Entry>),
    /// Cut the log after this index durably, then tell [`Input::Durable`].
    Truncate(Index),
    /// Send a message.
    Send(SessionId, Message),
    /// Stream [`Message::Append`]s to this follower, from the entry after `start`, as far as
    /// [`Output::Limit`] allows.
    Stream {
        /// The follower's connection.
        session: SessionId,
        /// The epoch the messages carry.
        epoch: Epoch,
        /// Where its log ends.
        start: Position,
    },
    /// The stream to this follower may reach `upto`; everything up to `commit` is committed.
    Limit {
        /// The follower's connection.
        session: SessionId,
        /// The last index that may be sent.
        upto: Index,
        /// The commit index to tell.
        commit: Index,
    },
    /// Send a snapshot of the state, applied at least up to `at_least`, to this follower, which will
    /// present itself again afterwards.
    SendSnapshot {
        /// The follower's connection.
        session: SessionId,
        /// What the follower knows to be committed.
        at_least: Index,
    },
    /// The volume lost what it had acknowledged, and the primary has it: give up log, state and
    /// identity, and start again as a new, empty volume (V11).
    Discard,
    /// Stop streaming to this follower.
    StopStream(SessionId),
    /// Close the connection.
    Close(SessionId),
    /// Keep a connection to this node (or to nobody), replacing any other.
    Follow(Option<NodeId>),
    /// Everything up to here is committed and may be applied.
    Commit(Index),
    /// The read may be answered once everything up to `index` is applied.
    ReadReady(ReadTicket, Index),
    /// The read cannot be answered here.
    ReadRefused(ReadTicket),
    /// What this node is changed: pending requests of a former primary are lost track of, its
    /// clients' connections are closed.
    Role(RoleKind),
}

/// A proposal on a node that does not take any. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node does not accept writes")]
pub struct NotAccepting;

#[derive(Debug)]
enum Role {
    /// No view, or a view that this run may not lead (V3), or a doubt.
    Idle,
    Primary(Box<Primary>),
    Follower(Follower),
}

/// One node's part in the protocol.
#[derive(Debug)]
pub struct Replica {
    cluster_id: ClusterId,
    node: NodeId,
    timing: Timing,
    now: Micros,
    started: Micros,
    view: Option<View>,
    /// Being stored; nothing is acknowledged or granted meanwhile.
    storing: Option<View>,
    /// What this run of the process is to `view` (V3).
    standing: Standing,
    view_stored_at: Micros,
    log: LogIndex,
    commit: Index,
    /// When this node last granted a lease, or acknowledged, in each epoch, as long as it may matter
    /// (V5). Epochs whose primary is proven not to serve any more are left out.
    grants: BTreeMap<Epoch, Micros>,
    await_nodes: BTreeSet<NodeId>,
    hello_attempt: u64,
    /// Connections of peers to this node, and how each last presented itself.
    accepted: BTreeMap<SessionId, Option<Hello>>,
    /// This node's connection to its primary.
    connected: Option<SessionId>,
    /// A snapshot replaces state and log: what the log was is void, what it will be is not known yet.
    restoring: bool,
    /// What each node had acknowledged and was committed (V11).
    acknowledged: BTreeMap<NodeId, Position>,
    doubt: Option<Doubt>,
    /// When the doubt was last raised.
    doubted_at: Micros,
    /// The last epoch of which two different views were told (V10).
    conflict: Option<Epoch>,
    role: Role,
    outputs: Vec<Output>,
    /// A rule that is broken on purpose.
    #[cfg(feature = "mutants")]
    mutant: Option<Fault>,
}

impl Replica {
    /// A node as its process starts.
    #[must_use]
    pub fn new(start: Start, now: Micros) -> Self {
        let mut replica = Self {
            cluster_id: start.cluster_id,
            node: start.node,
            timing: start.timing,
            now,
            started: now,
            view: start.view,
            storing: None,
            standing: Standing::Inherited,
            view_stored_at: now,
            log: LogIndex::recovered(start.log),
            commit: start.applied,
            grants: BTreeMap::new(),
            await_nodes: BTreeSet::new(),
            hello_attempt: 0,
            accepted: BTreeMap::new(),
            connected: None,
            restoring: false,
            acknowledged: BTreeMap::new(),
            doubt: start.doubt,
            doubted_at: now,
            conflict: None,
            role: Role::Idle,
            outputs: Vec::new(),
            #[cfg(feature = "mutants")]
            mutant: None,
        };
        replica.take_role();
        replica
    }

    /// Takes in one thing that happened at `now`.
    pub fn step(&mut self, now: Micros, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::View {
                view,
                await_nodes,
                previous_stopped,
            } => {
                self.on_view(view, await_nodes, previous_stopped);
            }
            Input::ViewStored(epoch) => self.on_view_stored(epoch),
            Input::Durable(position) => self.on_durable(position),
            Input::StepDown(epoch) => self.on_step_down(epoch),
            Input::Connected(session) => self.on_connected(session),
            Input::Accepted(session) => {
                self.accepted.insert(session, None);
            }
            Input::Closed(session) => self.on_closed(session),
            Input::ConnectRefused => self.on_connect_refused(),
            Input::Message(session, message) => self.on_message(session, message),
            Input::SnapshotInstalled(position) => self.on_snapshot_installed(position),
            Input::Released(index) => self.log.release_through(index),
            Input::Read(ticket) => self.on_read(ticket),
            Input::Tick => {}
        }
        self.on_time();
    }

    /// Appends commands to the log of a primary; they are committed later, in order. Returns the index
    /// of the first.
    pub fn propose(&mut self, now: Micros, payloads: Vec<Bytes>) -> Result<Index, NotAccepting> {
        self.now = self.now.max(now);
        if !self.accepts_proposals() {
            return Err(NotAccepting);
        }
        let epoch = self.epoch();
        let first = self.log.last().index.next();
        let mut entries = Vec::with_capacity(payloads.len());
        for payload in payloads {
            let position = Position::new(epoch, self.log.last().index.next());
            self.log.append(position);
            entries.push(Entry::data(position, payload));
        }
        self.outputs.push(Output::Append(entries));
        self.extend_limits();
        self.on_time();
        Ok(first)
    }

    /// The commands since the last call, in order.
    pub fn drain(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// The epoch of the stored view; zero without one.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.view.as_ref().map_or(Epoch(0), |view| view.epoch)
    }

    /// The commit index.
    #[must_use]
    pub fn commit(&self) -> Index {
        self.commit
    }

    /// The log's outline.
    #[must_use]
    pub fn log(&self) -> &LogIndex {
        &self.log
    }

    /// The stored view.
    #[must_use]
    pub fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// Whether proposals are taken: primary of the stored view, and not asked to step down.
    #[must_use]
    pub fn accepts_proposals(&self) -> bool {
        matches!(&self.role, Role::Primary(primary) if !primary.stepped_down)
    }

    fn refuse_reads(&mut self, reads: BTreeSet<ReadTicket>) {
        self.outputs
            .extend(reads.into_iter().map(Output::ReadRefused));
    }

    fn drop_connection(&mut self) {
        self.connected = None;
        self.outputs.push(Output::Follow(None));
    }

    // === events that every role shares ===

    fn on_durable(&mut self, position: Position) {
        self.log.mark_durable(position);
        match &self.role {
            Role::Primary(_) | Role::Idle => {}
            Role::Follower(_) => self.acknowledge(),
        }
    }

    fn on_closed(&mut self, session: SessionId) {
        if self.accepted.remove(&session).is_some() {
            self.forget_peer(session);
        } else if self.connected == Some(session) {
            self.connected = None;
            self.lost_primary();
        }
    }

    fn on_message(&mut self, session: SessionId, message: Message) {
        if let Message::ViewIs(view) = message {
            self.heard_view(session, view);
            return;
        }
        if self.accepted.contains_key(&session) {
            match message {
                Message::Hello(hello) => self.on_hello(session, hello),
                Message::Ack { epoch, durable } => self.on_ack(session, epoch, durable),
                Message::HeartbeatReply {
                    epoch,
                    sequence,
                    durable,
                } => {
                    self.on_heartbeat_reply(session, epoch, sequence, durable);
                }
                _ => self.outputs.push(Output::Close(session)),
            }
        } else if self.connected == Some(session) {
            self.on_primary_message(session, message);
        }
    }

    fn on_time(&mut self) {
        if self.now.since(self.doubted_at) >= FOREIGN_VIEW_FORGIVEN_AFTER {
            self.forgive_foreigner();
        }
        match &self.role {
            Role::Primary(_) => self.primary_time(),
            Role::Follower(_) => self.follower_time(),
            Role::Idle => {}
        }
    }
}
