//! How a follower finds its primary, and a later view while it cannot (V9).

use standby_core::NodeId;
use standby_core::replica::{Input, SessionId};

use super::{Event, NodeEvent, ProcRef, World};
use crate::net::{ConnId, End};
use crate::time::{MS, SECOND, Time};

/// The pause between attempts to connect to the primary, at first.
const REDIAL_FIRST: Time = 10 * MS;
/// The longest such pause.
const REDIAL_LONGEST: Time = 200 * MS;
/// How long connecting may take.
const CONNECT: Time = 500 * MS;
/// How long the primary must be out of reach before others are asked for a view.
const ASK_AFTER: Time = 2 * SECOND;

impl World {
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

    pub(super) fn follow(&mut self, proc: ProcRef, target: Option<NodeId>) {
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

    pub(super) fn plan_dial(&mut self, proc: ProcRef, after: Time) {
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        if process.follow.is_none() || process.outgoing.is_some() || process.dialing {
            return;
        }
        process.dialing = true;
        self.schedule(after, Event::Node(proc, NodeEvent::Dial));
    }

    pub(super) fn dial(&mut self, proc: ProcRef) {
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

    pub(super) fn dialled(&mut self, proc: ProcRef, host: usize) {
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        process.dialing = false;
        let (from, wanted) = (process.host, process.follow.clone());
        let known = wanted.as_ref().and_then(|target| {
            let known = process.peers.iter().find(|(name, _)| *name == target.name);
            known.map(|(_, ip)| *ip)
        });
        if wanted.is_some() && known.is_none() {
            return self.plan_dial(proc, REDIAL_LONGEST);
        }
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

    pub(super) fn longer_pause(&mut self, proc: ProcRef) -> Time {
        let Some(process) = self.proc_mut(proc) else {
            return REDIAL_LONGEST;
        };
        process.redial = (process.redial * 2).min(REDIAL_LONGEST);
        process.redial
    }

    /// Asks another node for a later view while the primary is out of reach (V9).
    pub(super) fn ask_view(&mut self, proc: ProcRef) {
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
}
