//! What a specification says about moves: where the primary should be, when it may be moved, and how
//! often it may be failed over on suspicion. Pure functions of a given time; nothing here reads a
//! clock.

use std::fmt;

use croner::Cron;
use croner::parser::{CronParser, Seconds};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};
use standby_core::Micros;

/// A time that comes again and again, in which planned moves may happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    opens: Cron,
    zone: TimeZone,
    lasts: SignedDuration,
    text: String,
}

/// Why a window cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// The schedule.
    #[error(
        "schedule must be five fields of cron (minute hour day month weekday), was {given:?}: {problem}"
    )]
    Schedule {
        /// What stands there.
        given: String,
        /// What the parser says.
        problem: String,
    },
    /// The time zone.
    #[error("timeZone must be a name of the IANA database, such as Europe/Berlin, was {given:?}")]
    TimeZone {
        /// What stands there.
        given: String,
    },
    /// The duration.
    #[error("durationMinutes must be between 1 and {max}, was {given}", max = WINDOW_MINUTES_MAX)]
    Duration {
        /// What stands there.
        given: i64,
    },
}

/// The longest window, in minutes: a week.
pub const WINDOW_MINUTES_MAX: i64 = 10_080;

impl Window {
    /// Reads a window. Time zones come from the database that is part of the program, so that the
    /// answer does not depend on where it runs.
    pub fn new(schedule: &str, time_zone: &str, minutes: i64) -> Result<Self, WindowError> {
        if !(1..=WINDOW_MINUTES_MAX).contains(&minutes) {
            return Err(WindowError::Duration { given: minutes });
        }
        let opens = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .build()
            .parse(schedule)
            .map_err(|error| WindowError::Schedule {
                given: schedule.to_owned(),
                problem: error.to_string(),
            })?;
        let zone =
            TimeZoneDatabase::bundled()
                .get(time_zone)
                .map_err(|_| WindowError::TimeZone {
                    given: time_zone.to_owned(),
                })?;
        Ok(Self {
            opens,
            zone,
            lasts: SignedDuration::from_mins(minutes),
            text: format!("{schedule} {time_zone}, {minutes} min"),
        })
    }

    /// When the window that is open at `wall` closes; none while it is closed.
    #[must_use]
    pub fn open_until(&self, wall: Timestamp) -> Option<Timestamp> {
        let here = wall.to_zoned(self.zone.clone());
        let opened = self.opens.find_previous_occurrence(&here, true).ok()?;
        let closes = opened.timestamp().checked_add(self.lasts).ok()?;
        (wall < closes).then_some(closes)
    }

    /// When it opens next after `wall`; none if it never does.
    #[must_use]
    pub fn opens_next(&self, wall: Timestamp) -> Option<Timestamp> {
        let here = wall.to_zoned(self.zone.clone());
        let next = self.opens.find_next_occurrence(&here, false).ok()?;
        Some(next.timestamp())
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether planned moves may happen at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayMove {
    /// They may.
    Yes,
    /// They wait for the next window; none: there is none any more.
    NotBefore(Option<Timestamp>),
}

/// How many failovers may follow each other on suspicion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// So many.
    pub count: usize,
    /// Within so long.
    pub within: Micros,
}

impl Default for Limit {
    fn default() -> Self {
        Self {
            count: 5,
            within: Micros::from_millis(600_000),
        }
    }
}

/// What a specification says about moves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Zones for the primary, the best first.
    pub zones: Vec<String>,
    /// Pods for the primary, the best first; they count before zones.
    pub nodes: Vec<String>,
    /// Failovers on suspicion.
    pub limit: Limit,
    /// When planned moves may happen; none given: at any time.
    pub windows: Vec<Window>,
}

impl Policy {
    /// Whether planned moves may happen at `wall`.
    #[must_use]
    pub fn may_move(&self, wall: Timestamp) -> MayMove {
        if self.windows.is_empty() || self.windows.iter().any(|w| w.open_until(wall).is_some()) {
            return MayMove::Yes;
        }
        let next = self.windows.iter().filter_map(|w| w.opens_next(wall)).min();
        MayMove::NotBefore(next)
    }

    /// How good a place is for the primary: the less, the better. Equal everywhere without a
    /// preference.
    #[must_use]
    pub fn rank(&self, pod: &str, zone: Option<&str>) -> (usize, usize) {
        let at = |list: &[String], given: Option<&str>| {
            let named = given.and_then(|given| list.iter().position(|name| name == given));
            named.unwrap_or(list.len())
        };
        (at(&self.nodes, Some(pod)), at(&self.zones, zone))
    }

    /// Whether any place is better than another.
    #[must_use]
    pub fn prefers(&self) -> bool {
        !self.zones.is_empty() || !self.nodes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn saturday_night() -> Policy {
        Policy {
            windows: vec![Window::new("0 3 * * 6", "Europe/Berlin", 120).expect("a window")],
            ..Policy::default()
        }
    }

    #[test]
    fn without_windows_moves_may_happen_at_any_time() {
        assert_eq!(
            Policy::default().may_move(at("2026-01-01T00:00:00Z")),
            MayMove::Yes
        );
    }

    #[test]
    fn a_window_opens_and_closes_in_its_own_time_zone() {
        let policy = saturday_night();
        // In winter Berlin is an hour ahead of UTC, in summer two.
        for (time, open) in [
            ("2026-01-03T01:59:59Z", false),
            ("2026-01-03T02:00:00Z", true),
            ("2026-01-03T03:59:59Z", true),
            ("2026-01-03T04:00:00Z", false),
            ("2026-07-04T01:00:00Z", true),
            ("2026-07-04T03:00:00Z", false),
            ("2026-01-04T02:30:00Z", false),
        ] {
            assert_eq!(policy.may_move(at(time)) == MayMove::Yes, open, "{time}");
        }
    }

    #[test]
    fn a_closed_window_says_when_it_opens() {
        assert_eq!(
            saturday_night().may_move(at("2026-01-04T12:00:00Z")),
            MayMove::NotBefore(Some(at("2026-01-10T02:00:00Z")))
        );
    }

    #[test]
    fn a_window_across_midnight_stays_open() {
        let window = Window::new("0 23 * * *", "UTC", 180).expect("a window");
        assert_eq!(
            window.open_until(at("2026-01-04T01:30:00Z")),
            Some(at("2026-01-04T02:00:00Z"))
        );
    }

    #[test]
    fn a_window_that_does_not_exist_on_one_day_of_the_year_opens_when_the_clock_has_jumped() {
        // On 2026-03-29 Berlin's clocks jump from 2:00 to 3:00.
        let window = Window::new("30 2 * * *", "Europe/Berlin", 60).expect("a window");
        assert!(window.open_until(at("2026-03-29T01:10:00Z")).is_some());
    }

    #[test]
    fn what_cannot_be_understood_is_named() {
        let text = |schedule, zone, minutes| {
            Window::new(schedule, zone, minutes)
                .expect_err("wrong")
                .to_string()
        };
        assert!(text("0 25 * * *", "UTC", 1).contains("\"0 25 * * *\""));
        assert!(text("0 0 3 * * 6", "UTC", 1).contains("five fields"));
        assert!(text("0 3 * * 6", "Mars/Olympus", 1).contains("\"Mars/Olympus\""));
        assert!(text("0 3 * * 6", "UTC", 0).contains("between 1 and 10080, was 0"));
    }

    #[test]
    fn pods_count_before_zones_and_what_is_not_named_comes_last() {
        let policy = Policy {
            zones: vec!["a".into(), "b".into()],
            nodes: vec!["db-3".into()],
            ..Policy::default()
        };
        let mut places = [("db-1", "b"), ("db-2", "a"), ("db-3", "c"), ("db-4", "c")];
        places.sort_by_key(|(pod, zone)| policy.rank(pod, Some(zone)));
        let order: Vec<&str> = places.iter().map(|(pod, _)| *pod).collect();
        assert_eq!(order, ["db-3", "db-2", "db-1", "db-4"]);
    }
}
