//! How the driver waits for what it knows to come soon.
//!
//! With one or two commands under way the disk or the peer answers within some hundred microseconds,
//! and half of the time of a write would be spent on waking a thread on a processor that went idle
//! meanwhile. Then, and only where answers are usually that fast, it is cheaper to look than to sleep.
//! Never looks while many wait: then processors have better things to do.

use standby_core::{Index, Micros};

use crate::limits::{LOOK_FOR_MAX_US, LOOK_WHILE_WAITING_MAX};

/// What is known about how long answers take.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    /// The moving average of how long the last ones took.
    usual: Micros,
    /// Since when a few have been under way.
    since: Option<Micros>,
}

impl Patience {
    /// Entries up to `last` were handed out, and those up to `done` are dealt with.
    pub fn note(&mut self, last: Index, done: Index, now: Micros) {
        let waiting = last.0.saturating_sub(done.0);
        let few = waiting > 0 && waiting <= LOOK_WHILE_WAITING_MAX;
        match (self.since, few) {
            (None, true) => self.since = Some(now),
            (Some(since), false) => {
                // An answer that took long counts as much as one at the limit twice over: a single
                // slow sync is soon forgotten.
                let took = now.since(since).0.min(2 * LOOK_FOR_MAX_US);
                self.usual = Micros((self.usual.0 * 7 + took) / 8);
                self.since = None;
            }
            (Some(_), true) | (None, false) => {}
        }
    }

    /// Until when to look instead of sleeping, if at all.
    pub fn look_until(&self) -> Option<Micros> {
        let since = self.since?;
        (self.usual.0 <= LOOK_FOR_MAX_US).then(|| since.plus(Micros(LOOK_FOR_MAX_US)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(waits_us: &[u64]) -> Patience {
        let mut patience = Patience::default();
        let mut now = Micros(0);
        for wait in waits_us {
            patience.note(Index(1), Index(0), now);
            now = now.plus(Micros(*wait));
            patience.note(Index(1), Index(1), now);
        }
        patience.note(Index(1), Index(0), now);
        patience
    }

    #[test]
    fn fast_answers_are_looked_for() {
        assert!(after(&[200; 20]).look_until().is_some());
    }

    #[test]
    fn slow_answers_are_slept_for() {
        assert_eq!(after(&[5_000; 20]).look_until(), None);
    }

    #[test]
    fn one_slow_answer_changes_nothing() {
        let mut waits = vec![200; 20];
        waits.push(50_000);
        assert!(after(&waits).look_until().is_some());
    }

    #[test]
    fn many_that_wait_are_slept_for() {
        let mut patience = Patience::default();
        patience.note(Index(100), Index(0), Micros(0));
        assert_eq!(patience.look_until(), None);
    }

    #[test]
    fn a_disk_that_became_fast_is_looked_for_again() {
        let mut waits = vec![5_000; 20];
        waits.extend([200; 20]);
        assert!(after(&waits).look_until().is_some());
    }
}
