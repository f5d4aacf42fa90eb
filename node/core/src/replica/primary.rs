//! The primary's part: whom it waits for, what is committed, when it may answer reads.
//!
//! The rules: V1 (commit), V4 (promises), V5 (leases), V8 (stepping down), V11 (what followers once
//! acknowledged).

use std::collections::{BTreeMap, BTreeSet};

use crate::detect::Detector;
use crate::entry::{Entry, NewHistory, Position};
use crate::ids::{Epoch, Index, Micros, NodeId};
use crate::message::Message;
use crate::view::View;

use super::{Fault, Output, ReadTicket, Replica, Role, RoleKind, SessionId, Timing};

/// A primary that has stepped down keeps nothing but its tail to hand over; one that leads keeps all
/// of this for one epoch.
#[derive(Debug)]
pub(super) struct Primary {
    /// The entry that opened the epoch (V6).
    pub open_index: Index,
    /// Nodes to wait for: the view's synchronous nodes and those promised within the epoch (V4).
    pub wait_for: BTreeSet<NodeId>,
    /// Nodes that were seen to have everything while being waited for. Never shrinks (V4).
    pub complete: BTreeSet<NodeId>,
    /// Nodes whose logs lost what they had acknowledged (V11).
    pub rolled_back: BTreeSet<NodeId>,
    /// Streams, by connection.
    pub peers: BTreeMap<SessionId, Peer>,
    /// Until when each node lets this primary answer reads (V5).
    pub leases: BTreeMap<NodeId, Micros>,
    /// Nothing is committed or answered before (V5).
    pub serve_after: Micros,
    /// Stopped serving for good within the epoch (V8).
    pub stepped_down: bool,
    /// When it committed the entry that opened the epoch.
    pub serving_since: Option<Micros>,
    /// Reads that wait for proof of primacy.
    pub reads: BTreeSet<ReadTicket>,
    /// When something was last committed, or began to wait.
    pub progress_at: Micros,
    heartbeat_sequence: u64,
    pub heartbeat_due: Micros,
    /// When each heartbeat that may still be answered was sent.
    heartbeats_sent: BTreeMap<u64, Micros>,
}

/// A follower, on one connection, matched in this epoch.
#[derive(Debug)]
pub(super) struct Peer {
    pub node: NodeId,
    pub durable: Index,
    /// How regularly it answers heartbeats.
    pub detector: Detector,
    pub in_snapshot: bool,
    /// What [`Output::Limit`] last said.
    pub limit: (Index, Index),
}

impl Replica {
    pub(super) fn new_primary(&self, reads: BTreeSet<ReadTicket>) -> Primary {
        let view = self
            .view
            .as_ref()
            .expect("a primary has a view: take_role looked at it");
        Primary {
            open_index: self.log.last().index.next(),
            wait_for: view.synchronous.clone(),
            complete: view.synchronous.clone(),
            rolled_back: BTreeSet::new(),
            peers: BTreeMap::new(),
            leases: BTreeMap::new(),
            serve_after: self.leases_end(),
            stepped_down: false,
            serving_since: None,
            reads,
            progress_at: self.now,
            heartbeat_sequence: 0,
            heartbeat_due: self.now,
            heartbeats_sent: BTreeMap::new(),
        }
    }

    /// When the last lease that may be held by a former primary has run out (V5).
    ///
    /// This node's own grants are not all of them: a lease may have been granted two epochs ago by the
    /// node that was promoted first, and this one, promoted after it within the same moment, never
    /// granted anything. But it acknowledged something to that node, or it would not be complete; and
    /// that node granted nothing any more when it took the acknowledgement. So an acknowledgement
    /// counts as a grant. What an earlier run of this process did is not known: its start counts too.
    fn leases_end(&self) -> Micros {
        if self.has(Fault::ServeBeforeLeaseIsOver) {
            return Micros(0);
        }
        let latest = self.grants.values().max().copied().unwrap_or_default();
        let latest = latest.max(self.started);
        latest.plus(self.timing.lease).plus(self.timing.drift)
    }

    /// Notes that this node granted a lease or acknowledged something in its epoch.
    pub(super) fn note_grant(&mut self) {
        let (now, epoch) = (self.now, self.epoch());
        let counts = self.timing.lease.plus(self.timing.drift);
        self.grants.retain(|_, at| now.since(*at) < counts);
        self.grants.insert(epoch, now);
    }

    /// Whoever led the epoch before `epoch` is proven not to serve any more, and with him all leases of
    /// that epoch are void (V5). Those of earlier epochs were held by others.
    pub(super) fn forget_grants_before(&mut self, epoch: Epoch) {
        if self.has(Fault::ProofTakenForAll) {
            self.grants.clear();
        }
        self.grants.retain(|granted, _| granted.next() != epoch);
    }

    /// Passes the view on to everybody who is connected and has not asked.
    pub(super) fn tell_view(&mut self) {
        let Some(view) = &self.view else { return };
        for (session, hello) in &self.accepted {
            if hello.is_none() {
                self.outputs
                    .push(Output::Send(*session, Message::ViewIs(view.clone())));
            }
        }
    }

    /// Appends the entry that opens the epoch (V6).
    pub(super) fn open_epoch(&mut self) {
        let position = Position::new(self.epoch(), self.log.last().index.next());
        // What was committed here stands in every history there was, so what any of them had beyond it
        // is bounded by what may be lost.
        let loss = self.view.as_ref().and_then(|view| view.loss);
        let opening = match loss {
            None => Entry::open(position),
            Some(loss) => Entry::open_history(
                position,
                NewHistory {
                    epoch: loss.epoch,
                    beyond: loss
                        .total
                        .saturating_sub(self.commit.0)
                        .min(NewHistory::BEYOND_MAX),
                },
            ),
        };
        self.log.append(position);
        self.outputs.push(Output::Append(vec![opening]));
        self.refresh_primary();
    }

    /// Takes in what the operator added to a view that is already stored.
    pub(super) fn refresh_primary(&mut self) {
        let serve_after = self.leases_end();
        let keeps_promises = !self.has(Fault::PromiseIgnored);
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        primary.serve_after = primary.serve_after.min(serve_after);
        primary.wait_for.extend(
            self.await_nodes
                .iter()
                .filter(|n| **n != self.node && keeps_promises)
                .cloned(),
        );
        self.extend_limits();
    }

    pub(super) fn on_step_down(&mut self, epoch: Epoch) {
        if epoch != self.epoch() {
            return;
        }
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        if primary.stepped_down {
            return;
        }
        primary.stepped_down = true;
        let reads = std::mem::take(&mut primary.reads);
        self.refuse_reads(reads);
        self.outputs.push(Output::Role(RoleKind::SteppedDown));
    }

    // === acknowledgements, commit ===

    pub(super) fn on_ack(&mut self, session: SessionId, epoch: Epoch, durable: Index) {
        if epoch != self.epoch() {
            return;
        }
        let last = self.log.last().index;
        let now = self.now;
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let Some(peer) = primary.peers.get_mut(&session) else {
            return;
        };
        if durable > last {
            // Nothing was written there in this epoch: whoever says so is not believed in anything.
            primary.peers.remove(&session);
            self.outputs.push(Output::StopStream(session));
            self.outputs.push(Output::Close(session));
            return;
        }
        peer.detector.heard(now, false);
        peer.durable = peer.durable.max(durable);
    }

    pub(super) fn on_heartbeat_reply(
        &mut self,
        session: SessionId,
        epoch: Epoch,
        sequence: u64,
        durable: Index,
    ) {
        self.on_ack(session, epoch, durable);
        if epoch != self.epoch() || self.storing.is_some() || self.is_conflicted() {
            return;
        }
        let (now, lease) = (self.now, self.timing.lease);
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let Some(peer) = primary.peers.get_mut(&session) else {
            return;
        };
        peer.detector.heard(now, true);
        let Some(sent) = primary.heartbeats_sent.get(&sequence) else {
            return;
        };
        let until = sent.plus(lease);
        let granted = primary.leases.entry(peer.node.clone()).or_default();
        *granted = until.max(*granted);
    }

    /// Commits what is durable on this node and on every node that is waited for (V1).
    fn try_commit(&mut self) {
        let by_itself = self.has(Fault::AcknowledgeOnOwnDisk);
        let bare_too = self.has(Fault::CommitInBareView);
        let remembers = !self.has(Fault::AcknowledgedForgotten);
        let conflicted = self.is_conflicted();
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let Some(view) = &self.view else { return };
        // The gates: a view that can acknowledge, none on its way, and V5 for a new primary.
        let may = (view.can_acknowledge() || bare_too) && !conflicted;
        if self.storing.is_some() || !may || self.now < primary.serve_after {
            return;
        }
        let durable = if by_itself {
            self.log.durable()
        } else {
            primary.held_by_all(self.log.durable())
        };
        if durable <= self.commit || durable < primary.open_index {
            return;
        }
        assert!(
            view.alone || !primary.wait_for.is_empty() || bare_too,
            "a view that can acknowledge names who is waited for (V1)"
        );
        self.commit = durable;
        primary.progress_at = self.now;
        primary.serving_since.get_or_insert(self.now);
        self.outputs.push(Output::Commit(durable));
        for peer in primary.peers.values() {
            // What the log has given up already is not known by its epoch; less is remembered then.
            let held = self.log.position_at(peer.durable.min(durable));
            if let Some(held) = held.filter(|_| remembers) {
                let known = self.acknowledged.entry(peer.node.clone()).or_default();
                *known = held.max(*known);
            }
        }
        self.extend_limits();
    }

    /// Notes which of the nodes that are waited for have everything (V4).
    fn note_complete(&mut self) {
        let partly = self.has(Fault::CompleteWithPartOfLog);
        let unawaited = self.has(Fault::PromiseIgnored);
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let Some(view) = &self.view else { return };
        let everything = if partly {
            self.commit
        } else {
            primary.open_index.max(self.commit)
        };
        // In a view that cannot acknowledge nothing is added to what must be had, so every follower
        // is as good as waited for.
        let bare = !view.can_acknowledge() || unawaited;
        for peer in primary.peers.values() {
            if peer.durable >= everything && (bare || primary.wait_for.contains(&peer.node)) {
                primary.complete.insert(peer.node.clone());
            }
        }
    }

    /// Says how far each stream may go: all of the log for nodes that are waited for, what is
    /// committed for the others (V1).
    pub(super) fn extend_limits(&mut self) {
        let last = self.log.last().index;
        let commit = self.commit;
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let Some(view) = &self.view else { return };
        let bare = !view.can_acknowledge();
        for (session, peer) in &mut primary.peers {
            if peer.in_snapshot {
                continue;
            }
            let all = bare || primary.wait_for.contains(&peer.node);
            let limit = (if all { last } else { commit }, commit);
            if limit != peer.limit {
                peer.limit = limit;
                let (upto, commit) = limit;
                self.outputs.push(Output::Limit {
                    session: *session,
                    upto,
                    commit,
                });
            }
        }
    }

    // === time ===

    pub(super) fn primary_time(&mut self) {
        self.try_commit();
        self.note_complete();
        self.answer_reads();
        let last = self.log.last().index;
        let Timing {
            heartbeat, lease, ..
        } = self.timing;
        let (now, epoch, commit) = (self.now, self.epoch(), self.commit);
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        if last <= commit {
            primary.progress_at = now;
        }
        if now < primary.heartbeat_due {
            return;
        }
        primary.heartbeat_due = now.plus(heartbeat);
        primary.heartbeat_sequence += 1;
        let sequence = primary.heartbeat_sequence;
        // An answer that comes later than the lease is worth nothing.
        primary
            .heartbeats_sent
            .retain(|_, sent| now.since(*sent) < lease);
        primary.heartbeats_sent.insert(sequence, now);
        let stuck = now.since(primary.progress_at);
        for session in primary.peers.keys() {
            let heartbeat = Message::Heartbeat {
                epoch,
                sequence,
                commit,
                stuck,
            };
            self.outputs.push(Output::Send(*session, heartbeat));
        }
    }

    /// When the next [`super::Input::Tick`] is needed.
    #[must_use]
    pub fn next_deadline(&self) -> Micros {
        match &self.role {
            Role::Primary(primary) if self.now < primary.serve_after => {
                primary.heartbeat_due.min(primary.serve_after)
            }
            Role::Primary(primary) => primary.heartbeat_due,
            Role::Follower(_) | Role::Idle => self.now.plus(self.timing.heartbeat),
        }
    }
}

impl Primary {
    /// What this node and every node that is waited for have on disk.
    pub fn held_by_all(&self, own: Index) -> Index {
        let theirs = self
            .wait_for
            .iter()
            .map(|node| self.held_by_node(node))
            .min();
        theirs.map_or(own, |theirs| theirs.min(own))
    }

    /// What `node` has on disk, by what it said on its present connection.
    pub fn held_by_node(&self, node: &NodeId) -> Index {
        self.peers
            .values()
            .find(|peer| peer.node == *node)
            .map_or(Index(0), |peer| peer.durable)
    }

    /// Whether everything in the log is on every synchronous node, so that a promotion loses not even
    /// what was never acknowledged (V8).
    pub fn drained(&self, last: Index, view: &View) -> bool {
        self.stepped_down
            && view
                .synchronous
                .iter()
                .all(|node| self.held_by_node(node) >= last)
    }
}
