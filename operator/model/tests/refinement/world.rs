//! A world of real replicas, with disks and connections of the smallest kind: one thing happens at a
//! time, chosen by whoever drives it. It carries out what the replicas command and decides nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use standby_core::replica::{
    Input, Mutant, Output, Replica, RoleKind, SessionId, Start, Status, Timing,
};
use standby_core::{Entry, Epoch, Index, LogOutline, Message, Micros, NodeId, Position, View};
use standby_model::views::cluster_id;

/// Something a disk has not finished. Done in this order.
#[derive(Clone, Debug)]
enum Job {
    Store(View),
    Append(Entry),
    Cut(Index),
}

/// What is on a volume.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub view: Option<View>,
    pub log: Vec<Entry>,
    applied: Index,
}

/// A follower's stream.
#[derive(Clone, Copy, Debug)]
struct Stream {
    epoch: Epoch,
    previous: Position,
    upto: Index,
    commit: Index,
}

/// A process that runs.
#[derive(Debug)]
pub struct Process {
    pub replica: Replica,
    /// The log as written, durable or not.
    pub log: Vec<Entry>,
    streams: BTreeMap<SessionId, Stream>,
    follow: Option<NodeId>,
    outgoing: Option<SessionId>,
    pub run: u64,
}

/// A place where a node runs.
#[derive(Debug)]
pub struct Place {
    pub node: NodeId,
    pub disk: Disk,
    jobs: VecDeque<Job>,
    pub process: Option<Process>,
    /// Leases granted by this run, by when and for which epoch.
    pub grants: Vec<(Micros, Epoch)>,
}

/// A connection of a follower to its primary.
#[derive(Debug)]
struct Link {
    follower: usize,
    primary: usize,
    up: VecDeque<Message>,
    down: VecDeque<Message>,
}

/// Everything.
#[derive(Debug)]
pub struct World {
    pub now: Micros,
    pub places: Vec<Place>,
    links: BTreeMap<SessionId, Link>,
    next_session: u64,
    runs: u64,
    mutant: Option<Mutant>,
    /// A primary served before a lease that it granted was over (V5).
    pub served_early: Option<String>,
}

fn outline(log: &[Entry]) -> LogOutline {
    let mut epochs: Vec<(Epoch, Index)> = Vec::new();
    for entry in log {
        if epochs.last().map(|(epoch, _)| *epoch) != Some(entry.position.epoch) {
            epochs.push((entry.position.epoch, entry.position.index));
        }
    }
    LogOutline {
        base: Position::START,
        epochs,
        last: end(log),
    }
}

fn end(log: &[Entry]) -> Position {
    log.last().map_or(Position::START, |entry| entry.position)
}

impl World {
    pub fn new(nodes: Vec<NodeId>, mutant: Option<Mutant>) -> Self {
        let place = |node| Place {
            node,
            disk: Disk::default(),
            jobs: VecDeque::new(),
            process: None,
            grants: Vec::new(),
        };
        let mut world = Self {
            now: Micros::from_millis(1_000_000),
            places: nodes.into_iter().map(place).collect(),
            links: BTreeMap::new(),
            next_session: 1,
            runs: 0,
            mutant,
            served_early: None,
        };
        for at in 0..world.places.len() {
            world.start(at);
        }
        world
    }

    pub fn status(&self, at: usize) -> Option<Status> {
        let process = self.places[at].process.as_ref()?;
        Some(process.replica.status(self.now))
    }

    pub fn at(&self, node: &NodeId) -> Option<usize> {
        self.places.iter().position(|place| place.node == *node)
    }

    // === processes ===

    pub fn start(&mut self, at: usize) {
        let place = &mut self.places[at];
        let start = Start {
            cluster_id: cluster_id(),
            node: place.node.clone(),
            view: place.disk.view.clone(),
            log: outline(&place.disk.log),
            applied: place.disk.applied,
            doubt: None,
            timing: Timing::default(),
        };
        let mut replica = Replica::new(start, self.now);
        if let Some(mutant) = self.mutant {
            replica.mutate(mutant);
        }
        self.runs += 1;
        place.grants.clear();
        place.process = Some(Process {
            replica,
            log: place.disk.log.clone(),
            streams: BTreeMap::new(),
            follow: None,
            outgoing: None,
            run: self.runs,
        });
        self.settle(at);
    }

    /// The process ends; its disk does not finish what it has not done yet.
    pub fn kill(&mut self, at: usize) {
        self.places[at].process = None;
        self.places[at].jobs.clear();
        let ends = |link: &Link| link.follower == at || link.primary == at;
        let links: Vec<_> = self.links.iter().filter(|(_, link)| ends(link)).collect();
        let links: Vec<SessionId> = links.into_iter().map(|(session, _)| *session).collect();
        for session in links {
            self.cut(session);
        }
    }

    /// The volume is destroyed; the place goes on under another identity.
    pub fn destroy(&mut self, at: usize, node: NodeId) {
        self.kill(at);
        self.places[at].node = node;
        self.places[at].disk = Disk::default();
    }

    pub fn input(&mut self, at: usize, input: Input) {
        if let Some(process) = &mut self.places[at].process {
            process.replica.step(self.now, input);
        }
        self.settle(at);
    }

    pub fn propose(&mut self, at: usize) {
        if let Some(process) = &mut self.places[at].process {
            // A node that takes no writes says so; that is as good as no write.
            let _ = process
                .replica
                .propose(self.now, vec![Bytes::from_static(b"w")]);
        }
        self.settle(at);
    }

    pub fn tell(&mut self, at: usize, view: &View, await_nodes: BTreeSet<NodeId>) {
        let input = Input::View {
            view: view.clone(),
            await_nodes,
            previous_stopped: false,
        };
        self.input(at, input);
    }

    pub fn pass(&mut self, millis: u64) {
        self.now = self.now.plus(Micros::from_millis(millis));
        for at in 0..self.places.len() {
            self.input(at, Input::Tick);
        }
    }

    // === disk ===

    pub fn has_jobs(&self, at: usize) -> bool {
        !self.places[at].jobs.is_empty()
    }

    /// Finishes the oldest job.
    pub fn finish(&mut self, at: usize) {
        let place = &mut self.places[at];
        let done = match place.jobs.pop_front() {
            None => return,
            Some(Job::Store(view)) => {
                let epoch = view.epoch;
                place.disk.view = Some(view);
                Input::ViewStored(epoch)
            }
            Some(Job::Append(entry)) => {
                place.disk.log.push(entry);
                Input::Durable(end(&place.disk.log))
            }
            Some(Job::Cut(index)) => {
                place.disk.log.retain(|entry| entry.position.index <= index);
                Input::Durable(end(&place.disk.log))
            }
        };
        self.input(at, done);
    }

    // === network ===

    pub fn links(&self) -> Vec<(SessionId, bool)> {
        let mut ready = Vec::new();
        for (session, link) in &self.links {
            if !link.up.is_empty() {
                ready.push((*session, true));
            }
            if !link.down.is_empty() {
                ready.push((*session, false));
            }
        }
        ready
    }

    pub fn deliver(&mut self, session: SessionId, up: bool) {
        let Some(link) = self.links.get_mut(&session) else {
            return;
        };
        let (to, queue) = if up {
            (link.primary, &mut link.up)
        } else {
            (link.follower, &mut link.down)
        };
        if let Some(message) = queue.pop_front() {
            self.input(to, Input::Message(session, message));
        }
    }

    pub fn cut(&mut self, session: SessionId) {
        let Some(link) = self.links.remove(&session) else {
            return;
        };
        for at in [link.follower, link.primary] {
            if let Some(process) = &mut self.places[at].process {
                process.streams.remove(&session);
                if process.outgoing == Some(session) {
                    process.outgoing = None;
                }
            }
            self.input(at, Input::Closed(session));
        }
    }

    /// A follower without a connection dials.
    pub fn dial(&mut self, at: usize) {
        let Some(process) = &self.places[at].process else {
            return;
        };
        let (Some(target), None) = (&process.follow, process.outgoing) else {
            return;
        };
        let to = self
            .at(target)
            .filter(|to| self.places[*to].process.is_some());
        let Some(to) = to else {
            self.input(at, Input::ConnectRefused);
            return;
        };
        let session = SessionId(self.next_session);
        self.next_session += 1;
        let link = Link {
            follower: at,
            primary: to,
            up: VecDeque::new(),
            down: VecDeque::new(),
        };
        self.links.insert(session, link);
        if let Some(process) = &mut self.places[at].process {
            process.outgoing = Some(session);
        }
        self.input(to, Input::Accepted(session));
        self.input(at, Input::Connected(session));
    }

    // === commands ===

    fn settle(&mut self, at: usize) {
        loop {
            let Some(process) = &mut self.places[at].process else {
                return;
            };
            let outputs = process.replica.drain();
            if outputs.is_empty() {
                return;
            }
            for output in outputs {
                self.carry_out(at, output);
            }
        }
    }

    fn carry_out(&mut self, at: usize, output: Output) {
        let Place { process, jobs, .. } = &mut self.places[at];
        let Some(process) = process else { return };
        match output {
            Output::StoreView(view) => jobs.push_back(Job::Store(view)),
            Output::Append(entries) => {
                process.log.extend(entries.iter().cloned());
                jobs.extend(entries.into_iter().map(Job::Append));
            }
            Output::Truncate(index) => {
                process.log.retain(|entry| entry.position.index <= index);
                jobs.push_back(Job::Cut(index));
            }
            Output::Send(session, message) => self.send(at, session, message),
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
                };
                process.streams.insert(session, stream);
            }
            Output::Limit {
                session,
                upto,
                commit,
            } => {
                if let Some(stream) = process.streams.get_mut(&session) {
                    (stream.upto, stream.commit) = (upto, commit);
                }
                self.pump(at, session);
            }
            Output::StopStream(session) => {
                process.streams.remove(&session);
            }
            Output::Close(session) => self.cut(session),
            Output::Follow(target) => {
                if process.follow != target {
                    process.follow = target;
                    if let Some(session) = process.outgoing {
                        self.cut(session);
                    }
                }
            }
            Output::Commit(index) => self.committed(at, index),
            Output::Discard => panic!("nothing was rolled back in this world"),
            Output::SendSnapshot { .. } => panic!("no log is released in this world"),
            Output::ReadReady(..) | Output::ReadRefused(_) | Output::Role(_) => {}
        }
    }

    fn send(&mut self, at: usize, session: SessionId, message: Message) {
        if let Message::HeartbeatReply { epoch, .. } = &message {
            self.places[at].grants.push((self.now, *epoch));
        }
        if let Some(link) = self.links.get_mut(&session) {
            let queue = if link.follower == at {
                &mut link.up
            } else {
                &mut link.down
            };
            queue.push_back(message);
        }
    }

    /// Sends what the stream may carry, an entry a message.
    fn pump(&mut self, at: usize, session: SessionId) {
        loop {
            let Some(process) = &mut self.places[at].process else {
                return;
            };
            let Some(stream) = process.streams.get_mut(&session) else {
                return;
            };
            let next = process
                .log
                .iter()
                .find(|entry| entry.position.index == stream.previous.index.next())
                .filter(|entry| entry.position.index <= stream.upto)
                .cloned();
            let message = Message::Append {
                epoch: stream.epoch,
                previous: stream.previous,
                entries: next.iter().cloned().collect(),
                commit: stream.commit,
            };
            let more = next.is_some();
            if let Some(entry) = next {
                stream.previous = entry.position;
            }
            self.send(at, session, message);
            if !more {
                return;
            }
        }
    }

    /// V5: whoever leads serves nothing before a lease that it granted itself in this run is over. Nobody
    /// proves anything in this world.
    fn committed(&mut self, at: usize, index: Index) {
        let place = &mut self.places[at];
        let Some(process) = &place.process else {
            return;
        };
        place.disk.applied = place
            .disk
            .applied
            .max(index.min(end(&place.disk.log).index));
        if process.replica.role_kind() != RoleKind::Primary {
            return;
        }
        let (lease, epoch) = (Timing::default().lease, process.replica.epoch());
        let early =
            |(granted, of): &&(Micros, Epoch)| *of < epoch && self.now < granted.plus(lease);
        if let Some((granted, of)) = place.grants.iter().find(early) {
            self.served_early = Some(format!(
                "{} serves in epoch {epoch} {} ms after it granted a lease in epoch {of}",
                place.node,
                self.now.since(*granted).as_millis()
            ));
        }
    }
}
