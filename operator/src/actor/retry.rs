//! The pause after failures, of a turn or of a lane beside it. Never tries anything itself.

use standby_core::Micros;

use crate::limits::RETRY_MIN_MS;

/// The pause after failures, doubled up to a maximum.
#[derive(Debug)]
pub(super) struct Retry {
    max_ms: u64,
    failures: u32,
    not_before: Micros,
}

impl Retry {
    pub(super) fn up_to(max_ms: u64) -> Self {
        Self {
            max_ms,
            failures: 0,
            not_before: Micros(0),
        }
    }

    pub(super) fn note(&mut self, done: bool, now: Micros) {
        if done {
            self.succeeded();
        } else {
            self.failed(now);
        }
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Returns the pause.
    pub(super) fn failed(&mut self, now: Micros) -> Micros {
        let doubled = RETRY_MIN_MS.saturating_mul(1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        let pause = Micros::from_millis(doubled.min(self.max_ms));
        self.not_before = now.plus(pause);
        pause
    }

    pub(super) fn may(&self, now: Micros) -> bool {
        self.failures == 0 || now >= self.not_before
    }

    /// Until the next try; none when nothing has failed.
    pub(super) fn wait(&self, now: Micros) -> Option<Micros> {
        (self.failures > 0).then(|| self.not_before.since(now).plus(Micros::from_millis(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Actor;
    use super::*;
    use crate::context::Key;
    use crate::limits::HOT_RETRY_MAX_MS;
    use crate::testkit::context;

    fn pauses(millis: &[u64]) -> Vec<Micros> {
        millis.iter().copied().map(Micros::from_millis).collect()
    }

    #[test]
    fn pauses_begin_at_the_minimum_and_double_up_to_the_maximum() {
        let mut retry = Retry::up_to(1_000);
        let now = Micros::from_millis(5);
        assert!(retry.may(now));
        let taken: Vec<_> = (0..4).map(|_| retry.failed(now)).collect();
        assert_eq!(taken, pauses(&[200, 400, 800, 1_000]));
        assert!(!retry.may(Micros::from_millis(1_004)) && retry.may(Micros::from_millis(1_005)));
        retry.succeeded();
        assert!(retry.may(now) && retry.wait(now).is_none());
        assert_eq!(retry.failed(now), Micros::from_millis(RETRY_MIN_MS));
    }

    #[tokio::test]
    async fn a_failed_turn_is_tried_again_after_the_shortest_pause() {
        let (context, _server) = context();
        let key = Key {
            namespace: "shop".into(),
            name: "db".into(),
        };
        let mut actor = Actor::new(context.into(), key);
        let taken: Vec<_> = (0..4).map(|_| actor.back_off()).collect();
        assert_eq!(taken, pauses(&[200, 400, 800, HOT_RETRY_MAX_MS]));
    }
}
