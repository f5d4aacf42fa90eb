//! The clock of this process, the only source of time for the core. It never jumps, and it counts what a
//! host spends suspended: a read lease must be over when the host wakes up (V5), and the monotonic clock
//! stands still meanwhile (`clock_gettime(2)`).

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use standby_core::Micros;

/// Counts microseconds from a little before the process's start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Origin,
}

#[derive(Clone, Copy, Debug)]
enum Origin {
    /// Since the host's start.
    SinceBoot(Duration),
    #[cfg(test)]
    Simulated(tokio::time::Instant),
}

/// Added to every reading, so that spans reaching back before the start stay positive.
const HEAD_START: Micros = Micros::from_millis(3_600_000);

fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    // Neither is ever negative.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            origin: Origin::SinceBoot(since_boot()),
        }
    }

    /// A clock of simulated time.
    #[cfg(test)]
    pub(crate) fn simulated() -> Self {
        Self {
            origin: Origin::Simulated(tokio::time::Instant::now()),
        }
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Micros {
        let elapsed = match self.origin {
            Origin::SinceBoot(origin) => since_boot().saturating_sub(origin),
            #[cfg(test)]
            Origin::Simulated(origin) => origin.elapsed(),
        };
        let micros = u64::try_from(elapsed.as_micros());
        Micros(micros.unwrap_or(u64::MAX)).plus(HEAD_START)
    }

    /// How long from now until `at`; zero if it is past. What sleeps so long wakes up later on a host that
    /// is suspended meanwhile; whoever reads the clock then sees that it is late.
    #[must_use]
    pub fn until(&self, at: Micros) -> Duration {
        Duration::from_micros(at.since(self.now()).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_step_with_the_clock_that_counts_suspension() {
        let clock = Clock::start();
        let before = clock_gettime(ClockId::Boottime);
        let first = clock.now();
        std::thread::sleep(Duration::from_millis(20));
        let last = clock.now();
        let after = clock_gettime(ClockId::Boottime);
        let nanos = (after.tv_sec - before.tv_sec) * 1_000_000_000 + after.tv_nsec - before.tv_nsec;
        let spent = last.since(first).0;
        assert!(spent >= 20_000, "{spent} µs");
        assert!(spent <= u64::try_from(nanos / 1_000).expect("after") + 1);
    }
}
