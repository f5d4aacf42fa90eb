//! A node's volume: the log, the adopted view, the engine of the state, and what a crash takes away.
//!
//! Jobs complete in the order they were given, in groups, as the log's thread syncs them. A crash keeps
//! a prefix of the group under way, also a part of an append (a torn write).

use std::collections::VecDeque;
use std::sync::Arc;

use standby_core::{Entry, Epoch, Index, LogOutline, NodeId, Position, View};

use standby_store::engine::Content;

use crate::rng::Rng;

/// Entries in order, behind a base.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The position before the first entry.
    pub base: Position,
    /// The entries.
    pub entries: VecDeque<Entry>,
}

impl Log {
    /// The last position.
    #[must_use]
    pub fn last(&self) -> Position {
        self.entries
            .back()
            .map_or(self.base, |entry| entry.position)
    }

    /// The entry at `index`.
    #[must_use]
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        let at = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    /// The epoch that wrote `index`, if that is still known.
    #[must_use]
    pub fn epoch_at(&self, index: Index) -> Option<Epoch> {
        if index == self.base.index {
            return Some(self.base.epoch);
        }
        self.entry(index).map(|entry| entry.position.epoch)
    }

    /// Cuts everything after `index`.
    pub fn truncate_after(&mut self, index: Index) {
        while self
            .entries
            .back()
            .is_some_and(|entry| entry.position.index > index)
        {
            self.entries.pop_back();
        }
    }

    /// Gives up everything up to and including `index`, if the log holds it.
    pub fn release_through(&mut self, index: Index) {
        let Some(epoch) = self.epoch_at(index) else {
            return;
        };
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.position.index <= index)
        {
            self.entries.pop_front();
        }
        self.base = Position::new(epoch, index);
    }

    /// What the core wants to know of it.
    #[must_use]
    pub fn outline(&self) -> LogOutline {
        let mut epochs: Vec<(Epoch, Index)> = Vec::new();
        for entry in &self.entries {
            let epoch = entry.position.epoch;
            if epochs.last().is_none_or(|(last, _)| *last != epoch) {
                epochs.push((epoch, entry.position.index));
            }
        }
        LogOutline {
            base: self.base,
            epochs,
            last: self.last(),
        }
    }
}

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub struct Durable {
    /// The adopted view.
    pub view: Option<View>,
    /// Where peers are, as told with the view.
    pub peers: Vec<(String, u32)>,
    /// The log.
    pub log: Log,
    /// The engine's content as of the last checkpoint.
    pub engine: Arc<Content>,
    /// How far that state is applied.
    pub applied: Position,
}

/// A job for the log's thread.
#[derive(Clone, Debug)]
pub enum DiskJob {
    /// Store a view.
    StoreView(View),
    /// Append entries.
    Append(Vec<Entry>),
    /// Cut the log.
    Truncate(Index),
    /// A snapshot takes the place of log and state.
    Install {
        /// What the snapshot stands for.
        position: Position,
        /// The state.
        engine: Arc<Content>,
    },
    /// The state as of `position` is durable; log below `release` is given up.
    Checkpoint {
        /// How far it is applied.
        position: Position,
        /// The state.
        engine: Arc<Content>,
        /// How much of the log may go.
        release: Option<Index>,
    },
}

impl Durable {
    /// Carries out a job.
    pub fn perform(&mut self, job: DiskJob) {
        match job {
            DiskJob::StoreView(view) => self.view = Some(view),
            DiskJob::Append(entries) => self.log.entries.extend(entries),
            DiskJob::Truncate(index) => self.log.truncate_after(index),
            DiskJob::Install { position, engine } => {
                self.log = Log {
                    base: position,
                    entries: VecDeque::new(),
                };
                self.engine = engine;
                self.applied = position;
            }
            DiskJob::Checkpoint {
                position,
                engine,
                release,
            } => {
                self.engine = engine;
                self.applied = position;
                if let Some(index) = release {
                    self.log.release_through(index.min(position.index));
                }
            }
        }
    }
}

/// How well a volume works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// As it should.
    Good,
    /// Every sync takes so many microseconds more, at most.
    Slow(u64),
    /// No job completes until the volume recovers.
    Hung,
}

/// One volume.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent faults")]
pub struct Volume {
    /// The node it makes: pod name and random id.
    pub node: NodeId,
    /// What survives a crash.
    pub durable: Durable,
    /// Jobs that wait.
    pub waiting: VecDeque<DiskJob>,
    /// Jobs that are being synced together.
    pub under_way: Vec<DiskJob>,
    /// How well it works.
    pub health: Health,
    /// No room for more entries.
    pub full: bool,
    /// The next sync fails.
    pub fails: bool,
    /// The process ends in the middle of the next write, and the host with it.
    pub tears: bool,
    /// It was rolled back or damaged, and nobody has noticed yet.
    pub spoiled: bool,
    /// What recovery will find damaged.
    pub damage: Option<String>,
    /// Destroyed; never comes back.
    pub gone: bool,
    /// The only host it can be used on.
    pub host: Option<usize>,
    /// An earlier state, as a backup keeps it.
    pub backup: Option<Box<Durable>>,
}

impl Volume {
    /// An empty volume.
    #[must_use]
    pub fn new(node: NodeId, host: Option<usize>) -> Self {
        Self {
            node,
            durable: Durable::default(),
            waiting: VecDeque::new(),
            under_way: Vec::new(),
            health: Health::Good,
            full: false,
            fails: false,
            tears: false,
            spoiled: false,
            damage: None,
            gone: false,
            host,
            backup: None,
        }
    }

    /// Loses what was under way, but for a random prefix. Whether a write was
    /// torn: recovery finds its end by the checksums, and cuts the rest.
    pub fn crash(&mut self, rng: &mut Rng) -> bool {
        self.waiting.clear();
        let jobs = std::mem::take(&mut self.under_way);
        let keep = rng.index(jobs.len() + 1);
        for (at, job) in jobs.into_iter().enumerate() {
            if at < keep {
                self.durable.perform(job);
                continue;
            }
            if let DiskJob::Append(mut entries) = job {
                let whole = entries.len();
                entries.truncate(rng.index(whole + 1));
                let torn = entries.len() < whole;
                self.durable.perform(DiskJob::Append(entries));
                return torn;
            }
            return false;
        }
        false
    }

    /// Whether what it holds can be relied on.
    #[must_use]
    pub fn sound(&self) -> bool {
        !self.gone && !self.spoiled
    }
}
