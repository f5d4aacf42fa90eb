//! Sites, links between them, and connections: packets in order on each, held back while a link is cut
//! or lossy (as TCP does), late on a slow one, and never arriving once an end is gone.

use std::collections::{BTreeMap, VecDeque};

use crate::rng::Rng;
use crate::time::{MS, SECOND, Time};
use crate::world::{Event, Packet, ProcRef, World};

/// A connection's number; also the core's session.
pub type ConnId = u64;

/// How long a packet is tried again before its connection ends.
const DEAD_AFTER: Time = 15 * SECOND;
/// The first pause before a packet is sent again.
const RETRANSMIT_FIRST: Time = 200 * MS;
/// The longest such pause.
const RETRANSMIT_MAX: Time = 3 * SECOND;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A run of a node's process.
    Node(ProcRef),
    /// A run of an operator's process.
    Operator {
        /// Which of them.
        which: usize,
        /// Its run.
        run: u64,
    },
}

/// A connection.
#[derive(Debug)]
pub struct Conn {
    /// Both ends; the first dialled.
    pub ends: [End; 2],
    sites: [usize; 2],
    arrives: [Time; 2],
    held: [VecDeque<Packet>; 2],
    pause: [Time; 2],
    blocked: [Option<Time>; 2],
    closed: [bool; 2],
    /// A host has said that nobody has it any more; that is on its way.
    refused: bool,
}

/// All links and connections.
#[derive(Debug)]
pub struct Network {
    sites: usize,
    cut: Vec<bool>,
    loss: Vec<u16>,
    slow: Vec<Time>,
    /// The hosts are the first of the sites, and so far from each other.
    hosts: usize,
    distance: Time,
    /// A site without power: nothing comes or goes.
    pub dark: Vec<bool>,
    /// The connections that stand, or are not known to be dead.
    pub conns: BTreeMap<ConnId, Conn>,
    next: ConnId,
}

impl Network {
    /// Sites of hosts, `distance` from each other, and two more, all linked.
    #[must_use]
    pub fn new(hosts: usize, distance: Time) -> Self {
        let sites = hosts + 2;
        Self {
            hosts,
            distance,
            sites,
            cut: vec![false; sites * sites],
            loss: vec![0; sites * sites],
            slow: vec![0; sites * sites],
            dark: vec![false; sites],
            conns: BTreeMap::new(),
            next: 0,
        }
    }

    fn at(&self, from: usize, to: usize) -> usize {
        from * self.sites + to
    }

    /// Whether nothing goes from one site to another. Within a site everything goes.
    #[must_use]
    pub fn cuts(&self, from: usize, to: usize) -> bool {
        self.dark[from] || self.dark[to] || (from != to && self.cut[self.at(from, to)])
    }

    /// Whether both ways are open.
    #[must_use]
    pub fn reaches(&self, one: usize, other: usize) -> bool {
        !self.cuts(one, other) && !self.cuts(other, one)
    }

    /// Cuts or joins one direction.
    pub fn set_cut(&mut self, from: usize, to: usize, cut: bool) {
        let at = self.at(from, to);
        self.cut[at] = cut;
    }

    /// Loses so many packets of ten thousand, one way.
    pub fn set_loss(&mut self, from: usize, to: usize, of_ten_thousand: u16) {
        let at = self.at(from, to);
        self.loss[at] = of_ten_thousand;
    }

    /// Lets packets take up to so much longer, one way.
    pub fn set_slow(&mut self, from: usize, to: usize, extra: Time) {
        let at = self.at(from, to);
        self.slow[at] = extra;
    }

    /// Every link as it should be.
    pub fn heal(&mut self) {
        self.cut.fill(false);
        self.loss.fill(0);
        self.slow.fill(0);
    }

    /// Whether a packet is lost.
    pub fn loses(&self, from: usize, to: usize, rng: &mut Rng) -> bool {
        let loss = self.loss[self.at(from, to)];
        loss > 0 && rng.below(10_000) < u64::from(loss)
    }

    /// How long a packet takes.
    pub fn latency(&self, from: usize, to: usize, rng: &mut Rng) -> Time {
        let base = if from == to {
            rng.between(20, 80)
        } else {
            rng.between(80, 600)
        };
        let late = if rng.permille(3) {
            rng.below(20 * MS)
        } else {
            0
        };
        let slow = self.slow[self.at(from, to)];
        let far = from != to && from < self.hosts && to < self.hosts;
        let distance = if far { self.distance } else { 0 };
        base + distance + late + if slow > 0 { rng.below(slow) } else { 0 }
    }
}

impl World {
    /// Where an end is, while its process runs.
    pub fn site_of(&self, end: End) -> Option<usize> {
        match end {
            End::Node(proc) => self.proc(proc).map(|process| process.host),
            End::Operator { which, run } => {
                let operator = &self.operators[which];
                (operator.up && operator.run == run).then_some(operator.host)
            }
        }
    }

    /// Makes a connection. Both ends must run.
    pub fn connect(&mut self, from: End, to: End) -> ConnId {
        let site = |end| self.site_of(end).expect("both ends were just looked up");
        let sites = [site(from), site(to)];
        self.net.next += 1;
        let id = self.net.next;
        let conn = Conn {
            ends: [from, to],
            sites,
            arrives: [self.now; 2],
            held: [VecDeque::new(), VecDeque::new()],
            pause: [RETRANSMIT_FIRST; 2],
            blocked: [None; 2],
            closed: [false; 2],
            refused: false,
        };
        self.net.conns.insert(id, conn);
        id
    }

    /// Sends from one side of a connection.
    pub fn send(&mut self, id: ConnId, side: usize, packet: Packet) {
        let Some(conn) = self.net.conns.get_mut(&id) else {
            return;
        };
        if conn.closed[side] {
            return;
        }
        conn.held[side].push_back(packet);
        if conn.blocked[side].is_none() {
            self.transmit(id, side);
        }
    }

    /// Sends everything that is held, or plans the next try.
    fn transmit(&mut self, id: ConnId, side: usize) {
        let Some(conn) = self.net.conns.get(&id) else {
            return;
        };
        let (from, to) = (conn.sites[side], conn.sites[1 - side]);
        let lost = self.net.cuts(from, to) || self.net.loses(from, to, &mut self.rng);
        if lost {
            self.hold_back(id, side);
            return;
        }
        loop {
            let latency = self.net.latency(from, to, &mut self.rng);
            let conn = self.net.conns.get_mut(&id).expect("looked up above");
            conn.blocked[side] = None;
            conn.pause[side] = RETRANSMIT_FIRST;
            let Some(packet) = conn.held[side].pop_front() else {
                return;
            };
            let at = (self.now + latency).max(conn.arrives[side]);
            conn.arrives[side] = at;
            let event = Event::Deliver {
                conn: id,
                side,
                packet: Box::new(packet),
            };
            self.schedule_at(at, event);
        }
    }

    fn hold_back(&mut self, id: ConnId, side: usize) {
        let now = self.now;
        let conn = self
            .net
            .conns
            .get_mut(&id)
            .expect("the caller looked it up");
        let since = *conn.blocked[side].get_or_insert(now);
        let pause = conn.pause[side];
        conn.pause[side] = (pause * 2).min(RETRANSMIT_MAX);
        if now >= since + DEAD_AFTER {
            self.abandon(id);
            return;
        }
        self.schedule(pause, Event::Retransmit { conn: id, side });
    }

    /// A packet is tried again.
    pub fn retransmit(&mut self, id: ConnId, side: usize) {
        let waits = self
            .net
            .conns
            .get(&id)
            .is_some_and(|conn| conn.blocked[side].is_some());
        if waits {
            self.transmit(id, side);
        }
    }

    /// Both ends learn, each by its own time-out, that the connection is dead.
    fn abandon(&mut self, id: ConnId) {
        let Some(conn) = self.net.conns.remove(&id) else {
            return;
        };
        for (end, closed) in conn.ends.into_iter().zip(conn.closed) {
            if !closed {
                let after = self.rng.below(2 * SECOND);
                self.schedule(after, Event::Closed { conn: id, end });
            }
        }
    }

    /// One side ends the connection; what it sent before still arrives.
    pub fn close(&mut self, id: ConnId, side: usize) {
        self.send(id, side, Packet::End);
        if let Some(conn) = self.net.conns.get_mut(&id) {
            conn.closed[side] = true;
        }
    }

    /// The side of an end, if the connection has it.
    pub fn side_of(&self, id: ConnId, end: End) -> Option<usize> {
        let conn = self.net.conns.get(&id)?;
        conn.ends.iter().position(|known| *known == end)
    }

    /// A process ended and its host lives: the kernel ends its connections.
    pub fn close_all_of(&mut self, end: End) {
        let mut mine = Vec::new();
        for (id, conn) in &self.net.conns {
            if let Some(side) = conn.ends.iter().position(|known| *known == end) {
                mine.push((*id, side));
            }
        }
        for (id, side) in mine {
            self.close(id, side);
        }
    }

    /// A packet arrives.
    pub fn deliver(&mut self, id: ConnId, side: usize, packet: Packet) {
        let Some(conn) = self.net.conns.get(&id) else {
            return;
        };
        let (to, sites) = (conn.ends[1 - side], conn.sites);
        let deaf = conn.closed[1 - side];
        if self.site_of(to).is_none() || deaf {
            // A host that runs says at once that nobody has this connection any more.
            if !self.net.cuts(sites[1 - side], sites[side]) {
                self.refuse(id, side);
            }
            return;
        }
        if matches!(packet, Packet::End) {
            self.net.conns.remove(&id);
            self.closed(id, to);
            return;
        }
        match to {
            End::Node(proc) => self.node_hears(proc, id, packet),
            End::Operator { which, .. } => self.operator_hears(which, id, packet),
        }
    }

    /// One side is told that nobody is at the other end. What had been sent to it before arrives before.
    fn refuse(&mut self, id: ConnId, side: usize) {
        let Some(conn) = self.net.conns.get(&id) else {
            return;
        };
        if conn.closed[side] {
            self.net.conns.remove(&id);
            return;
        }
        if conn.refused {
            return;
        }
        let (from, to) = (conn.sites[1 - side], conn.sites[side]);
        let (end, behind) = (conn.ends[side], conn.arrives[1 - side]);
        let at = self.now + self.net.latency(from, to, &mut self.rng);
        if let Some(conn) = self.net.conns.get_mut(&id) {
            conn.refused = true;
        }
        self.schedule_at(at.max(behind), Event::Closed { conn: id, end });
    }

    /// An end learns that its connection is gone.
    pub fn closed(&mut self, id: ConnId, end: End) {
        let refused = self.net.conns.get(&id).is_some_and(|conn| {
            let side = conn.ends.iter().position(|known| *known == end);
            conn.refused && side.is_some_and(|side| !conn.closed[side])
        });
        if refused {
            self.net.conns.remove(&id);
        }
        if self.site_of(end).is_none() {
            return;
        }
        match end {
            End::Node(proc) => self.node_lost_connection(proc, id),
            End::Operator { which, .. } => self.stream_closed(which, id),
        }
    }
}
