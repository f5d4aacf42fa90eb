//! The operator's monotonic clock, in the unit the core counts in.

use std::time::Instant;

use jiff::Timestamp;
use standby_core::Micros;
use standby_operator_core::status::Moment;

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
        Micros(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
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
