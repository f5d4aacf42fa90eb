//! How the driver waits for what it knows to come soon.
//!
//! With one or two commands under way the disk or the peer answers within some hundred microseconds,
//! and a client that writes one thing after the other sends its next command as soon after the answer.
//! Half of the time of such a write would be spent on waking a thread on a processor that went idle
//! meanwhile. Then, and only where what is waited for usually comes that fast, it is cheaper to look
//! than to sleep. Never looks while many wait: then processors have better things to do.

use standby_core::Micros;

/// What is known about how long one kind of thing takes to come.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For how long to look at most.
    limit: Micros,
    /// The moving average of how long the last ones took.
    usual: Micros,
    /// Since when it has been waited for.
    since: Option<Micros>,
}

impl Patience {
    /// Looks for at most `limit_us` microseconds.
    pub const fn new(limit_us: u64) -> Self {
        Self {
            limit: Micros(limit_us),
            usual: Micros(0),
            since: None,
        }
    }

    /// Whether it is waited for now.
    pub fn note(&mut self, waits: bool, now: Micros) {
        match (self.since, waits) {
            (None, true) => self.since = Some(now),
            (Some(since), false) => {
                // What took long counts as much as twice the limit: a single slow sync is soon
                // forgotten.
                let took = now.since(since).0.min(2 * self.limit.0);
                self.usual = Micros((self.usual.0 * 7 + took) / 8);
                self.since = None;
            }
            (Some(_), true) | (None, false) => {}
        }
    }

    /// Until when to look instead of sleeping, if at all.
    pub fn look_until(&self) -> Option<Micros> {
        let since = self.since?;
        (self.usual <= self.limit).then(|| since.plus(self.limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(waits_us: &[u64]) -> Patience {
        let mut patience = Patience::new(500);
        let mut now = Micros(0);
        for wait in waits_us {
            patience.note(true, now);
            now = now.plus(Micros(*wait));
            patience.note(false, now);
        }
        patience.note(true, now);
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
    fn nothing_is_looked_for_that_nobody_waits_for() {
        let mut patience = after(&[200; 20]);
        patience.note(false, Micros(1_000_000));
        assert_eq!(patience.look_until(), None);
    }

    #[test]
    fn what_became_fast_is_looked_for_again() {
        let mut waits = vec![5_000; 20];
        waits.extend([200; 20]);
        assert!(after(&waits).look_until().is_some());
    }
}
