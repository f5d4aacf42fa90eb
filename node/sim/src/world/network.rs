//! Connections between nodes: made, lossy, broken, and packets in order on each.

use rand::Rng;
use standby_core::replica::{Input, SessionId};

use super::{Connection, DEAD_CONNECTION, Event, MS, REDIAL_AFTER, World};
use crate::disk::DiskOp;
use crate::node::Packet;

impl World {
    /// A place gives up its connection and dials anew; the other end notices late.
    pub(crate) fn dial_twice(&mut self, node: usize) {
        let run = self.nodes[node].run;
        let Some(session) = self.nodes[node]
            .process
            .as_mut()
            .and_then(|process| process.outgoing.take())
        else {
            return;
        };
        let late = self.rng.random_range(MS..2_000 * MS);
        if let Some(connection) = self.connections.get(&session) {
            for (to, run) in connection.ends.into_iter().filter(|(n, _)| *n != node) {
                self.schedule(late, Event::Closed { session, to, run });
            }
        }
        self.step(node, Input::Closed(session));
        self.schedule(0, Event::Dial { node, run });
    }

    pub(super) fn latency(&mut self) -> u64 {
        if self.faults.late > 0.0 && self.rng.random_bool(self.faults.late) {
            return self.rng.random_range(100 * MS..3_000 * MS);
        }
        if self.rng.random_bool(0.02) {
            self.rng.random_range(5 * MS..120 * MS)
        } else {
            self.rng.random_range(50..MS)
        }
    }

    pub(super) fn dial(&mut self, node: usize, run: u64) {
        if !self.runs(node, run) {
            return;
        }
        let process = self.nodes[node]
            .process
            .as_ref()
            .expect("it runs: looked up above");
        let target = process.follow.clone().and_then(|id| self.index_of(&id));
        if process.outgoing.is_none()
            && let Some(target) = target
            && target != node
        {
            let after = self.latency();
            self.schedule(after, Event::Connect { node, run, target });
        }
        self.schedule(REDIAL_AFTER, Event::Dial { node, run });
    }

    pub(super) fn connect(&mut self, node: usize, run: u64, target: usize) {
        if !self.runs(node, run) || self.faults.cuts(node, target) || self.faults.cuts(target, node)
        {
            return;
        }
        let process = self.nodes[node]
            .process
            .as_ref()
            .expect("it runs: looked up above");
        let wanted = process.follow.clone().and_then(|id| self.index_of(&id)) == Some(target);
        let asleep = [node, target]
            .iter()
            .any(|n| self.nodes[*n].paused_until > self.now);
        if !wanted || asleep || process.outgoing.is_some() {
            return;
        }
        if self.nodes[target].process.is_none() {
            self.step(node, Input::ConnectRefused);
            return;
        }
        self.next_session += 1;
        let session = SessionId(self.next_session);
        let ends = [(node, run), (target, self.nodes[target].run)];
        self.connections.insert(
            session,
            Connection {
                ends,
                arrives: [self.now; 2],
                broken: false,
            },
        );
        if let Some(process) = &mut self.nodes[node].process {
            process.outgoing = Some(session);
        }
        self.step(target, Input::Accepted(session));
        self.step(node, Input::Connected(session));
    }

    pub(super) fn send(&mut self, from: usize, session: SessionId, packet: Packet) {
        let after = self.latency();
        let Some(connection) = self.connections.get_mut(&session) else {
            return;
        };
        let side = usize::from(connection.ends[0].0 == from);
        let (to, run) = connection.ends[side];
        if connection.broken {
            return;
        }
        if self.faults.cuts(from, to)
            || (self.faults.drops > 0.0 && self.rng.random_bool(self.faults.drops))
        {
            connection.broken = true;
            self.break_connection(session, DEAD_CONNECTION);
            return;
        }
        let at = (self.now + after).max(connection.arrives[side]);
        connection.arrives[side] = at;
        self.schedule(
            at - self.now,
            Event::Deliver {
                session,
                to,
                run,
                packet,
            },
        );
    }

    /// Ends a connection from one side: what was sent before still arrives.
    pub(super) fn close(&mut self, from: usize, session: SessionId) {
        let Some(connection) = self.connections.get_mut(&session) else {
            return;
        };
        connection.broken = true;
        let (ends, arrives) = (connection.ends, connection.arrives);
        let far = usize::from(ends[0].0 == from);
        for (side, (to, run)) in ends.into_iter().enumerate() {
            let after = if side == far {
                arrives[side].saturating_sub(self.now) + 1
            } else {
                0
            };
            self.schedule(after, Event::Closed { session, to, run });
        }
    }

    pub(super) fn break_connection(&mut self, session: SessionId, after: u64) {
        let Some(connection) = self.connections.get_mut(&session) else {
            return;
        };
        connection.broken = true;
        for (to, run) in connection.ends {
            self.schedule(after, Event::Closed { session, to, run });
        }
    }

    pub(super) fn closed(&mut self, session: SessionId, to: usize, run: u64) {
        if !self.runs(to, run) {
            return;
        }
        if let Some(process) = &mut self.nodes[to].process {
            if process.outgoing == Some(session) {
                process.outgoing = None;
            }
            process.streams.remove(&session);
            process.snapshots_owed.remove(&session);
        }
        self.step(to, Input::Closed(session));
    }

    pub(super) fn deliver(&mut self, session: SessionId, to: usize, packet: Packet) {
        // Packets in flight when the process at the other end died may still arrive.
        match packet {
            Packet::Core(message) => self.step(to, Input::Message(session, message)),
            Packet::Snapshot { position, state } => {
                let Some(process) = &mut self.nodes[to].process else {
                    return;
                };
                if position.index < process.applied.index
                    || !process.replica.begin_snapshot(session)
                {
                    return;
                }
                process.log.clear();
                process.base = position;
                process.applied = position;
                process.state.clone_from(&state);
                self.report.snapshots += 1;
                self.disk(to, DiskOp::Install { position, state });
            }
        }
    }
}
