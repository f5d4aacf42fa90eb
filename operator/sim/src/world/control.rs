//! A node's control sessions: orders in, reports out, as `node/src/control.rs` and the driver's digest
//! do it.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use standby_core::replica::{
    Doubt, Input, LinkState as Link, PeerStatus, RoleKind, SessionId, Status,
};
use standby_core::{ClusterId, Micros, View};
use standby_interface::StateMachine;
use standby_operator_core::observe::{
    LinkState, NodeReport, NodeRole, Peer, PrimaryLink, WriteStall,
};

use super::{Event, NodeEvent, Order, Packet, ProcRef, World};
use crate::disk::DiskJob;
use crate::net::{ConnId, End};
use crate::time::{MS, Time};

/// Shortest time between reports that a node sends by itself.
const REPORT_PACE: Time = 5 * MS;
/// Writes that wait for so long are news.
const STALL_IS_NEWS: Micros = Micros::from_millis(150);

impl World {
    /// A packet arrives at a node.
    pub fn node_hears(&mut self, proc: ProcRef, conn: ConnId, packet: Packet) {
        match packet {
            Packet::Core(message) => self.step(proc, Input::Message(SessionId(conn), message)),
            Packet::Snapshot { position, chunks } => {
                self.take_in_snapshot(proc, conn, position, chunks);
            }
            Packet::Order(order) => self.obey(proc, conn, order),
            Packet::Report(..) | Packet::End => {}
        }
    }

    fn take_in_snapshot(
        &mut self,
        proc: ProcRef,
        conn: ConnId,
        position: standby_core::Position,
        chunks: Vec<bytes::Bytes>,
    ) {
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        if position.index < process.applied().index
            || !process.replica.begin_snapshot(SessionId(conn))
        {
            return;
        }
        let state = &mut process.state;
        state.begin_restore().expect("memory does not fail");
        for chunk in chunks {
            state.restore_chunk(chunk).expect("a whole snapshot");
        }
        state
            .finish_restore(position)
            .expect("memory does not fail");
        process.log.entries.clear();
        process.log.base = position;
        process.commit = process.commit.max(position.index);
        let engine = process.engine.content();
        let at = process.volume;
        self.volumes[at]
            .waiting
            .push_back(DiskJob::Install { position, engine });
        self.pump_watches(proc);
        self.disk_begins(proc);
    }

    /// An operator opened a session.
    pub fn session_opens(&mut self, proc: ProcRef, conn: ConnId) {
        if let Some(process) = self.proc_mut(proc) {
            process.controls.push(conn);
        }
        self.report_to(proc, conn, 0);
    }

    fn obey(&mut self, proc: ProcRef, conn: ConnId, order: Order) {
        let sequence = match order {
            Order::Ping(sequence) => sequence,
            Order::Push(sequence, push) => {
                if let Some(process) = self.proc_mut(proc) {
                    process.peers.clone_from(&push.peers);
                    let at = process.volume;
                    self.volumes[at].durable.peers.clone_from(&push.peers);
                }
                if let Some(view) = &push.view {
                    let input = Input::View {
                        view: view.clone(),
                        await_nodes: push.await_nodes.clone(),
                        previous_stopped: push.previous_stopped,
                    };
                    self.step(proc, input);
                }
                sequence
            }
            Order::StepDown(sequence, epoch) => {
                self.step(proc, Input::StepDown(epoch));
                sequence
            }
        };
        self.report_to(proc, conn, sequence);
    }

    fn report_to(&mut self, proc: ProcRef, conn: ConnId, answers: u64) {
        let Some(side) = self.side_of(conn, End::Node(proc)) else {
            return;
        };
        if let Some(report) = self.compose(proc) {
            self.send(conn, side, Packet::Report(answers, Box::new(report)));
        }
    }

    /// Plans a report of its own, when something may have changed that the operator acts on.
    pub(super) fn consider_report(&mut self, proc: ProcRef, news: bool) {
        let now = self.now;
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        let bare = process
            .replica
            .view()
            .is_none_or(|view| !view.can_acknowledge());
        if process.digest_owed || !(news || bare || process.replica.expects_news()) {
            return;
        }
        if now < process.digest_due && !bare {
            process.digest_owed = true;
            let after = process.digest_due - now;
            self.schedule(after, Event::Node(proc, NodeEvent::Publish));
            return;
        }
        self.publish(proc);
    }

    /// Looks whether a report is due, and sends it.
    pub(super) fn publish(&mut self, proc: ProcRef) {
        let now = self.now;
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        process.digest_owed = false;
        process.digest_due = now + REPORT_PACE;
        let status = process.replica.status(process.clock.at(now));
        let alive = match &status.primary_link {
            Some(link) => link.state == Link::Up,
            None => status.serving,
        };
        if alive {
            process.lonely_since = None;
        } else {
            process.lonely_since.get_or_insert(now);
        }
        let digest = digest(&status, process.ending.is_some());
        if process.digest == digest {
            return;
        }
        process.digest = digest;
        for conn in process.controls.clone() {
            self.report_to(proc, conn, 0);
        }
    }

    fn compose(&self, proc: ProcRef) -> Option<NodeReport> {
        let process = self.proc(proc)?;
        let status = process.replica.status(process.clock.at(self.now));
        let millis = |span: Micros| Micros::from_millis(span.as_millis());
        let full = self.volumes[process.volume].full;
        Some(NodeReport {
            at: Micros(0),
            pod_uid: String::new(),
            node: process.node.clone(),
            cluster_id: ClusterId(self.profile.cluster_id.clone()),
            run: process.run.to_string(),
            role: match status.role {
                RoleKind::Unassigned => NodeRole::Unassigned,
                RoleKind::Follower => NodeRole::Follower,
                RoleKind::Primary => NodeRole::Primary,
                RoleKind::Restarted => NodeRole::Restarted,
                RoleKind::SteppedDown => NodeRole::SteppedDown,
            },
            last: status.last,
            durable: status.durable,
            commit: status.commit,
            applied: process.applied().index,
            serving: status.serving,
            drained: status.drained,
            wants_handover: process.ending.is_some(),
            wants_switchover_to: None,
            peers: status.peers.iter().map(peer).collect(),
            link: status.primary_link.as_ref().map(|link| PrimaryLink {
                state: match link.state {
                    Link::Up => LinkState::Up,
                    Link::Silent => LinkState::Silent,
                    Link::Refused => LinkState::Refused,
                    Link::NotPrimary => LinkState::NotPrimary,
                },
                silent: millis(link.silent),
                #[allow(clippy::cast_precision_loss, reason = "a small number")]
                phi: link.phi_milli as f64 / 1_000.0,
                commits_stuck: millis(link.stuck),
            }),
            stall: status.write_stall.as_ref().map(|stall| WriteStall {
                waiting: millis(stall.waiting),
                local_disk: stall.local_disk,
                nodes: stall.nodes.clone(),
            }),
            doubt: status
                .doubt
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            doubts_primary: status.doubt.as_ref().is_some_and(Doubt::is_about_view),
            disk_total_bytes: 1 << 30,
            disk_free_bytes: if full { 0 } else { 1 << 29 },
            disk_full: full,
            version: String::new(),
            view: status.view.map(View::without_loss),
        })
    }
}

#[allow(clippy::cast_precision_loss, reason = "a small number")]
fn peer(peer: &PeerStatus) -> Peer {
    Peer {
        node: peer.node.clone(),
        connected: peer.session.is_some(),
        durable: peer.durable,
        silent: Micros::from_millis(peer.silent.as_millis()),
        phi: peer.phi_milli as f64 / 1_000.0,
        awaited: peer.awaited,
        complete: peer.complete,
        in_snapshot: peer.in_snapshot,
    }
}

/// The facts that make a node report by itself, as one number: those of `Digest` in `node/src`.
fn digest(status: &Status, ending: bool) -> u64 {
    let mut hash = DefaultHasher::new();
    std::mem::discriminant(&status.role).hash(&mut hash);
    status
        .view
        .as_ref()
        .map(|view| view.epoch.0)
        .hash(&mut hash);
    (
        status.serving,
        status.drained,
        ending,
        status.doubt.is_some(),
    )
        .hash(&mut hash);
    for peer in &status.peers {
        if peer.complete || peer.session.is_some() {
            (
                &peer.node.name,
                &peer.node.volume.0,
                peer.complete,
                peer.session.is_some(),
            )
                .hash(&mut hash);
        }
    }
    if let Some(link) = &status.primary_link {
        std::mem::discriminant(&link.state).hash(&mut hash);
        link.lost.hash(&mut hash);
    }
    let stalled = status.write_stall.as_ref();
    stalled
        .is_some_and(|stall| stall.waiting >= STALL_IS_NEWS)
        .hash(&mut hash);
    hash.finish()
}
