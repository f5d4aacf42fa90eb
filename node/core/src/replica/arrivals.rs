//! Followers come and go: each presents itself, and is told the view, welcomed where the logs part, filled
//! from a snapshot, or rejected (V6, V11).

use std::collections::BTreeSet;

use crate::detect::Detector;
use crate::entry::Position;
use crate::ids::{Epoch, Index, NodeId};
use crate::message::{Hello, Message, RejectReason};

use super::primary::Peer;
use super::{Fault, Output, Replica, Role, SessionId};

impl Replica {
    pub(super) fn on_hello(&mut self, session: SessionId, hello: Hello) {
        if hello.cluster_id != self.cluster_id {
            self.reject(session, RejectReason::ForeignCluster);
            return;
        }
        if let Some(view) = &hello.view {
            self.on_view(view.clone(), BTreeSet::new(), false);
        }
        self.accepted.insert(session, Some(hello));
        self.answer_hello(session);
    }

    /// Answers everybody who presented himself before this node became what it is.
    pub(super) fn answer_hellos(&mut self) {
        let waiting: Vec<_> = self.accepted.keys().copied().collect();
        for session in waiting {
            self.answer_hello(session);
        }
    }

    fn answer_hello(&mut self, session: SessionId) {
        let Some(Some(hello)) = self.accepted.get(&session) else {
            return;
        };
        // While a view is being stored there is nothing to say; the answer follows.
        if self.storing.is_some() {
            return;
        }
        let Some(view) = &self.view else { return };
        let theirs = hello.view.as_ref().map_or(Epoch(0), |v| v.epoch);
        if !matches!(self.role, Role::Primary(_)) || theirs < view.epoch {
            let told = Message::ViewIs(view.clone());
            self.outputs.push(Output::Send(session, told));
            return;
        }
        let hello = hello.clone();
        self.accepted.insert(session, None);
        self.welcome(session, &hello);
    }

    fn welcome(&mut self, session: SessionId, hello: &Hello) {
        let epoch = self.epoch();
        let start = self.log.outline().common(&hello.log);
        if self.lost_acknowledged(hello) || hello.damaged {
            self.remember_rolled_back(&hello.node);
            self.reject(session, RejectReason::RolledBack);
            return;
        }
        if start.is_none() && self.commit < hello.commit {
            // A snapshot of this node's state would take the follower back. Had this node all that is
            // committed, the logs would have something in common.
            self.reject(session, RejectReason::LacksCommitted);
            return;
        }
        let attempt = hello.attempt;
        let peer = Peer {
            node: hello.node.clone(),
            durable: Index(0),
            detector: Detector::new(self.now, self.timing.heartbeat),
            in_snapshot: start.is_none(),
            limit: (Index(0), Index(0)),
        };
        if let Some(start) = start {
            let welcome = Message::Welcome {
                epoch,
                start,
                attempt,
            };
            self.outputs.push(Output::Send(session, welcome));
            self.outputs.push(Output::Stream {
                session,
                epoch,
                start,
            });
        } else {
            let follows = Message::SnapshotFollows { epoch, attempt };
            self.outputs.push(Output::Send(session, follows));
            self.outputs.push(Output::SendSnapshot {
                session,
                at_least: hello.commit,
            });
        }
        if let Role::Primary(primary) = &mut self.role {
            // One connection a node: a newer one replaces what the older one said. The older one is
            // closed, since "newer" is only the order in which presentations were read: were it the
            // one that the follower uses, the follower would wait on it for ever, and so would
            // everybody for the follower.
            let same = |(other, known): (&SessionId, &Peer)| {
                (known.node == peer.node && *other != session).then_some(*other)
            };
            let replaced: Vec<_> = primary.peers.iter().filter_map(same).collect();
            for other in replaced {
                primary.peers.remove(&other);
                self.outputs.push(Output::StopStream(other));
                self.outputs.push(Output::Close(other));
            }
            primary.peers.insert(session, peer);
        }
        self.extend_limits();
    }

    /// Whether the follower's log lacks what it must have acknowledged (V11). The entry is looked for by
    /// epoch too: another tail may be as long.
    fn lost_acknowledged(&self, hello: &Hello) -> bool {
        let lacks = |position: Position| {
            let released = hello.log.base.index > position.index;
            !released && hello.log.epoch_at(position.index) != Some(position.epoch)
        };
        let seen = self.acknowledged.get(&hello.node).copied();
        // What this run saw is not all: a complete node has every acknowledged write, in whichever
        // epoch, so everything that is known here to be committed was acknowledged by it. That is
        // known after a restart, and by whoever else was promoted, and nobody has to store it.
        let complete = self
            .view
            .as_ref()
            .is_some_and(|view| view.complete.contains(&hello.node))
            && !self.has(Fault::CompleteTakenOnTrust)
            && !self.has(Fault::AcknowledgedForgotten);
        let committed = self.log.position_at(self.commit).filter(|_| complete);
        seen.is_some_and(lacks) || committed.is_some_and(lacks)
    }

    fn remember_rolled_back(&mut self, node: &NodeId) {
        if let Role::Primary(primary) = &mut self.role {
            primary.rolled_back.insert(node.clone());
        }
    }

    fn reject(&mut self, session: SessionId, reason: RejectReason) {
        self.outputs
            .push(Output::Send(session, Message::Reject(reason)));
        self.outputs.push(Output::Close(session));
    }

    pub(super) fn stop_streams(&mut self) {
        if let Role::Primary(primary) = &self.role {
            self.outputs
                .extend(primary.peers.keys().map(|s| Output::StopStream(*s)));
        }
    }

    pub(super) fn forget_peer(&mut self, session: SessionId) {
        if let Role::Primary(primary) = &mut self.role {
            primary.peers.remove(&session);
        }
    }
}
