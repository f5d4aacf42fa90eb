//! The follower's part: find the last common entry, cut, append, acknowledge, grant (V2, V5, V6).

use crate::detect::Detector;
use crate::entry::{Entry, Position};
use crate::ids::{Epoch, Index, Micros};
use crate::message::{Hello, Message, RejectReason};

use super::{Doubt, Fault, LinkState, Output, Replica, Role, SessionId};

/// The longest pause before a node that was not answered presents itself again. An answer that takes longer
/// is never acted on.
const HELLO_PAUSE_MAX: Micros = Micros::from_millis(4_000);

/// What a follower keeps for one epoch.
#[derive(Debug)]
pub(super) struct Follower {
    /// How regularly the primary's heartbeats come.
    pub detector: Detector,
    /// The primary has matched this node's log in this epoch.
    pub matched: bool,
    /// A snapshot is on its way.
    pub in_snapshot: bool,
    pub link: LinkState,
    pub heard_at: Micros,
    pub hello_at: Micros,
    /// The pause before it presents itself again. It grows, because only the answer to the last presentation
    /// counts, and between two far places an answer takes its time.
    pub hello_pause: Micros,
    /// For how long the primary's writes have waited, by its own account.
    pub stuck: Micros,
    /// What the primary says is committed.
    pub told_commit: Index,
}

impl Follower {
    pub fn new(now: Micros, heartbeat: Micros) -> Self {
        Self {
            detector: Detector::new(now, heartbeat),
            matched: false,
            in_snapshot: false,
            link: LinkState::Silent,
            heard_at: now,
            hello_at: now,
            hello_pause: heartbeat,
            stuck: Micros(0),
            told_commit: Index(0),
        }
    }
}

impl Replica {
    /// Turns to the primary of the stored view. A connection that already leads there is kept.
    pub(super) fn follow(&mut self) {
        let primary = self.view.as_ref().map(|view| view.primary.clone());
        self.outputs.push(Output::Follow(primary));
        if let Some(session) = self.connected {
            self.say_hello(session);
        }
    }

    pub(super) fn on_connected(&mut self, session: SessionId) {
        self.connected = Some(session);
        self.begin_hellos(session);
    }

    /// Presents itself, and soon again if there is no answer.
    fn begin_hellos(&mut self, session: SessionId) {
        let heartbeat = self.timing.heartbeat;
        if let Role::Follower(follower) = &mut self.role {
            follower.hello_pause = heartbeat;
        }
        self.say_hello(session);
    }

    fn say_hello(&mut self, session: SessionId) {
        // While a snapshot is taken in there is no log to present; that follows.
        if self.restoring || !matches!(self.role, Role::Follower(_)) {
            return;
        }
        self.hello_attempt += 1;
        let hello = Hello {
            cluster_id: self.cluster_id.clone(),
            node: self.node.clone(),
            view: self.view.clone(),
            log: self.log.outline().clone(),
            commit: self.commit,
            damaged: self.bars_primacy(),
            attempt: self.hello_attempt,
        };
        let now = self.now;
        if let Role::Follower(follower) = &mut self.role {
            follower.matched = false;
            follower.in_snapshot = false;
            follower.hello_at = now;
        }
        self.outputs
            .push(Output::Send(session, Message::Hello(hello)));
    }

    pub(super) fn lost_primary(&mut self) {
        if let Role::Follower(follower) = &mut self.role {
            follower.matched = false;
            follower.in_snapshot = false;
            follower.link = LinkState::Silent;
        }
    }

    pub(super) fn on_connect_refused(&mut self) {
        if let Role::Follower(follower) = &mut self.role {
            follower.link = LinkState::Refused;
        }
    }

    /// The node this one follows answers that it does not lead.
    pub(super) fn primary_is_not_ready(&mut self) {
        if let Role::Follower(follower) = &mut self.role {
            follower.matched = false;
            follower.link = LinkState::NotPrimary;
            follower.heard_at = self.now;
        }
    }

    pub(super) fn on_primary_message(&mut self, session: SessionId, message: Message) {
        match message {
            Message::Welcome {
                epoch,
                start,
                attempt,
            } if attempt == self.hello_attempt || self.has(Fault::AnswerToEarlierHello) => {
                self.on_welcome(session, epoch, start);
            }
            Message::SnapshotFollows { epoch, attempt } if attempt == self.hello_attempt => {
                self.on_snapshot_follows(epoch);
            }
            // The answer to an earlier presentation: the log may have changed since.
            Message::Welcome { .. } | Message::SnapshotFollows { .. } => {}
            Message::Append {
                epoch,
                previous,
                entries,
                commit,
            } => {
                self.on_append(session, epoch, previous, entries, commit);
            }
            Message::Heartbeat {
                epoch,
                sequence,
                commit,
                stuck,
            } => {
                self.on_heartbeat(session, epoch, sequence, commit, stuck);
            }
            Message::Reject(RejectReason::ForeignCluster) => {
                self.raise_doubt(Doubt::RejectedAsForeign);
            }
            Message::Reject(RejectReason::LacksCommitted) => {
                self.primary_lacks_committed(session, Index(0));
            }
            Message::Reject(RejectReason::RolledBack) => {
                self.raise_doubt(Doubt::RolledBack);
                self.outputs.push(Output::Discard);
            }
            _ => self.outputs.push(Output::Close(session)),
        }
    }

    /// Whether messages of `epoch` are to be acted on: it is the stored epoch and none is on its way
    /// (V2).
    fn follows(&self, epoch: Epoch) -> bool {
        epoch == self.epoch() && self.storing.is_none() && matches!(self.role, Role::Follower(_))
    }

    fn on_welcome(&mut self, session: SessionId, epoch: Epoch, start: Position) {
        if !self.follows(epoch) {
            return;
        }
        if start.index < self.commit && !self.has(Fault::CutCommitted) {
            self.primary_lacks_committed(session, start.index);
            return;
        }
        if self.log.position_at(start.index) != Some(start) {
            self.outputs.push(Output::Close(session));
            return;
        }
        if start.index < self.log.last().index {
            self.log.truncate_after(start.index);
            self.outputs.push(Output::Truncate(start.index));
        }
        let now = self.now;
        if !self.bars_primacy() {
            self.doubt = None;
        }
        if let Role::Follower(follower) = &mut self.role {
            follower.matched = true;
            follower.link = LinkState::Up;
            follower.heard_at = now;
            // The gap before says nothing about how regularly heartbeats come.
            follower.detector.heard(now, false);
            follower.detector.reconnected();
        }
        self.acknowledge();
    }

    /// V6: what is committed is never cut. The primary lacks it: something was rolled back. Or it was
    /// given up by consent, and nobody will ever ask for it again: then this volume begins anew.
    fn primary_lacks_committed(&mut self, session: SessionId, start: Index) {
        let commit = self.commit;
        if let Some(epoch) = self.given_up() {
            self.raise_doubt(Doubt::GivenUp { epoch });
            self.outputs.push(Output::Discard);
        } else {
            self.raise_doubt(Doubt::PrimaryLacksCommitted { start, commit });
            self.outputs.push(Output::Close(session));
        }
    }

    /// The epoch of the consent by which what this log holds was given up: it was all written before,
    /// and this node is none of those that have everything since.
    fn given_up(&self) -> Option<Epoch> {
        let view = self.view.as_ref()?;
        let loss = view.loss?;
        let before = self.log.last().epoch < loss.epoch && !view.complete.contains(&self.node);
        before.then_some(loss.epoch)
    }

    fn on_snapshot_follows(&mut self, epoch: Epoch) {
        if !self.follows(epoch) {
            return;
        }
        let now = self.now;
        if let Role::Follower(follower) = &mut self.role {
            follower.in_snapshot = true;
            follower.link = LinkState::Up;
            follower.heard_at = now;
        }
    }

    /// Whether the snapshot that begins to arrive on `session` is to be taken in: it was announced
    /// there by the primary of the stored view, and none is being taken in already. From then on, until
    /// [`super::Input::SnapshotInstalled`], this node presents, matches and acknowledges nothing: its
    /// old log is about to be dropped, and whatever was appended to it would be dropped with it.
    ///
    /// A process that cannot finish what it began here must end.
    pub fn begin_snapshot(&mut self, session: SessionId) -> bool {
        let announced = matches!(&self.role, Role::Follower(follower) if follower.in_snapshot);
        let takes = announced
            && !self.restoring
            && self.storing.is_none()
            && self.connected == Some(session);
        if takes {
            self.restoring = true;
            // Answers that are on their way speak of the old log.
            self.hello_attempt += 1;
        }
        takes
    }

    /// Whether a snapshot was begun and is not installed yet.
    pub fn takes_in_snapshot(&self) -> bool {
        self.restoring
    }

    pub(super) fn on_snapshot_installed(&mut self, position: Position) {
        self.restoring = false;
        self.log.reset(position);
        self.commit = self.commit.max(position.index);
        self.outputs.push(Output::Commit(self.commit));
        if let Some(session) = self.connected {
            self.begin_hellos(session);
        }
    }

    fn on_append(
        &mut self,
        session: SessionId,
        epoch: Epoch,
        previous: Position,
        entries: Vec<Entry>,
        commit: Index,
    ) {
        if epoch < self.epoch() && self.has(Fault::AppendOfLowerEpoch) {
            self.append_of_lower_epoch(session, epoch, previous, entries);
            return;
        }
        if !self.follows(epoch) {
            return;
        }
        let last = self.log.last();
        let now = self.now;
        let Role::Follower(follower) = &mut self.role else {
            return;
        };
        if !follower.matched {
            return;
        }
        if previous != last {
            // The stream has a hole: begin again.
            self.outputs.push(Output::Close(session));
            return;
        }
        follower.heard_at = now;
        follower.detector.heard(now, false);
        follower.link = LinkState::Up;
        follower.told_commit = follower.told_commit.max(commit);
        for entry in &entries {
            self.log.append(entry.position);
        }
        if !entries.is_empty() {
            self.outputs.push(Output::Append(entries));
        }
        self.advance_commit();
    }

    /// What [`Fault::AppendOfLowerEpoch`] does.
    fn append_of_lower_epoch(
        &mut self,
        session: SessionId,
        epoch: Epoch,
        previous: Position,
        entries: Vec<Entry>,
    ) {
        let Some(last) = entries.last().map(|entry| entry.position) else {
            return;
        };
        if previous == self.log.last() && last.epoch >= previous.epoch {
            for entry in &entries {
                self.log.append(entry.position);
            }
            self.outputs.push(Output::Append(entries));
            let durable = last.index;
            self.outputs
                .push(Output::Send(session, Message::Ack { epoch, durable }));
        }
    }

    fn on_heartbeat(
        &mut self,
        session: SessionId,
        epoch: Epoch,
        sequence: u64,
        commit: Index,
        stuck: Micros,
    ) {
        if epoch < self.epoch() {
            // V2: no lease for an epoch below the stored one; tell the sender what it missed.
            if let Some(view) = &self.view {
                self.outputs
                    .push(Output::Send(session, Message::ViewIs(view.clone())));
            }
            return;
        }
        let overlooked =
            self.storing.is_some() && epoch == self.epoch() && self.has(Fault::GrantWhileStoring);
        if !self.follows(epoch) && !overlooked {
            return;
        }
        let durable = self.log.durable();
        let now = self.now;
        let Role::Follower(follower) = &mut self.role else {
            return;
        };
        follower.heard_at = now;
        follower.detector.heard(now, true);
        follower.stuck = stuck;
        if !follower.matched {
            // Filled from a snapshot: alive, but its log says nothing yet, and it grants nothing.
            return;
        }
        follower.link = LinkState::Up;
        follower.told_commit = follower.told_commit.max(commit);
        if self.is_conflicted() {
            return;
        }
        if !overlooked {
            self.note_grant();
        }
        let reply = Message::HeartbeatReply {
            epoch,
            sequence,
            durable,
        };
        self.outputs.push(Output::Send(session, reply));
        self.advance_commit();
    }

    /// Tells the primary how far this node's log is on disk.
    pub(super) fn acknowledge(&mut self) {
        self.advance_commit();
        let (epoch, durable) = (self.epoch(), self.log.durable());
        let (Role::Follower(follower), Some(session)) = (&self.role, self.connected) else {
            return;
        };
        if follower.matched && self.storing.is_none() && !self.is_conflicted() {
            if !self.has(Fault::AcknowledgementGrantsNothing) {
                self.note_grant();
            }
            self.outputs
                .push(Output::Send(session, Message::Ack { epoch, durable }));
        }
    }

    /// Applies what the primary committed and this node has on disk.
    fn advance_commit(&mut self) {
        let Role::Follower(follower) = &self.role else {
            return;
        };
        let commit = follower.told_commit.min(self.log.durable());
        if follower.matched && commit > self.commit && !self.is_conflicted() {
            self.commit = commit;
            self.outputs.push(Output::Commit(commit));
        }
    }

    pub(super) fn follower_time(&mut self) {
        let (now, timing) = (self.now, self.timing);
        // While the state takes in a snapshot nothing more may be read, and that is this node's doing:
        // giving the connection up would begin it all again.
        let session = self.connected.filter(|_| !self.restoring);
        let Role::Follower(follower) = &mut self.role else {
            return;
        };
        if follower.link == LinkState::Up && now.since(follower.heard_at) >= timing.silent_after {
            follower.link = LinkState::Silent;
            // After a long silence TCP itself would try again only after a pause as long.
            self.outputs.extend(session.map(Output::Close));
        }
        let Role::Follower(follower) = &mut self.role else {
            return;
        };
        // A node that was not primary yet may be by now; a lost answer is asked for again.
        let again = now.since(follower.hello_at) >= follower.hello_pause;
        if let (Some(session), true, false, false) =
            (session, again, follower.matched, follower.in_snapshot)
        {
            follower.hello_pause = follower
                .hello_pause
                .plus(follower.hello_pause)
                .min(HELLO_PAUSE_MAX);
            self.say_hello(session);
        }
    }
}
