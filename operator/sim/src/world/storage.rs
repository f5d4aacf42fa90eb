//! A node's disk, log and state: what is written, synced, applied and made durable, and when.

use standby_core::Index;
use standby_core::replica::Input;
use standby_interface::StateMachine;

use super::{Event, NodeEvent, ProcRef, World};
use crate::clients::Reply;
use crate::disk::{DiskJob, Health};
use crate::invariants;

impl World {
    pub(super) fn truncate(&mut self, proc: ProcRef, index: Index) {
        invariants::committed_is_never_cut::check(self, proc, index);
        if let Some(process) = self.proc_mut(proc) {
            process.log.truncate_after(index);
        }
        self.disk(proc, DiskJob::Truncate(index));
    }

    pub(super) fn disk(&mut self, proc: ProcRef, job: DiskJob) {
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

    pub(super) fn disk_done(&mut self, proc: ProcRef) {
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
        if std::mem::take(&mut volume.tears) {
            self.tell_fault("crash in a write");
            self.process_ends(proc, "it crashed in the middle of a write");
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
    pub(super) fn apply(&mut self, proc: ProcRef) {
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

    pub(super) fn checkpoint(&mut self, proc: ProcRef) {
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

    /// The volume lost what it had acknowledged: the node goes on as a new, empty one (V11).
    pub(super) fn discard(&mut self, proc: ProcRef) {
        let Some(process) = self.proc(proc) else {
            return;
        };
        let at = process.volume;
        // What somebody consented to give up is given up by whoever holds it.
        let given_up = !self.api.losses.is_empty();
        if !self.volumes[at].spoiled && !given_up {
            let text = format!("{} gives up a sound volume", process.node);
            self.broken("V11", text);
        }
        self.report.discards += 1;
        self.renew_volume(at);
        self.process_ends(proc, "it gave up its volume");
    }
}
