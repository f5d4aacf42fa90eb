//! What happened, in memory, in the order in which it was known. Times are wall-clock microseconds
//! since 1970, so that they can be laid beside those in a status.

use std::sync::Mutex;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One put and its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// The key, written only once.
    pub key: String,
    /// When it was sent.
    pub begun_us: i64,
    /// When the answer, or the end of the wait for it, came.
    pub ended_us: i64,
    /// The revision, if it was acknowledged.
    pub revision: Option<i64>,
    /// Why there is no acknowledgement: the put may have happened all the same.
    pub doubt: Option<String>,
}

/// One event of the watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The key that was put.
    pub key: String,
    /// The revision of the event.
    pub revision: i64,
    /// When it came.
    pub at_us: i64,
}

/// Everything that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// All puts.
    pub puts: Vec<Put>,
    /// All events of the watch.
    pub seen: Vec<Seen>,
    /// How often the watch was opened anew.
    pub watch_reopened: u64,
}

/// A time without any acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// When the last acknowledgement before it came.
    pub from_us: i64,
    /// When the first one after it came.
    pub to_us: i64,
}

impl Gap {
    /// The longest time between two acknowledgements that ended after `since_us`.
    pub fn longest(times_us: &[i64], since_us: i64) -> Option<Self> {
        let mut times = times_us.to_vec();
        times.sort_unstable();
        times
            .windows(2)
            .map(|pair| Self {
                from_us: pair[0],
                to_us: pair[1],
            })
            .filter(|gap| gap.to_us > since_us)
            .max_by_key(|gap| gap.to_us - gap.from_us)
    }

    /// Its length in milliseconds.
    pub fn millis(&self) -> f64 {
        let micros = u32::try_from(self.to_us - self.from_us).unwrap_or(u32::MAX);
        f64::from(micros) / 1000.0
    }
}

impl History {
    /// The longest time without an acknowledgement that ended after `since_us`.
    pub fn longest_gap(&self, since_us: i64) -> Option<Gap> {
        let times: Vec<i64> = self
            .puts
            .iter()
            .filter(|put| put.revision.is_some())
            .map(|put| put.ended_us)
            .collect();
        Gap::longest(&times, since_us)
    }

    /// How many puts were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.puts
            .iter()
            .filter(|put| put.revision.is_some())
            .count()
    }
}

/// The history while it grows.
#[derive(Default)]
pub(super) struct Shared(Mutex<History>);

impl Shared {
    fn change<T>(&self, change: impl FnOnce(&mut History) -> T) -> T {
        change(
            &mut self
                .0
                .lock()
                .expect("nobody panics while holding the history"),
        )
    }

    pub(super) fn put(&self, put: Put) {
        self.change(|history| history.puts.push(put));
    }

    pub(super) fn seen(&self, seen: impl IntoIterator<Item = Seen>) {
        self.change(|history| history.seen.extend(seen));
    }

    pub(super) fn reopened(&self) {
        self.change(|history| history.watch_reopened += 1);
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.change(|history| history.acknowledged())
    }

    pub(super) fn last_acknowledged_us(&self) -> i64 {
        self.change(|history| {
            let last = history.puts.iter().rev().find(|put| put.revision.is_some());
            last.map_or(0, |put| put.ended_us)
        })
    }

    pub(super) fn last_seen(&self) -> i64 {
        self.change(|history| history.seen.last().map_or(0, |seen| seen.revision))
    }

    pub(super) fn copy(&self) -> History {
        self.change(|history| history.clone())
    }
}

/// Now, in microseconds since 1970.
pub fn now_us() -> i64 {
    Timestamp::now().as_microsecond()
}
