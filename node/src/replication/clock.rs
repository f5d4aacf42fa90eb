//! The monotonic clock of this process, the only source of time for the core.

use std::time::Duration;

use standby_core::Micros;
use tokio::time::Instant;

/// Counts microseconds from a little before the process's start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

/// Added to every reading, so that spans reaching back before the start stay positive.
const HEAD_START: Micros = Micros::from_millis(3_600_000);

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Micros {
        let micros = u64::try_from(self.origin.elapsed().as_micros());
        Micros(micros.unwrap_or(u64::MAX)).plus(HEAD_START)
    }

    /// How long from now until `at`; zero if it is past.
    #[must_use]
    pub fn until(&self, at: Micros) -> Duration {
        Duration::from_micros(at.since(self.now()).0)
    }
}
