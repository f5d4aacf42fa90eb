//! When leases run out. Only the primary knows, and only in memory: renewals are not logged. After a
//! change of primary every lease gets its full time again, and some more, so that none is ever
//! shorter than promised.
//!
//! Time is handed in. Never deletes anything: an expiry is a command in the log.

use std::collections::{BTreeSet, HashMap};

use parking_lot::Mutex;
use standby_core::{Epoch, Micros};
use tokio::sync::Notify;

use crate::limits::{LEASE_EXPIRIES_PER_S, LEASE_EXPIRY_RETRY_MS, LEASE_PROMOTION_GRACE_MS};
use crate::state::{Changed, Grant, LeaseChanges, ReadView};

/// What a renewal came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease has its full time again, in seconds.
    Renewed(i64),
    /// There is no such lease.
    Unknown,
    /// The lease ran out, but is not yet gone: its fate is to be waited for.
    RanOut,
    /// This node is not the primary (any more).
    NotPrimary,
}

/// A lease that ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// The lease.
    pub id: i64,
    /// Index of the entry that granted it.
    pub granted_index: u64,
    /// The epoch in which it ran out. A later one gives every lease its full time again.
    pub epoch: Epoch,
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    grant: Grant,
    deadline: Micros,
    /// An expiry is on its way; tried again after this.
    retry: Option<Micros>,
}

impl Timer {
    /// When to look at it.
    fn due(&self) -> Micros {
        self.retry.unwrap_or(self.deadline)
    }
}

/// The times of one term as primary.
#[derive(Debug, Default)]
struct Term {
    epoch: Epoch,
    timers: HashMap<i64, Timer>,
    /// When to look at what: every timer once.
    queue: BTreeSet<(Micros, i64)>,
    seen_changes: Option<u64>,
}

/// The leases' times, shared by the services and the task that lets leases run out.
#[derive(Debug, Default)]
pub struct Lessor {
    /// `None` while this node is not the primary.
    term: Mutex<Option<Term>>,
    /// Told whenever a lease that ran out may be gone.
    pub(crate) gone: Notify,
}

fn span_of(ttl_s: i64) -> Micros {
    let millis = u64::try_from(ttl_s).unwrap_or(0).saturating_mul(1_000);
    Micros(millis.saturating_mul(1_000))
}

impl Term {
    fn set(&mut self, id: i64, timer: Timer) {
        self.queue.insert((timer.due(), id));
        if let Some(old) = self.timers.insert(id, timer)
            && old.due() != timer.due()
        {
            self.queue.remove(&(old.due(), id));
        }
    }

    fn remove(&mut self, id: i64) {
        if let Some(old) = self.timers.remove(&id) {
            self.queue.remove(&(old.due(), id));
        }
    }

    /// Takes in what was granted and revoked since the last time.
    fn sync(&mut self, view: &ReadView, now: Micros) {
        let LeaseChanges { seen, changed } = view.lease_changes(self.seen_changes);
        self.seen_changes = Some(seen);
        match changed {
            Changed::These(changed) => {
                for (id, grant) in changed {
                    self.know(id, grant, now);
                }
            }
            Changed::All(leases) => {
                let known = self.timers.keys().copied();
                let gone: Vec<i64> = known.filter(|id| !leases.contains_key(id)).collect();
                for id in gone {
                    self.remove(id);
                }
                for (id, grant) in leases {
                    self.know(id, Some(grant), now);
                }
            }
        }
    }

    /// Takes in what a lease is now. One that is known keeps its time.
    fn know(&mut self, id: i64, grant: Option<Grant>, now: Micros) {
        let known = self.timers.get(&id).map(|timer| timer.grant);
        match grant {
            Some(grant) if known != Some(grant) => {
                let deadline = now.plus(span_of(grant.ttl_s));
                let retry = None;
                self.set(
                    id,
                    Timer {
                        grant,
                        deadline,
                        retry,
                    },
                );
            }
            Some(_) => {}
            None => self.remove(id),
        }
    }

    /// Moves deadlines apart, so that after a change of primary they do not come all at once. A
    /// quarter of what may run out in a second is left for others.
    fn spread(&mut self) {
        let at_once = LEASE_EXPIRIES_PER_S * 3 / 4;
        let mut order: Vec<(Micros, i64)> = self
            .timers
            .iter()
            .map(|(id, timer)| (timer.deadline, *id))
            .collect();
        order.sort_unstable();
        for at in at_once..order.len() {
            let earliest = order[at - at_once].0.plus(Micros::from_millis(1_000));
            let (deadline, id) = &mut order[at];
            if *deadline < earliest {
                *deadline = earliest;
                let timer = Timer {
                    deadline: earliest,
                    ..self.timers[id]
                };
                self.set(*id, timer);
            }
        }
    }
}

impl Lessor {
    /// This node is the primary of `epoch` and may serve. A new term begins if it was not before.
    pub fn promote(&self, epoch: Epoch, view: &ReadView, now: Micros) {
        let mut term = self.term.lock();
        if term.as_ref().is_some_and(|term| term.epoch == epoch) {
            return;
        }
        let mut new = Term {
            epoch,
            ..Term::default()
        };
        new.sync(
            view,
            now.plus(Micros::from_millis(LEASE_PROMOTION_GRACE_MS)),
        );
        new.spread();
        *term = Some(new);
    }

    /// This node is not the primary, or may not serve. Those who wait for an expiry look again.
    pub fn demote(&self) {
        *self.term.lock() = None;
        self.gone.notify_waiters();
    }

    /// Gives the lease `id` its full time again. Called under proof of primacy (V5).
    pub fn renew(&self, id: i64, view: &ReadView, now: Micros) -> Renewal {
        let mut term = self.term.lock();
        let Some(term) = term.as_mut() else {
            return Renewal::NotPrimary;
        };
        term.sync(view, now);
        match term.timers.get(&id).copied() {
            None => Renewal::Unknown,
            Some(timer) if timer.deadline <= now => Renewal::RanOut,
            Some(timer) => {
                let deadline = now.plus(span_of(timer.grant.ttl_s));
                term.set(
                    id,
                    Timer {
                        deadline,
                        retry: None,
                        ..timer
                    },
                );
                Renewal::Renewed(timer.grant.ttl_s)
            }
        }
    }

    /// How long the lease `id` still has; zero when it ran out. `None` when there is no such lease or
    /// this node is not the primary.
    pub fn remaining(&self, id: i64, view: &ReadView, now: Micros) -> Option<Micros> {
        let mut term = self.term.lock();
        let term = term.as_mut()?;
        term.sync(view, now);
        term.timers.get(&id).map(|timer| timer.deadline.since(now))
    }

    /// Every lease, the one that runs out first in front. `None` when this node is not the primary.
    pub fn by_deadline(&self, view: &ReadView, now: Micros) -> Option<Vec<i64>> {
        let mut term = self.term.lock();
        let term = term.as_mut()?;
        term.sync(view, now);
        let order: BTreeSet<_> = term
            .timers
            .iter()
            .map(|(id, timer)| (timer.deadline, *id))
            .collect();
        Some(order.into_iter().map(|(_, id)| id).collect())
    }

    /// Up to `max` leases that ran out and whose expiry is not on its way.
    pub fn take_expired(&self, view: &ReadView, now: Micros, max: usize) -> Vec<Expired> {
        let mut term = self.term.lock();
        let Some(term) = term.as_mut() else {
            return Vec::new();
        };
        term.sync(view, now);
        let mut expired = Vec::new();
        while expired.len() < max {
            let Some(&(due, id)) = term.queue.first().filter(|(due, _)| *due <= now) else {
                break;
            };
            let timer = term.timers[&id];
            debug_assert_eq!(timer.due(), due, "the queue has every timer once");
            let retry = Some(now.plus(Micros::from_millis(LEASE_EXPIRY_RETRY_MS)));
            term.set(id, Timer { retry, ..timer });
            expired.push(Expired {
                id,
                granted_index: timer.grant.index,
                epoch: term.epoch,
            });
        }
        expired
    }
}

#[cfg(test)]
#[path = "lessor_tests.rs"]
mod tests;
