//! The node's shell: carries out what the core commands, with a simulated disk and network. It decides
//! nothing that `node/src` does not decide in the same way.

use standby_core::replica::{Input, Output, ReadTicket, RoleKind};
use standby_core::{Index, Message};

use super::{Event, NodeEvent, Packet, ProcRef, Stream, World};
use crate::clients::{Failure, Reply};
use crate::disk::DiskJob;
use crate::invariants;
use crate::time::{MS, SECOND, Time};

/// The pause between such questions.
const ASK_EVERY: Time = SECOND;
/// How often leases are looked through.
const LEASE_TICK: Time = 500 * MS;
/// How often the state is made durable.
const CHECKPOINT_EVERY: Time = 30 * SECOND;
/// Groups of commands on their way to the disk at once.
const GROUPS_UNDER_WAY: usize = 2;

impl World {
    /// Something at a node.
    pub(super) fn node_event(&mut self, proc: ProcRef, event: NodeEvent) {
        if self.proc(proc).is_none() {
            return;
        }
        match event {
            NodeEvent::DiskDone => self.disk_done(proc),
            NodeEvent::Tick(at) => self.tick(proc, at),
            NodeEvent::Dial => self.dial(proc),
            NodeEvent::Dialled(host) => self.dialled(proc, host),
            NodeEvent::Notice(session) => self.notice(proc, session),
            NodeEvent::Publish => self.publish(proc),
            NodeEvent::Checkpoint => {
                self.checkpoint(proc);
                self.schedule(CHECKPOINT_EVERY, Event::Node(proc, event));
            }
            NodeEvent::Leases => {
                self.look_at_leases(proc);
                self.schedule(LEASE_TICK, Event::Node(proc, event));
            }
            NodeEvent::AskView => {
                self.ask_view(proc);
                self.schedule(ASK_EVERY, Event::Node(proc, event));
            }
            NodeEvent::Exit => {
                self.state_is_kept(proc);
                self.process_ends(proc, "it was told to");
            }
        }
    }

    /// A process that was just put into its slot begins.
    pub fn process_begins(&mut self, proc: ProcRef) {
        self.settle(proc, true);
        self.schedule(CHECKPOINT_EVERY, Event::Node(proc, NodeEvent::Checkpoint));
        self.schedule(LEASE_TICK, Event::Node(proc, NodeEvent::Leases));
        self.schedule(ASK_EVERY, Event::Node(proc, NodeEvent::AskView));
    }

    /// One input for the core, and everything that follows at once.
    pub fn step(&mut self, proc: ProcRef, input: Input) {
        let now = self.now;
        let quiet = matches!(
            &input,
            Input::Message(
                _,
                Message::Append { .. } | Message::Heartbeat { .. } | Message::Ack { .. }
            ) | Input::Durable(_)
        );
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        let local = process.clock.at(now);
        process.replica.step(local, input);
        self.settle(proc, !quiet);
    }

    /// Carries out what the core commanded. `news`: something may have changed that is reported.
    pub fn settle(&mut self, proc: ProcRef, news: bool) {
        loop {
            let Some(process) = self.proc_mut(proc) else {
                return;
            };
            let outputs = process.replica.drain();
            if outputs.is_empty() {
                break;
            }
            for output in outputs {
                if self.proc(proc).is_none() {
                    return;
                }
                self.carry_out(proc, output);
            }
            self.pump(proc);
        }
        self.propose_waiting(proc);
        self.plan_tick(proc);
        self.consider_report(proc, news);
        self.consider_exit(proc);
    }

    fn plan_tick(&mut self, proc: ProcRef) {
        let now = self.now;
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        let at = now + process.clock.wait(now, process.replica.next_deadline());
        // A follower's deadline moves on with everything it hears: the planned tick finds out.
        if process.tick_at <= now || at < process.tick_at {
            process.tick_at = at;
            self.schedule_at(at, Event::Node(proc, NodeEvent::Tick(at)));
        }
    }

    fn tick(&mut self, proc: ProcRef, planned: Time) {
        let now = self.now;
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        // A paused process finds its deadline late.
        if process.tick_at != planned {
            return;
        }
        process.tick_at = Time::MAX;
        if process.clock.at(now) < process.replica.next_deadline() {
            self.plan_tick(proc);
            return;
        }
        self.step(proc, Input::Tick);
    }

    fn carry_out(&mut self, proc: ProcRef, output: Output) {
        match output {
            Output::StoreView(view) => self.disk(proc, DiskJob::StoreView(view)),
            Output::Append(entries) => {
                if let Some(process) = self.proc_mut(proc) {
                    process.log.entries.extend(entries.iter().cloned());
                }
                self.disk(proc, DiskJob::Append(entries));
            }
            Output::Truncate(index) => self.truncate(proc, index),
            Output::Send(session, message) => {
                invariants::adopted_epoch_is_kept::check(self, proc, &message);
                invariants::put_back_counts_as_empty::check(self, proc, &message);
                self.send_core(proc, session.0, Packet::Core(message));
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
                    commit: Index(0),
                    told: Index(0),
                    notice: false,
                };
                if let Some(process) = self.proc_mut(proc) {
                    process.streams.insert(session.0, stream);
                }
            }
            Output::Limit {
                session,
                upto,
                commit,
            } => self.limit(proc, session.0, upto, commit),
            Output::SendSnapshot { session, at_least } => {
                if let Some(process) = self.proc_mut(proc) {
                    process.snapshots_owed.insert(session.0, at_least);
                }
            }
            Output::StopStream(session) => {
                if let Some(process) = self.proc_mut(proc) {
                    process.streams.remove(&session.0);
                }
            }
            Output::Close(session) => self.close_session(proc, session.0),
            Output::Follow(target) => self.follow(proc, target),
            Output::Commit(index) => {
                if let Some(process) = self.proc_mut(proc) {
                    process.commit = index;
                }
                self.apply(proc);
            }
            Output::ReadReady(ticket, _) => self.read_ready(proc, ticket),
            Output::ReadRefused(ticket) => {
                let request = self.proc_mut(proc).and_then(|p| p.reads.remove(&ticket));
                if let Some(request) = request {
                    self.answer(proc, request.asker, Reply::Failed(Failure::NotPrimary));
                }
            }
            Output::Role(kind) => self.role_changed(proc, kind),
            Output::Discard => self.discard(proc),
        }
    }

    /// Hands waiting commands to the core, unless enough is on its way to the disk.
    pub fn propose_waiting(&mut self, proc: ProcRef) {
        let now = self.now;
        loop {
            let Some(process) = self.proc_mut(proc) else {
                return;
            };
            if process.waiting.is_empty() {
                return;
            }
            let durable = process.replica.log().durable();
            while process.under_way.front().is_some_and(|end| *end <= durable) {
                process.under_way.pop_front();
            }
            let accepted = process.replica.accepts_proposals();
            if accepted && process.under_way.len() >= GROUPS_UNDER_WAY {
                return;
            }
            let group: Vec<_> = process.waiting.drain(..).collect();
            let payloads = group.iter().map(|(payload, _)| payload.clone()).collect();
            let local = process.clock.at(now);
            let Ok(first) = process.replica.propose(local, payloads) else {
                for (_, asker) in group {
                    self.answer(proc, asker, Reply::Failed(Failure::NotPrimary));
                }
                return;
            };
            let mut index = first;
            for (_, asker) in group {
                process.pending.insert(index, asker);
                index = index.next();
            }
            let last = process.replica.log().last().index;
            process.under_way.push_back(last);
            self.settle(proc, false);
        }
    }

    fn role_changed(&mut self, proc: ProcRef, kind: RoleKind) {
        self.note(|| format!("run {} becomes {kind:?}", proc.run));
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        process.under_way.clear();
        if matches!(kind, RoleKind::Primary | RoleKind::SteppedDown) {
            return;
        }
        let lost = std::mem::take(&mut process.pending);
        for (_, asker) in lost {
            self.answer(proc, asker, Reply::Failed(Failure::Unknown));
        }
        self.clients_cut_off(proc);
    }

    /// A node that was told to end does so when it leads no more, or has waited long enough.
    fn consider_exit(&mut self, proc: ProcRef) {
        let Some(process) = self.proc(proc) else {
            return;
        };
        let Some(limit) = process.ending else { return };
        let leads = matches!(
            process.replica.role_kind(),
            RoleKind::Primary | RoleKind::SteppedDown
        );
        if !leads || self.now >= limit {
            self.schedule(50 * MS, Event::Node(proc, NodeEvent::Exit));
        }
    }

    /// A number for a read that needs proof.
    pub fn ticket(&mut self, proc: ProcRef) -> Option<ReadTicket> {
        let process = self.proc_mut(proc)?;
        process.tickets += 1;
        Some(ReadTicket(process.tickets))
    }
}
