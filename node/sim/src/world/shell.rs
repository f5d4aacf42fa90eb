//! Carries out what a node's core commands, and completes what its disk does.

use rand::Rng;
use standby_core::NodeId;
use standby_core::replica::{Input, Output, RoleKind};

use super::{Event, MS, World};
use crate::disk::DiskOp;
use crate::invariants;
use crate::node::{Packet, Stream};

impl World {
    pub(crate) fn carry_out(&mut self, node: usize) {
        let run = self.nodes[node].run;
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        for output in process.replica.drain() {
            if self.runs(node, run) {
                self.carry_out_one(node, output);
            }
        }
        self.pump(node);
    }

    pub(super) fn carry_out_one(&mut self, node: usize, output: Output) {
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        match output {
            Output::StoreView(view) => self.disk(node, DiskOp::StoreView(view)),
            Output::Append(entries) => {
                process.log.extend(entries.clone());
                self.disk(node, DiskOp::Append(entries));
            }
            Output::Truncate(index) => self.truncate(node, index),
            Output::Send(session, message) => {
                invariants::adopted_epoch_is_kept::check(self, node, &message);
                self.send(node, session, Packet::Core(message));
            }
            Output::Stream {
                session,
                epoch,
                start,
            } => {
                let stream = Stream {
                    epoch,
                    previous: start,
                    upto: start.index,
                    commit: standby_core::Index(0),
                };
                process.streams.insert(session, stream);
            }
            Output::Limit {
                session,
                upto,
                commit,
            } => {
                if let Some(stream) = process.streams.get_mut(&session) {
                    stream.upto = upto;
                    stream.commit = commit;
                    if let Some(batch) = process.next_batch(session) {
                        self.send(node, session, Packet::Core(batch));
                    }
                }
            }
            Output::SendSnapshot { session, at_least } => {
                process.snapshots_owed.insert(session, at_least);
            }
            Output::StopStream(session) => {
                process.streams.remove(&session);
            }
            Output::Close(session) => self.close(node, session),
            Output::Follow(target) => self.follow(node, target),
            Output::Commit(index) => {
                process.commit = index;
                self.apply(node);
            }
            Output::ReadReady(ticket, index) => {
                process.reads.insert(ticket, index);
                self.apply(node);
            }
            Output::ReadRefused(ticket) => self.clients.read_refused(node, ticket),
            Output::Role(kind) => {
                if !matches!(kind, RoleKind::Primary | RoleKind::SteppedDown) {
                    process.proposals.clear();
                }
            }
            Output::Discard => self.discard(node),
        }
    }

    pub(super) fn truncate(&mut self, node: usize, index: standby_core::Index) {
        invariants::committed_is_never_cut::check(self, node, index);
        if let Some(process) = &mut self.nodes[node].process {
            process.log.retain(|entry| entry.position.index <= index);
        }
        self.disk(node, DiskOp::Truncate(index));
    }

    pub(super) fn discard(&mut self, node: usize) {
        assert!(
            self.nodes[node].disk.spoiled,
            "seed {}: V11: n{node} gives up a sound volume",
            self.report.seed
        );
        self.report.discards += 1;
        self.renew(node);
    }

    pub(super) fn follow(&mut self, node: usize, target: Option<NodeId>) {
        let run = self.nodes[node].run;
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        if process.follow == target {
            return;
        }
        process.follow = target;
        if let Some(session) = process.outgoing.take() {
            self.break_connection(session, 0);
        }
        self.schedule(MS, Event::Dial { node, run });
    }

    pub(super) fn apply(&mut self, node: usize) {
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        let done = process.apply();
        let applied = process.applied.index;
        let epoch = process.replica.epoch();
        let ready: Vec<_> = process
            .reads
            .iter()
            .filter(|(_, index)| **index <= applied)
            .map(|(t, _)| *t)
            .collect();
        for ticket in &ready {
            process.reads.remove(ticket);
        }
        let seen = process.state.len();
        invariants::state_is_one_history::check(self, node);
        for command in done {
            self.report.acknowledged += 1;
            invariants::acknowledged_is_durable::check(self, node, epoch, command);
            self.clients.acknowledged(command, seen);
        }
        for ticket in ready {
            self.clients
                .read_answered(node, ticket, seen, self.report.seed);
            self.report.reads += 1;
        }
    }

    /// Sends what streams may send, a few batches at a time, and snapshots that can be taken.
    pub(super) fn pump(&mut self, node: usize) {
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        let mut packets = Vec::new();
        let mut behind = Vec::new();
        let sessions: Vec<_> = process.streams.keys().copied().collect();
        for session in sessions {
            while process
                .streams
                .get(&session)
                .is_some_and(|s| s.previous.index < s.upto)
            {
                let Some(batch) = process.next_batch(session) else {
                    // What it wants was given up meanwhile: it begins anew.
                    behind.push(session);
                    break;
                };
                packets.push((session, Packet::Core(batch)));
            }
        }
        let (position, state) = (process.applied, process.state.clone());
        process.snapshots_owed.retain(|session, at_least| {
            let can = position.index >= *at_least;
            if can {
                packets.push((
                    *session,
                    Packet::Snapshot {
                        position,
                        state: state.clone(),
                    },
                ));
            }
            !can
        });
        for (session, packet) in packets {
            self.send(node, session, packet);
        }
        for session in behind {
            if let Some(process) = &mut self.nodes[node].process {
                process.streams.remove(&session);
            }
            self.break_connection(session, 0);
        }
    }

    pub(super) fn disk(&mut self, node: usize, op: DiskOp) {
        let run = self.nodes[node].run;
        self.nodes[node].disk.under_way.push_back(op);
        let took = if self.faults.slow_disk == Some(node) {
            self.rng.random_range(20 * MS..400 * MS)
        } else {
            self.rng.random_range(100..2 * MS)
        };
        self.schedule(took, Event::DiskDone { node, run });
    }

    pub(super) fn disk_done(&mut self, node: usize, run: u64) {
        if !self.runs(node, run) {
            return;
        }
        let Some(op) = self.nodes[node].disk.under_way.pop_front() else {
            return;
        };
        let told = match &op {
            DiskOp::StoreView(view) => Some(Input::ViewStored(view.epoch)),
            DiskOp::Append(entries) => entries.last().map(|e| Input::Durable(e.position)),
            DiskOp::Install { position, .. } => Some(Input::SnapshotInstalled(*position)),
            DiskOp::Truncate(_) | DiskOp::Checkpoint { .. } => None,
        };
        let released = match &op {
            DiskOp::Checkpoint {
                position,
                release: true,
                ..
            } => Some(position.index),
            _ => None,
        };
        self.nodes[node].disk.durable.perform(op);
        if let Some(index) = released {
            self.release(node, index);
        }
        if let Some(input) = told {
            self.step(node, input);
        }
    }

    pub(super) fn release(&mut self, node: usize, index: standby_core::Index) {
        if let Some(process) = &mut self.nodes[node].process
            && let Some(entry) = process.entry(index)
        {
            let base = entry.position;
            process.log.retain(|entry| entry.position.index > index);
            process.base = base;
        }
        self.step(node, Input::Released(index));
    }

    /// Makes the applied state durable, and sometimes gives up the log below it.
    pub(crate) fn checkpoint(&mut self, node: usize, release: bool) {
        let Some(process) = &self.nodes[node].process else {
            return;
        };
        if process.applied.index > process.replica.log().durable() {
            return;
        }
        let op = DiskOp::Checkpoint {
            position: process.applied,
            state: process.state.clone(),
            release,
        };
        self.disk(node, op);
    }
}
