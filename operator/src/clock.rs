//! The operator's monotonic clock, in the unit the core counts in.

use std::time::Duration;

use jiff::Timestamp;
use standby_core::Micros;
use standby_operator_core::status::Moment;
use tokio::time::Instant;

/// What the clock shows when the process starts: moments before it, of which the status tells, can be
/// counted too.
const BEFORE: Duration = Duration::from_hours(24);

/// A clock that starts with the process.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts the clock.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Now.
    #[must_use]
    pub fn now(self) -> Micros {
        let shows = BEFORE + self.0.elapsed();
        Micros(u64::try_from(shows.as_micros()).unwrap_or(u64::MAX))
    }

    /// Now, and what people call it.
    #[must_use]
    pub fn moment(self) -> Moment {
        Moment {
            now: self.now(),
            wall: Timestamp::now(),
        }
    }
}
