//! The task that drives the core: takes in what happened, hands out what the core commands.
//!
//! It has a thread of its own, which it shares with the connections to peers and nothing else, so that
//! between a peer's socket and the core nobody has to be woken. It never blocks on disk, network or
//! state machine, so that heartbeats and reports go on while any of them hangs.

mod publish;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use standby_core::replica::{Input, Output, ReadTicket, Replica, RoleKind, SessionId, Status};
use standby_core::{Epoch, Index, Message, NodeId, Position, View};
use standby_interface::{Refusal, RoleInfo};
use standby_store::volume::{PeerAddress, StoredView};
use tokio::sync::{mpsc, oneshot, watch};

use super::digest::Digest;
use super::patience::Patience;
use super::pending::Pending;
use super::{
    ApplyJob, Clock, Fatal, LogJob, Proposal, Proposals, Shared, SnapshotRequest, Tail,
    end_process, log_thread_bytes,
};
use crate::limits::{
    DRIVER_BATCH_MAX, GROUPS_UNDER_WAY, LOOK_FOR_ANSWER_US, LOOK_FOR_COMMAND_US,
    LOOK_WHILE_WAITING_MAX,
};
use standby_core::Micros;
use standby_interface::SnapshotSource;

/// What the driver is told.
#[allow(
    clippy::large_enum_variant,
    reason = "moved once and taken apart at once"
)]
pub enum Command {
    /// For the core.
    Input(Input),
    /// A peer's connection stands; what is meant for it goes to `link`.
    Peer {
        /// The connection.
        session: SessionId,
        /// Where its commands go.
        link: mpsc::UnboundedSender<PeerLink>,
        /// Whether this node dialled.
        dialled: bool,
    },
    /// A snapshot begins to arrive; the answer says whether it is to be taken in.
    SnapshotBegins {
        /// The connection.
        session: SessionId,
        /// Where the answer goes.
        reply: oneshot::Sender<bool>,
    },
    /// Commands of clients wait.
    Proposed,
    /// A linearizable read that found no lease.
    Read(oneshot::Sender<Result<(), Refusal>>),
    /// Everything the core knows, now.
    Status(oneshot::Sender<Status>),
    /// News from the other threads and the control port.
    Told(Told),
}

/// News that are not for the core.
#[derive(Debug)]
pub enum Told {
    /// Something that the operator should know now: the process was asked to end, or for a switchover;
    /// the disk became full, or has room again.
    News,
    /// A snapshot was begun and its connection ended: the state is gone, and nobody knows what will
    /// take its place.
    SnapshotBroken,
    /// The state is durable up to here.
    Checkpoint(Index),
    /// Where everybody is.
    Addresses {
        /// The peers.
        peers: Vec<PeerAddress>,
        /// The address that follows the primary.
        client_url: String,
    },
}

/// What a peer's connection is told.
#[allow(
    clippy::large_enum_variant,
    reason = "moved once and taken apart at once"
)]
pub enum PeerLink {
    /// Send a message.
    Send(Message),
    /// Stream the log after this position, in messages of this epoch.
    Stream {
        /// The epoch.
        epoch: Epoch,
        /// Where the follower's log ends.
        start: Position,
    },
    /// How far the stream may go, and what is committed.
    Limit {
        /// The last index to send.
        upto: Index,
        /// The commit index to tell.
        commit: Index,
    },
    /// Stop streaming.
    StopStream,
    /// Send a snapshot once it can be opened.
    Snapshot(oneshot::Receiver<Box<dyn SnapshotSource>>),
    /// Close the connection.
    Close,
}

/// What a driver works with.
pub struct DriverParts<O> {
    /// The core.
    pub replica: Replica,
    /// What is told.
    pub inbox: mpsc::UnboundedReceiver<Command>,
    /// Commands of clients.
    pub proposals: Arc<Proposals<O>>,
    /// The log's jobs.
    pub log_jobs: mpsc::UnboundedSender<LogJob>,
    /// The state machine's jobs.
    pub apply_jobs: mpsc::UnboundedSender<ApplyJob<O>>,
    /// The log's end in memory.
    pub tail: Arc<Tail>,
    /// Numbers to publish.
    pub shared: Arc<Shared>,
    /// Time.
    pub clock: Clock,
    /// Where the role is published.
    pub role: watch::Sender<RoleInfo>,
    /// Where the view is published.
    pub view: watch::Sender<Option<View>>,
    /// Whom to dial.
    pub follow: watch::Sender<Option<NodeId>>,
    /// Where everybody is.
    pub addresses: watch::Sender<(Vec<PeerAddress>, String)>,
    /// Counts up when something changed that the operator acts on.
    pub changed: watch::Sender<u64>,
    /// Bytes of log to keep for nodes that come back.
    pub retain_bytes: u64,
}

/// The driver.
pub struct Driver<O> {
    parts: DriverParts<O>,
    links: BTreeMap<SessionId, mpsc::UnboundedSender<PeerLink>>,
    pending: Pending<O>,
    reads: BTreeMap<ReadTicket, oneshot::Sender<Result<(), Refusal>>>,
    next_ticket: u64,
    /// The ends of the groups of commands that are on their way to the disk.
    under_way: VecDeque<Index>,
    digest: Option<Digest>,
    digest_due: Micros,
    /// Something may have changed since the last publication, which was only just.
    publish_owed: bool,
    /// For answers of disk and peer.
    answers: Patience,
    /// For the next command of a client that writes one after the other.
    commands: Patience,
}

impl<O: Send + 'static> Driver<O> {
    /// A driver that has not begun.
    #[must_use]
    pub fn new(parts: DriverParts<O>) -> Self {
        Self {
            parts,
            links: BTreeMap::new(),
            pending: Pending::default(),
            reads: BTreeMap::new(),
            next_ticket: 0,
            under_way: VecDeque::new(),
            digest: None,
            digest_due: Micros(0),
            publish_owed: false,
            answers: Patience::new(LOOK_FOR_ANSWER_US),
            commands: Patience::new(LOOK_FOR_COMMAND_US),
        }
    }

    /// Never looks but sleeps: where time is simulated, it does not pass while somebody looks.
    #[cfg(test)]
    pub(crate) fn sleeping(mut self) -> Self {
        (self.answers, self.commands) = (Patience::new(0), Patience::new(0));
        self
    }

    /// Works until nobody can tell it anything more.
    pub async fn run(mut self) {
        self.settle();
        loop {
            let mut due = self.parts.replica.next_deadline();
            if self.publish_owed {
                due = due.min(self.digest_due);
            }
            let wait = self.parts.clock.until(due);
            let next = match self.soon().await {
                Some(command) => Ok(Some(command)),
                None => tokio::time::timeout(wait, self.parts.inbox.recv()).await,
            };
            match next {
                Ok(Some(command)) => self.take_batch(command),
                Err(_) => {
                    let now = self.parts.clock.now();
                    self.parts.replica.step(now, Input::Tick);
                }
                Ok(None) => return,
            }
            self.propose();
            self.settle();
            if !self.parts.inbox.is_empty() {
                // What was just ordered goes out before more is taken in.
                tokio::task::yield_now().await;
            }
        }
    }

    /// What comes so soon that it is looked for.
    async fn soon(&mut self) -> Option<Command> {
        let replica = &self.parts.replica;
        let leads = replica.accepts_proposals();
        let done = if leads {
            replica.commit()
        } else {
            replica.log().durable()
        };
        let under_way = replica.log().last().index.0.saturating_sub(done.0);
        let now = self.parts.clock.now();
        let few = under_way > 0 && under_way <= LOOK_WHILE_WAITING_MAX;
        self.answers.note(few, now);
        self.commands.note(leads && under_way == 0, now);
        let until = self.answers.look_until().or(self.commands.look_until())?;
        while self.parts.clock.now() < until {
            if let Ok(command) = self.parts.inbox.try_recv() {
                return Some(command);
            }
            // The peers' connections, which share this thread, then whoever shares the processor.
            tokio::task::yield_now().await;
            std::thread::yield_now();
        }
        None
    }

    /// Takes in what waits.
    fn take_batch(&mut self, first: Command) {
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(command) = next.take() {
            self.take(command);
            taken += 1;
            if taken < DRIVER_BATCH_MAX {
                next = self.parts.inbox.try_recv().ok();
            }
        }
    }

    /// Proposes what waits, unless enough is on its way to the disk: what comes meanwhile then goes
    /// together.
    fn propose(&mut self) {
        let durable = self.parts.replica.log().durable();
        while self.under_way.pop_front_if(|end| *end <= durable).is_some() {}
        let accepted = self.parts.replica.accepts_proposals();
        if accepted && self.under_way.len() >= GROUPS_UNDER_WAY {
            return;
        }
        let proposals = self.parts.proposals.take();
        if proposals.is_empty() {
            return;
        }
        if !self.pending.has_room() {
            return refuse(proposals, &Refusal::Overloaded);
        }
        let now = self.parts.clock.now();
        let payloads = proposals.iter().map(|(payload, _)| payload.clone());
        match self.parts.replica.propose(now, payloads.collect()) {
            Ok(first) => {
                let mut index = first;
                for (payload, reply) in proposals {
                    self.pending.push(index, payload.len(), reply);
                    index = index.next();
                }
                self.under_way
                    .push_back(self.parts.replica.log().last().index);
            }
            Err(_) => refuse(proposals, &Refusal::NotPrimary),
        }
    }

    fn take(&mut self, command: Command) {
        let now = self.parts.clock.now();
        match command {
            // Taken together, behind everything else that waits.
            Command::Proposed => {}
            Command::Input(input) => {
                match &input {
                    Input::Closed(session) => drop(self.links.remove(session)),
                    Input::SnapshotInstalled(_) => self.parts.tail.clear(),
                    _ => {}
                }
                self.parts.replica.step(now, input);
            }
            Command::Peer {
                session,
                link,
                dialled,
            } => {
                self.links.insert(session, link);
                let connected = if dialled {
                    Input::Connected(session)
                } else {
                    Input::Accepted(session)
                };
                self.parts.replica.step(now, connected);
            }
            Command::SnapshotBegins { session, reply } => {
                let taken = self.parts.replica.begin_snapshot(session);
                // If the connection has ended, that is told too.
                let _ = reply.send(taken);
            }
            Command::Read(reply) => {
                self.next_ticket += 1;
                let ticket = ReadTicket(self.next_ticket);
                self.reads.retain(|_, waiting| !waiting.is_closed());
                self.reads.insert(ticket, reply);
                self.parts.replica.step(now, Input::Read(ticket));
            }
            Command::Status(reply) => {
                // Before anybody hears that this node has stopped serving, it has.
                self.parts.shared.set_lease(self.parts.replica.read_lease());
                // The asker may have given up.
                let _ = reply.send(self.parts.replica.status(now));
            }
            Command::Told(told) => self.told(told),
        }
    }

    fn told(&mut self, told: Told) {
        match told {
            Told::News => self.parts.changed.send_modify(|count| *count += 1),
            Told::SnapshotBroken => {
                if self.parts.replica.takes_in_snapshot() {
                    end_process(&Fatal {
                        what: "a snapshot that was being taken in broke off",
                        error: "the next start goes on with what the log still holds, or asks for \
                                another snapshot"
                            .into(),
                    });
                }
            }
            Told::Checkpoint(checkpoint) => {
                let now = self.parts.clock.now();
                let status = self.parts.replica.status(now);
                let connected = status.peers.iter().filter(|peer| peer.session.is_some());
                let peers = connected
                    .map(|peer| peer.durable)
                    .min()
                    .unwrap_or(checkpoint);
                let retain_bytes = self.parts.retain_bytes;
                self.log_job(LogJob::Release {
                    checkpoint,
                    peers,
                    retain_bytes,
                });
            }
            Told::Addresses { peers, client_url } => {
                let news = (peers, client_url);
                let changed = self.parts.addresses.send_if_modified(|old| {
                    let differs = *old != news;
                    if differs {
                        old.clone_from(&news);
                    }
                    differs
                });
                if changed {
                    let (peers, client_url) = news;
                    self.log_job(LogJob::StoreAddresses { peers, client_url });
                }
            }
        }
    }

    fn stored(&self, view: View) -> StoredView {
        let (peers, client_url) = self.parts.addresses.borrow().clone();
        StoredView {
            view,
            peers,
            client_url,
        }
    }

    fn log_job(&self, job: LogJob) {
        // The thread is gone only when the process ends.
        let _ = self.parts.log_jobs.send(job);
    }

    fn apply_job(&self, job: ApplyJob<O>) {
        // The thread is gone only when the process ends.
        let _ = self.parts.apply_jobs.send(job);
    }

    /// Carries out what the core commands, then publishes what others read.
    fn settle(&mut self) {
        let mut ready = Vec::new();
        for output in self.parts.replica.drain() {
            self.carry_out(output, &mut ready);
        }
        if !ready.is_empty() {
            self.apply_job(ApplyJob::Reads(ready));
        }
        self.parts.shared.set_lease(self.parts.replica.read_lease());
        crate::logging::set_epoch(self.parts.replica.epoch().0);
        self.publish();
    }

    fn carry_out(&mut self, output: Output, ready: &mut Vec<oneshot::Sender<Result<(), Refusal>>>) {
        match output {
            Output::StoreView(view) => self.log_job(LogJob::StoreView(self.stored(view))),
            Output::Append(entries) => {
                self.parts.shared.backlog.grow(log_thread_bytes(&entries));
                self.parts.tail.push(&entries);
                self.log_job(LogJob::Append(entries));
            }
            Output::Truncate(index) => {
                self.parts.tail.truncate_after(index);
                self.log_job(LogJob::Truncate(index));
            }
            Output::Discard => self.log_job(LogJob::Discard),
            Output::Send(session, message) => self.link(session, PeerLink::Send(message)),
            Output::Stream {
                session,
                epoch,
                start,
            } => {
                self.link(session, PeerLink::Stream { epoch, start });
            }
            Output::Limit {
                session,
                upto,
                commit,
            } => {
                self.link(session, PeerLink::Limit { upto, commit });
            }
            Output::StopStream(session) => self.link(session, PeerLink::StopStream),
            Output::SendSnapshot { session, at_least } => {
                let (reply, source) = oneshot::channel();
                self.apply_job(ApplyJob::Snapshot(SnapshotRequest { at_least, reply }));
                self.link(session, PeerLink::Snapshot(source));
            }
            Output::Close(session) => self.link(session, PeerLink::Close),
            Output::Follow(node) => {
                self.parts.follow.send_if_modified(|old| {
                    let differs = *old != node;
                    old.clone_from(&node);
                    differs
                });
            }
            Output::Commit(index) => {
                self.parts.shared.set_commit(index);
                let waiters = self.pending.through(index);
                self.apply_job(ApplyJob::Apply {
                    through: index,
                    waiters,
                });
            }
            // Answered behind what was committed before it, so all of that is applied by then.
            Output::ReadReady(ticket, _) => ready.extend(self.reads.remove(&ticket)),
            Output::ReadRefused(ticket) => {
                if let Some(reply) = self.reads.remove(&ticket) {
                    // A client that has gone does not need the answer.
                    let _ = reply.send(Err(Refusal::NotPrimary));
                }
            }
            Output::Role(kind) => self.role_changed(kind),
        }
    }

    fn link(&self, session: SessionId, order: PeerLink) {
        if let Some(link) = self.links.get(&session) {
            // A connection that has just ended is reported by its task.
            let _ = link.send(order);
        }
    }

    fn role_changed(&mut self, kind: RoleKind) {
        tracing::info!(role = ?kind, "role changed");
        // Clients are told at once.
        self.digest_due = Micros(0);
        self.under_way.clear();
        if !matches!(kind, RoleKind::Primary | RoleKind::SteppedDown) {
            self.pending.refuse_all(&Refusal::RoleLost);
        }
    }
}

/// Refuses commands before anything of them is written.
fn refuse<O>(proposals: Vec<Proposal<O>>, refusal: &Refusal) {
    for (_, reply) in proposals {
        // A client that has gone does not need the answer.
        let _ = reply.send(Err(refusal.clone()));
    }
}
