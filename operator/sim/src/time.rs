//! Time of the simulated world, and the clocks of its hosts.

use standby_core::Micros;

/// Microseconds since the world began.
pub type Time = u64;

/// A millisecond.
pub const MS: Time = 1_000;
/// A second.
pub const SECOND: Time = 1_000 * MS;

/// A span or a point in time in seconds, for people.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "for people")]
pub fn seconds(time: Time) -> f64 {
    time as f64 / 1e6
}

/// A host's monotonic clock: it runs a little too fast or too slow, and began elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// How much faster than the world it runs, in parts per million.
    pub ppm: i64,
    /// What it showed when the world began.
    pub base: u64,
}

impl Clock {
    /// What it shows.
    #[must_use]
    pub fn at(self, now: Time) -> Micros {
        let gained = i128::from(now) * i128::from(self.ppm) / 1_000_000;
        let gained = i64::try_from(gained).expect("a run lasts hours");
        Micros((now + self.base).saturating_add_signed(gained))
    }

    /// How long from `now` until it shows `until`, at least one microsecond.
    #[must_use]
    pub fn wait(self, now: Time, until: Micros) -> Time {
        let left = i128::from(until.since(self.at(now)).0);
        let real = left * 1_000_000 / (1_000_000 + i128::from(self.ppm));
        Time::try_from(real)
            .unwrap_or(Time::MAX / 4)
            .min(Time::MAX / 4)
            + 1
    }
}
