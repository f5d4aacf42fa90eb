//! Documents as text for people. Pure: the present moment is an argument.

mod change;
mod cluster;
mod plan;
mod report;
mod table;
mod why;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use change::outcome;
pub use report::manifest;

use crate::document::{
    ChangeDocument, ListDocument, PlanDocument, ReportDocument, StatusDocument, WhyDocument,
};

/// A document that can be shown to people.
pub trait Show {
    /// The document as text, with a line end at its end.
    fn show(&self, now: Timestamp) -> String;
}

impl Show for StatusDocument {
    fn show(&self, now: Timestamp) -> String {
        cluster::status(self, now)
    }
}

impl Show for ListDocument<StatusDocument> {
    fn show(&self, now: Timestamp) -> String {
        cluster::clusters(&self.items, now)
    }
}

impl Show for PlanDocument {
    fn show(&self, _: Timestamp) -> String {
        plan::plan(self)
    }
}

impl Show for ListDocument<PlanDocument> {
    fn show(&self, _: Timestamp) -> String {
        each(&self.items, plan::plan)
    }
}

impl Show for WhyDocument {
    fn show(&self, _: Timestamp) -> String {
        why::why(self)
    }
}

impl Show for ListDocument<WhyDocument> {
    fn show(&self, _: Timestamp) -> String {
        each(&self.items, why::why)
    }
}

impl Show for ChangeDocument {
    fn show(&self, _: Timestamp) -> String {
        change::change(self)
    }
}

impl Show for ReportDocument {
    fn show(&self, _: Timestamp) -> String {
        report::report(self)
    }
}

/// One after the other, with an empty line between.
fn each<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
    if items.is_empty() {
        return NO_CLUSTER.to_owned();
    }
    items.iter().map(show).collect::<Vec<_>>().join("\n")
}

/// What is said when there is no cluster at all.
const NO_CLUSTER: &str = "There is no StandbyCluster.\n";

/// Orders that are lasting states and have lines of their own.
const SHOWN_APART: [&str; 2] = ["fence", "paused"];

/// Orders that stand, for a line.
fn standing(orders: &BTreeMap<String, String>) -> String {
    orders
        .iter()
        .filter(|(name, _)| !SHOWN_APART.contains(&name.as_str()))
        .map(|(name, value)| format!("{name} {value}"))
        .collect::<Vec<_>>()
        .join("; ")
}

/// How long ago, as kubectl writes it: `42s`, `5m10s`, `3h`, `8d`.
#[must_use]
pub fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let two = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{big}{unit}")
        } else {
            format!("{big}{unit}{small}{small_unit}")
        }
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_as_kubectl_writes_them() {
        let after = |seconds: i64| {
            let now = Timestamp::from_second(seconds).expect("a time");
            age(Timestamp::UNIX_EPOCH, now)
        };
        assert_eq!(after(0), "0s");
        assert_eq!(after(119), "119s");
        assert_eq!(after(310), "5m10s");
        assert_eq!(after(3_600), "60m");
        assert_eq!(after(12_600), "3h30m");
        assert_eq!(after(86_400), "24h");
        assert_eq!(after(180_000), "2d2h");
        assert_eq!(after(864_000), "10d");
    }

    #[test]
    fn a_time_ahead_of_this_machines_clock_is_now() {
        let ahead = Timestamp::from_second(5).expect("a time");
        assert_eq!(age(ahead, Timestamp::UNIX_EPOCH), "0s");
    }
}
