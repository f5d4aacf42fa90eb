//! The node's shell: carries out what the core commands, with a simulated disk and network. It decides
//! nothing that `node/src` does not decide in the same way.

use standby_core::replica::{Input, Output, ReadTicket, RoleKind, SessionId};
use standby_core::{Index, Message, NodeId};
use standby_interface::StateMachine;

use super::{Event, NodeEvent, Packet, ProcRef, Stream, World};
use crate::clients::{Failure, Reply};
use crate::disk::{DiskJob, Health};
use crate::invariants;
use crate::net::{ConnId, End};
use crate::time::{MS, SECOND, Time};

/// The pause between attempts to connect to the primary, at first.
const REDIAL_FIRST: Time = 10 * MS;
/// The longest such pause.
const REDIAL_LONGEST: Time = 200 * MS;
/// How long connecting may take.
const CONNECT: Time = 500 * MS;
/// How long the commit index may wait for entries to travel with.
const NOTICE_AFTER: Time = 3 * MS;
/// How long the primary must be out of reach before others are asked for a view.
const ASK_AFTER: Time = 2 * SECOND;
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
            NodeEvent::Exit => self.process_ends(proc, "it was told to"),
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

    fn limit(&mut self, proc: ProcRef, session: ConnId, upto: Index, commit: Index) {
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        let Some(stream) = process.streams.get_mut(&session) else {
            return;
        };
        stream.upto = upto;
        stream.commit = commit;
        let alone = stream.previous.index >= upto && stream.told < commit && !stream.notice;
        if alone {
            stream.notice = true;
            self.schedule(NOTICE_AFTER, Event::Node(proc, NodeEvent::Notice(session)));
        }
    }

    /// The commit index is told by itself.
    fn notice(&mut self, proc: ProcRef, session: ConnId) {
        let Some(stream) = self
            .proc_mut(proc)
            .and_then(|process| process.streams.get_mut(&session))
        else {
            return;
        };
        stream.notice = false;
        if stream.told >= stream.commit {
            return;
        }
        stream.told = stream.commit;
        let message = Message::Append {
            epoch: stream.epoch,
            previous: stream.previous,
            commit: stream.commit,
            entries: Vec::new(),
        };
        self.send_core(proc, session, Packet::Core(message));
    }

    /// Sends what streams may send, and snapshots that can be taken.
    fn pump(&mut self, proc: ProcRef) {
        let Some(process) = self.proc(proc) else {
            return;
        };
        if process.streams.is_empty() && process.snapshots_owed.is_empty() {
            return;
        }
        let sessions: Vec<ConnId> = process.streams.keys().copied().collect();
        for session in sessions {
            loop {
                let batch = match self.proc_mut(proc) {
                    Some(process) => process.next_batch(session),
                    None => return,
                };
                match batch {
                    Ok(Some(message)) => self.send_core(proc, session, Packet::Core(message)),
                    Ok(None) => break,
                    Err(_) => {
                        self.close_session(proc, session);
                        break;
                    }
                }
            }
        }
        self.send_snapshots(proc);
    }

    fn send_snapshots(&mut self, proc: ProcRef) {
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        let position = process.applied();
        let ready: Vec<ConnId> = process
            .snapshots_owed
            .iter()
            .filter(|(_, at_least)| position.index >= **at_least)
            .map(|(session, _)| *session)
            .collect();
        for session in ready {
            let Some(process) = self.proc_mut(proc) else {
                return;
            };
            process.snapshots_owed.remove(&session);
            let mut source = process.state.snapshot().expect("memory does not fail");
            let mut chunks = Vec::new();
            while let Some(chunk) = source.next_chunk().expect("memory does not fail") {
                chunks.push(chunk);
            }
            self.report.snapshots += 1;
            self.send_core(proc, session, Packet::Snapshot { position, chunks });
        }
    }

    fn send_core(&mut self, proc: ProcRef, session: ConnId, packet: Packet) {
        if let Some(side) = self.side_of(session, End::Node(proc)) {
            self.send(session, side, packet);
        }
    }

    fn close_session(&mut self, proc: ProcRef, session: ConnId) {
        if let Some(side) = self.side_of(session, End::Node(proc)) {
            self.close(session, side);
        }
        self.schedule(
            0,
            Event::Closed {
                conn: session,
                end: End::Node(proc),
            },
        );
    }

    /// A connection of this node is gone.
    pub fn node_lost_connection(&mut self, proc: ProcRef, conn: ConnId) {
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        if let Some(at) = process.controls.iter().position(|known| *known == conn) {
            process.controls.swap_remove(at);
            return;
        }
        process.streams.remove(&conn);
        process.snapshots_owed.remove(&conn);
        let broken = process.outgoing == Some(conn);
        if broken {
            process.outgoing = None;
            process.redial = REDIAL_FIRST;
        }
        self.step(proc, Input::Closed(SessionId(conn)));
        if broken {
            self.plan_dial(proc, REDIAL_FIRST);
        }
    }

    // === following ===

    fn follow(&mut self, proc: ProcRef, target: Option<NodeId>) {
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        if process.follow == target {
            return;
        }
        process.follow = target;
        process.redial = REDIAL_FIRST;
        if let Some(session) = process.outgoing.take() {
            self.close_session(proc, session);
        }
        self.plan_dial(proc, 0);
    }

    fn plan_dial(&mut self, proc: ProcRef, after: Time) {
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        if process.follow.is_none() || process.outgoing.is_some() || process.dialing {
            return;
        }
        process.dialing = true;
        self.schedule(after, Event::Node(proc, NodeEvent::Dial));
    }

    fn dial(&mut self, proc: ProcRef) {
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        process.dialing = false;
        let from = process.host;
        let address = process.follow.as_ref().and_then(|target| {
            let known = process.peers.iter().find(|(name, _)| *name == target.name);
            known.map(|(_, ip)| *ip)
        });
        // Addresses are told anew now and then.
        let Some(ip) = address else {
            return self.plan_dial(proc, REDIAL_LONGEST);
        };
        let Some(host) = self.hosts.of_address(ip) else {
            return self.plan_dial(proc, CONNECT);
        };
        if !self.net.reaches(from, host) {
            return self.plan_dial(proc, CONNECT);
        }
        let there = self.net.latency(from, host, &mut self.rng);
        let back = self.net.latency(host, from, &mut self.rng);
        if let Some(process) = self.proc_mut(proc) {
            process.dialing = true;
        }
        self.schedule(there + back, Event::Node(proc, NodeEvent::Dialled(host)));
    }

    fn dialled(&mut self, proc: ProcRef, host: usize) {
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        process.dialing = false;
        let (from, wanted) = (process.host, process.follow.clone());
        let known = wanted.as_ref().and_then(|target| {
            let known = process.peers.iter().find(|(name, _)| *name == target.name);
            known.map(|(_, ip)| *ip)
        });
        let (Some(wanted), Some(ip), None) = (wanted, known, process.outgoing) else {
            return;
        };
        if !self.net.reaches(from, host) || self.hosts.of_address(ip) != Some(host) {
            return self.plan_dial(proc, CONNECT);
        }
        let found = self
            .running()
            .find(|(_, process)| process.ip == ip)
            .map(|(found, process)| {
                (
                    found,
                    process.node.name == wanted.name,
                    process.paused_until,
                )
            });
        match found {
            None => {
                let pause = self.longer_pause(proc);
                self.step(proc, Input::ConnectRefused);
                self.plan_dial(proc, pause);
            }
            // Another pod has the address, or nobody answers the handshake.
            Some((_, named, paused)) if !named || paused > self.now => {
                self.plan_dial(proc, CONNECT);
            }
            Some((peer, ..)) => {
                let id = self.connect(End::Node(proc), End::Node(peer));
                if let Some(process) = self.proc_mut(proc) {
                    process.outgoing = Some(id);
                    process.redial = REDIAL_FIRST;
                }
                self.step(peer, Input::Accepted(SessionId(id)));
                self.step(proc, Input::Connected(SessionId(id)));
            }
        }
    }

    fn longer_pause(&mut self, proc: ProcRef) -> Time {
        let Some(process) = self.proc_mut(proc) else {
            return REDIAL_LONGEST;
        };
        process.redial = (process.redial * 2).min(REDIAL_LONGEST);
        process.redial
    }

    /// Asks another node for a later view while the primary is out of reach (V9).
    fn ask_view(&mut self, proc: ProcRef) {
        let now = self.now;
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        let Some(since) = process.lonely_since else {
            return;
        };
        if now < since + ASK_AFTER || process.peers.is_empty() {
            return;
        }
        process.ask_next += 1;
        let at = process.ask_next % process.peers.len();
        let (name, ip) = process.peers[at].clone();
        let (from, me) = (process.host, process.node.name.clone());
        let mine = process.replica.view().cloned();
        if name == me || mine.as_ref().is_some_and(|view| view.primary.name == name) {
            return;
        }
        let found = self
            .running()
            .find(|(_, process)| process.ip == ip && process.paused_until <= now)
            .map(|(found, process)| (found, process.host, process.replica.view().cloned()));
        let Some((peer, host, theirs)) = found else {
            return;
        };
        if !self.net.reaches(from, host) {
            return;
        }
        let there = self.net.latency(from, host, &mut self.rng);
        if let Some(view) = mine {
            self.schedule(there, Event::ViewHeard(peer, Box::new(view)));
        }
        if let Some(view) = theirs {
            self.schedule(2 * there, Event::ViewHeard(proc, Box::new(view)));
        }
    }

    /// A peer told a view.
    pub(super) fn view_heard(&mut self, proc: ProcRef, view: standby_core::View) {
        self.step(
            proc,
            Input::View {
                view,
                await_nodes: std::collections::BTreeSet::new(),
                previous_stopped: false,
            },
        );
    }

    // === log and state ===

    fn truncate(&mut self, proc: ProcRef, index: Index) {
        invariants::committed_is_never_cut::check(self, proc, index);
        if let Some(process) = self.proc_mut(proc) {
            process.log.truncate_after(index);
        }
        self.disk(proc, DiskJob::Truncate(index));
    }

    fn disk(&mut self, proc: ProcRef, job: DiskJob) {
        let Some(process) = self.proc(proc) else {
            return;
        };
        let at = process.volume;
        let peers = matches!(job, DiskJob::StoreView(_)).then(|| process.peers.clone());
        let volume = &mut self.volumes[at];
        if let Some(peers) = peers {
            volume.durable.peers = peers;
        }
        volume.waiting.push_back(job);
        self.disk_begins(proc);
    }

    /// Begins to sync what waits, unless a group is under way or the disk hangs.
    pub fn disk_begins(&mut self, proc: ProcRef) {
        let Some(process) = self.proc(proc) else {
            return;
        };
        let at = process.volume;
        let volume = &mut self.volumes[at];
        if !volume.under_way.is_empty() || volume.waiting.is_empty() {
            return;
        }
        // Without room entries wait; what stands behind them does too.
        let blocked = volume.full && matches!(volume.waiting.front(), Some(DiskJob::Append(_)));
        if blocked {
            return;
        }
        let slow = match volume.health {
            Health::Good => 0,
            Health::Slow(most) => self.rng.below(most),
            Health::Hung => return,
        };
        volume.under_way.extend(volume.waiting.drain(..));
        let took = self.rng.between(150, self.profile.sync) + slow;
        self.schedule(took, Event::Node(proc, NodeEvent::DiskDone));
    }

    fn disk_done(&mut self, proc: ProcRef) {
        let Some(process) = self.proc(proc) else {
            return;
        };
        let at = process.volume;
        let volume = &mut self.volumes[at];
        if volume.health == Health::Hung {
            // Whoever heals it begins anew.
            let jobs = std::mem::take(&mut volume.under_way);
            for job in jobs.into_iter().rev() {
                volume.waiting.push_front(job);
            }
            return;
        }
        if std::mem::take(&mut volume.fails) {
            // Nothing is known about the file any more: the process ends.
            self.report.fault("failed sync");
            self.process_ends(proc, "a sync failed");
            return;
        }
        let jobs = std::mem::take(&mut volume.under_way);
        let mut told = Vec::new();
        for job in jobs {
            match &job {
                DiskJob::StoreView(view) => told.push(Input::ViewStored(view.epoch)),
                DiskJob::Append(entries) => {
                    told.extend(entries.last().map(|e| Input::Durable(e.position)));
                }
                DiskJob::Install { position, .. } => {
                    told.push(Input::SnapshotInstalled(*position));
                }
                DiskJob::Checkpoint { release, .. } => {
                    told.extend(release.map(Input::Released));
                }
                DiskJob::Truncate(_) => {}
            }
            self.volumes[at].durable.perform(job);
        }
        for input in told {
            match &input {
                Input::Released(index) => {
                    let index = *index;
                    if let Some(process) = self.proc_mut(proc) {
                        process.log.release_through(index);
                        process.checkpointing = false;
                    }
                }
                Input::ViewStored(_) => invariants::adopted_epoch_is_kept::stored(self, at),
                _ => {}
            }
            self.step(proc, input);
        }
        self.disk_begins(proc);
    }

    /// Applies what is committed, and answers who waited for it.
    fn apply(&mut self, proc: ProcRef) {
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        let entries = process.to_apply();
        if entries.is_empty() {
            return;
        }
        let outcomes = match process.state.apply(&entries) {
            Ok(outcomes) => outcomes,
            Err(error) => {
                let text = format!("{}: {error}", process.node);
                self.broken("state machine", text);
            }
        };
        for (entry, outcome) in entries.iter().zip(outcomes) {
            invariants::state_is_one_history::check(self, proc, entry, &outcome);
            let index = entry.position.index;
            let asker = self.proc_mut(proc).and_then(|p| p.pending.remove(&index));
            if let Some(asker) = asker {
                invariants::acknowledged_is_durable::check(self, proc, entry.position);
                self.answer(proc, asker, Reply::Written(outcome));
            }
        }
        invariants::state_is_one_history::revision(self, proc);
        self.pump_watches(proc);
        self.send_snapshots(proc);
    }

    fn checkpoint(&mut self, proc: ProcRef) {
        let keep = self.profile.log_kept;
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        let position = process.applied();
        let nothing = position.index <= process.log.base.index;
        if process.checkpointing
            || nothing
            || process.replica.takes_in_snapshot()
            || position.index > process.replica.log().durable()
        {
            return;
        }
        let now = process.clock.at(self.now);
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        let status = process.replica.status(now);
        let connected = status.peers.iter().filter(|peer| peer.session.is_some());
        let peers = connected.map(|peer| peer.durable).min();
        let through = peers.unwrap_or(position.index).min(position.index);
        // What connected peers lack is kept for a while longer, but not for ever.
        let floor = Index(position.index.0.saturating_sub(4 * keep));
        let release = Index(through.0.saturating_sub(keep)).max(floor);
        let release = (release > process.log.base.index).then_some(release);
        process.checkpointing = release.is_some();
        let engine = process.engine.content();
        self.disk(
            proc,
            DiskJob::Checkpoint {
                position,
                engine,
                release,
            },
        );
    }

    // === clients ===

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

    /// The volume lost what it had acknowledged: the node goes on as a new, empty one (V11).
    fn discard(&mut self, proc: ProcRef) {
        let Some(process) = self.proc(proc) else {
            return;
        };
        let at = process.volume;
        if !self.volumes[at].spoiled {
            let text = format!("{} gives up a sound volume", process.node);
            self.broken("V11", text);
        }
        self.report.discards += 1;
        self.renew_volume(at);
        self.process_ends(proc, "it gave up its volume");
    }
}
