//! What a primary sends to its followers: the log as far as each may have it, and snapshots.

use standby_core::{Index, Message};
use standby_interface::StateMachine;

use super::{Event, NodeEvent, Packet, ProcRef, World};
use crate::net::{ConnId, End};
use crate::time::{MS, Time};

/// How long the commit index may wait for entries to travel with.
const NOTICE_AFTER: Time = 3 * MS;

impl World {
    pub(super) fn limit(&mut self, proc: ProcRef, session: ConnId, upto: Index, commit: Index) {
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
    pub(super) fn notice(&mut self, proc: ProcRef, session: ConnId) {
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
    pub(super) fn pump(&mut self, proc: ProcRef) {
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

    pub(super) fn send_snapshots(&mut self, proc: ProcRef) {
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

    pub(super) fn send_core(&mut self, proc: ProcRef, session: ConnId, packet: Packet) {
        if let Some(side) = self.side_of(session, End::Node(proc)) {
            self.send(session, side, packet);
        }
    }

    pub(super) fn close_session(&mut self, proc: ProcRef, session: ConnId) {
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
}
