//! A node's volume: a log, a view, a state, and operations under way that a crash may lose.
//!
//! Operations complete in the order they were given. A crash keeps a random prefix of those under
//! way, also a part of an append (a torn write).

use std::collections::VecDeque;

use rand::Rng;
use rand::rngs::StdRng;
use standby_core::{Entry, EntryKind, Index, LogOutline, NodeId, Position, View};

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub struct Durable {
    pub view: Option<View>,
    /// The position before the first entry of `entries`.
    pub base: Position,
    pub entries: Vec<Entry>,
    /// Applied commands up to `applied`, in order.
    pub state: Vec<u64>,
    pub applied: Position,
}

/// An operation that has been asked for and is not durable yet.
#[derive(Clone, Debug)]
pub enum DiskOp {
    StoreView(View),
    Append(Vec<Entry>),
    Truncate(Index),
    Install {
        position: Position,
        state: Vec<u64>,
    },
    Checkpoint {
        position: Position,
        state: Vec<u64>,
        release: bool,
    },
}

/// The volume of one node.
#[derive(Debug)]
pub struct Disk {
    pub node: NodeId,
    pub durable: Durable,
    /// It was rolled back or damaged, and nobody has noticed yet.
    pub spoiled: bool,
    /// What recovery will find damaged.
    pub damage: Option<String>,
    pub under_way: VecDeque<DiskOp>,
}

impl Durable {
    pub fn last(&self) -> Position {
        self.entries
            .last()
            .map_or(self.base, |entry| entry.position)
    }

    pub fn outline(&self) -> LogOutline {
        let mut epochs: Vec<_> = Vec::new();
        for entry in &self.entries {
            if epochs
                .last()
                .is_none_or(|(epoch, _)| *epoch != entry.position.epoch)
            {
                epochs.push((entry.position.epoch, entry.position.index));
            }
        }
        LogOutline {
            base: self.base,
            epochs,
            last: self.last(),
        }
    }

    /// Whether the command stands in the log or in the state.
    pub fn holds(&self, command: u64) -> bool {
        self.state.contains(&command)
            || self
                .entries
                .iter()
                .any(|entry| command_of(entry) == Some(command))
    }

    pub fn perform(&mut self, op: DiskOp) {
        match op {
            DiskOp::StoreView(view) => self.view = Some(view),
            DiskOp::Append(entries) => self.entries.extend(entries),
            DiskOp::Truncate(index) => self.entries.retain(|entry| entry.position.index <= index),
            DiskOp::Install { position, state } => {
                self.base = position;
                self.entries.clear();
                self.state = state;
                self.applied = position;
            }
            DiskOp::Checkpoint {
                position,
                state,
                release,
            } => {
                self.state = state;
                self.applied = position;
                if release && position.index > self.base.index {
                    self.entries
                        .retain(|entry| entry.position.index > position.index);
                    self.base = position;
                }
            }
        }
    }
}

impl Disk {
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            durable: Durable::default(),
            spoiled: false,
            damage: None,
            under_way: VecDeque::new(),
        }
    }

    /// Loses what was under way, but for a random prefix.
    pub fn crash(&mut self, rng: &mut StdRng) {
        let keep = rng.random_range(0..=self.under_way.len());
        for (at, op) in std::mem::take(&mut self.under_way).into_iter().enumerate() {
            if at < keep {
                self.durable.perform(op);
            } else if let DiskOp::Append(mut entries) = op {
                entries.truncate(rng.random_range(0..=entries.len()));
                self.durable.perform(DiskOp::Append(entries));
                return;
            } else {
                return;
            }
        }
    }
}

/// The command an entry carries.
pub fn command_of(entry: &Entry) -> Option<u64> {
    match entry.kind {
        EntryKind::Open => None,
        EntryKind::Data => entry
            .payload
            .as_ref()
            .try_into()
            .ok()
            .map(u64::from_le_bytes),
    }
}
