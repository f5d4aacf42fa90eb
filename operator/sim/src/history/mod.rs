//! What really happened: the one history of committed entries, and a model of etcd that follows it.
//!
//! **Why checking by revision and real time is enough.** Every answer that a client gets names the
//! revision it stands for: a write the one it made, a read (and a transaction that wrote nothing) the
//! one it saw. Order all answered operations by that revision, writes before the reads of the same
//! revision. If (1) each answer is what the model says at that revision, replaying the committed log,
//! and (2) no operation stands before one that had been answered before it was asked, then that order
//! is a linearization: it is a total order, it respects real time, and the sequential specification
//! allows every answer in it. Because the order is given by the answers themselves, (2) needs no search:
//! an operation must stand at or after the highest revision answered before it was asked (a write
//! strictly after), which is one number, kept as `floor`. The check is complete too: etcd's answers
//! claim their revisions, and a client may rely on them, so another order would be no excuse.
//! A write whose outcome its client never learnt is held to the same rule when it shows up in the log.

mod model;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use standby_core::{Entry, Epoch, Index, NodeId, Position};
use standby_etcd::pb::etcdserverpb::{RangeResponse, ResponseHeader};
use standby_etcd::state::Outcome;

use crate::time::{SECOND, Time};
pub use model::{Change, Model};

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing wrong.
    Fine,
    /// Older than what somebody was told before.
    Stale(String),
    /// Wrong whatever the order.
    Wrong(String),
}

/// Everything known about the data.
#[derive(Debug, Default)]
pub struct History {
    /// Committed entries; the first has index 1.
    entries: Vec<(Epoch, Bytes)>,
    /// The revision after each entry.
    revisions: Vec<i64>,
    /// The model.
    pub model: Model,
    /// The highest revision anybody was answered with.
    pub floor: i64,
    /// What had been answered when each write was asked that is not in the log yet.
    floors: BTreeMap<u64, i64>,
    /// The highest acknowledged entry.
    pub acknowledged: Option<Position>,
    /// Volumes that are gone for good.
    pub retired: BTreeSet<NodeId>,
}

fn revision_of(header: Option<&ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

/// The revision an outcome stands for, and whether it made it.
fn point(outcome: &Outcome) -> Option<(i64, bool)> {
    match outcome {
        Outcome::Put(Ok(put)) => Some((revision_of(put.header.as_ref()), true)),
        Outcome::DeleteRange(Ok(delete)) => {
            Some((revision_of(delete.header.as_ref()), delete.deleted > 0))
        }
        Outcome::Txn(Ok(txn)) => Some((revision_of(txn.header.as_ref()), txn.succeeded)),
        _ => None,
    }
}

impl History {
    /// A question is asked.
    pub fn invoked(&mut self, op: u64, floor: i64) {
        self.floors.insert(op, floor);
        if self.floors.len() > 4_096 {
            self.floors.pop_first();
        }
    }

    /// How many entries are committed.
    #[must_use]
    pub fn last(&self) -> Index {
        Index(self.entries.len() as u64)
    }

    /// The epoch of a committed entry.
    #[must_use]
    pub fn epoch_at(&self, index: Index) -> Option<Epoch> {
        let at = usize::try_from(index.0.checked_sub(1)?).ok()?;
        self.entries.get(at).map(|(epoch, _)| *epoch)
    }

    /// The revision after an entry.
    #[must_use]
    pub fn revision_at(&self, index: Index) -> Option<i64> {
        let at = usize::try_from(index.0.checked_sub(1)?).ok()?;
        self.revisions.get(at).copied()
    }

    /// Some node applied `entry`, with `outcome`. The first to do so makes history; all others must
    /// follow it.
    ///
    /// # Errors
    /// What differs.
    pub fn applied(&mut self, entry: &Entry, outcome: &Outcome, now: Time) -> Result<(), String> {
        let index = entry.position.index;
        let at = usize::try_from(index.0 - 1).expect("small");
        if let Some((epoch, payload)) = self.entries.get(at) {
            if *epoch != entry.position.epoch || *payload != entry.payload {
                return Err(format!(
                    "another entry at {}, committed in {epoch}",
                    entry.position
                ));
            }
            return Ok(());
        }
        if at != self.entries.len() {
            return Err(format!(
                "{} was applied before what stands before it",
                entry.position
            ));
        }
        let change = self.model.apply(entry, now)?;
        self.entries
            .push((entry.position.epoch, entry.payload.clone()));
        self.revisions.push(self.model.revision);
        if let Some((revision, made)) = point(outcome) {
            let right = revision == self.model.revision && made == change.made;
            if !right {
                return Err(format!(
                    "at {} the model stands at {} ({change:?}), the node says {outcome:?}",
                    entry.position, self.model.revision
                ));
            }
        }
        if let Some(op) = change.op
            && let Some(floor) = self.floors.remove(&op)
            && self.model.revision <= floor
        {
            return Err(format!(
                "write {op} got revision {}, {floor} had been answered before it was asked",
                self.model.revision
            ));
        }
        Ok(())
    }

    /// A write was answered.
    pub fn written(&mut self, op: u64, floor: i64, outcome: &Outcome) -> Told {
        let Some((revision, made)) = point(outcome) else {
            return Told::Fine;
        };
        let behind = if made {
            revision <= floor
        } else {
            revision < floor
        };
        self.floor = self.floor.max(revision);
        if behind {
            return Told::Stale(format!(
                "write {op} stands at {revision}, {floor} was answered before"
            ));
        }
        Told::Fine
    }

    /// A read was answered.
    pub fn read(
        &mut self,
        key: &Bytes,
        end: &Bytes,
        floor: i64,
        serializable: bool,
        response: &RangeResponse,
    ) -> Told {
        let revision = revision_of(response.header.as_ref());
        let wrong = self.model.differs(key, end, revision, response);
        if let Some(wrong) = wrong {
            return Told::Wrong(wrong);
        }
        if !serializable {
            self.floor = self.floor.max(revision);
        }
        if revision < floor {
            return Told::Stale(format!("read at {revision}, {floor} was answered before"));
        }
        Told::Fine
    }

    /// A client was told that its lease lives for so long from when it asked.
    pub fn renewed(&mut self, id: i64, asked: Time, ttl: i64) {
        let span = Time::try_from(ttl).unwrap_or(0) * SECOND;
        let span = span - span / 1_000_000 * self.model.drift_ppm - span / 1_000;
        self.model.lease_holds(id, asked + span);
    }
}
