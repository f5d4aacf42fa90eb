//! A node's shell in the simulation: carries out the core's commands with a simulated disk and
//! network. It decides nothing.

use std::collections::BTreeMap;

use standby_core::replica::{Doubt, Mutant, ReadTicket, Replica, SessionId, Start, Timing};
use standby_core::{ClusterId, Entry, Epoch, Index, Message, NodeId, Position};

use crate::disk::{Disk, Durable, command_of};

/// What goes over a connection.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // Nearly every packet is of the large kind.
pub enum Packet {
    Core(Message),
    Snapshot { position: Position, state: Vec<u64> },
}

/// A follower's stream.
#[derive(Debug)]
pub struct Stream {
    pub epoch: Epoch,
    pub previous: Position,
    pub upto: Index,
    pub commit: Index,
}

/// A process, while it runs.
#[derive(Debug)]
pub struct Process {
    pub replica: Replica,
    /// The log as written, durable or not.
    pub base: Position,
    pub log: Vec<Entry>,
    pub applied: Position,
    pub state: Vec<u64>,
    pub commit: Index,
    pub streams: BTreeMap<SessionId, Stream>,
    pub snapshots_owed: BTreeMap<SessionId, Index>,
    pub follow: Option<NodeId>,
    pub outgoing: Option<SessionId>,
    /// Which proposals of clients wait for which index.
    pub proposals: BTreeMap<Index, u64>,
    /// Reads with proof that wait for the state to reach an index.
    pub reads: BTreeMap<ReadTicket, Index>,
}

/// A place where a process may run.
#[derive(Debug)]
pub struct SimNode {
    pub disk: Disk,
    pub process: Option<Process>,
    /// Increased at each start, so that events meant for an earlier run are dropped.
    pub run: u64,
    /// The process exists but does nothing (SIGSTOP) until this time.
    pub paused_until: u64,
    /// How much faster than the world's its clock runs, in parts per million.
    pub clock_ppm: i64,
    /// An earlier state of the volume, as a backup keeps it.
    pub backup: Option<Durable>,
    /// The rule this place breaks on purpose.
    pub mutant: Option<Mutant>,
}

impl SimNode {
    pub fn new(node: NodeId) -> Self {
        Self {
            disk: Disk::new(node),
            process: None,
            run: 0,
            paused_until: 0,
            clock_ppm: 0,
            backup: None,
            mutant: None,
        }
    }

    pub fn start(&mut self, now: standby_core::Micros, timing: Timing) {
        let durable = &self.disk.durable;
        let mut replica = Replica::new(
            Start {
                cluster_id: ClusterId("sim".into()),
                node: self.disk.node.clone(),
                view: durable.view.clone(),
                log: durable.outline(),
                applied: durable.applied.index,
                doubt: self
                    .disk
                    .damage
                    .clone()
                    .map(|what| Doubt::DamagedLog { what }),
                timing,
            },
            now,
        );
        if let Some(mutant) = self.mutant {
            replica.mutate(mutant);
        }
        self.run += 1;
        self.process = Some(Process {
            replica,
            base: durable.base,
            log: durable.entries.clone(),
            applied: durable.applied,
            state: durable.state.clone(),
            commit: durable.applied.index,
            streams: BTreeMap::new(),
            snapshots_owed: BTreeMap::new(),
            follow: None,
            outgoing: None,
            proposals: BTreeMap::new(),
            reads: BTreeMap::new(),
        });
    }
}

impl Process {
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        let at = index.0.checked_sub(self.base.index.0 + 1)?;
        self.log.get(usize::try_from(at).ok()?)
    }

    /// Applies up to the commit index; returns the commands that clients wait for here.
    pub fn apply(&mut self) -> Vec<u64> {
        let mut done = Vec::new();
        while self.applied.index < self.commit {
            let Some(entry) = self.entry(self.applied.index.next()).cloned() else {
                break;
            };
            if let Some(command) = command_of(&entry) {
                self.state.push(command);
                if self.proposals.remove(&entry.position.index) == Some(command) {
                    done.push(command);
                }
            }
            self.applied = entry.position;
        }
        done
    }

    /// The next batch a stream may send.
    pub fn next_batch(&mut self, session: SessionId) -> Option<Message> {
        let stream = self.streams.get(&session)?;
        let mut entries = Vec::new();
        let mut index = stream.previous.index.next();
        while index <= stream.upto && entries.len() < 8 {
            let at = usize::try_from(index.0.checked_sub(self.base.index.0 + 1)?).ok()?;
            entries.push(self.log.get(at)?.clone());
            index = index.next();
        }
        let stream = self.streams.get_mut(&session)?;
        let message = Message::Append {
            epoch: stream.epoch,
            previous: stream.previous,
            commit: stream.commit,
            entries: entries.clone(),
        };
        stream.previous = entries
            .last()
            .map_or(stream.previous, |entry| entry.position);
        Some(message)
    }
}
