//! Which keys a watcher is about, and which watchers a key concerns.
//!
//! Watchers of single keys are found by hash, watchers of ranges by an interval tree over the
//! *distinct* ranges: a thousand watchers of one prefix are one node of the tree. Never knows what a
//! watcher is.

use std::collections::HashMap;
use std::hash::Hash;

use bytes::Bytes;
use indexmap::IndexSet;
use rb_interval_map::{Interval, IntervalMap};

/// The keys a watcher is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyRange {
    /// One key.
    Key(Bytes),
    /// Keys from the first, included, up to the second, left out.
    Span(Bytes, Bytes),
    /// Every key from this one on.
    From(Bytes),
}

/// A request's range holds no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmptyRange;

impl KeyRange {
    /// The range that `key` and `range_end` of a watch request stand for: an empty end means one key,
    /// an end of one zero byte everything from `key` on; an empty key means the smallest key.
    pub fn of_request(key: &Bytes, range_end: &Bytes) -> Result<Self, EmptyRange> {
        let key = if key.is_empty() {
            Bytes::from_static(b"\0")
        } else {
            key.clone()
        };
        match range_end.as_ref() {
            b"" => Ok(Self::Key(key)),
            b"\0" => Ok(Self::From(key)),
            end if key.as_ref() < end => Ok(Self::Span(key, range_end.clone())),
            _ => Err(EmptyRange),
        }
    }

    /// Whether `key` lies in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::Key(only) => only == key,
            Self::Span(from, to) => from.as_ref() <= key && key < to.as_ref(),
            Self::From(from) => from.as_ref() <= key,
        }
    }
}

/// An end of an interval: a key, the place right after it (`true`), or the end of all keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Edge {
    Key(Bytes, bool),
    End,
}

/// Watchers by the keys they are about. `W` names a watcher.
#[derive(Debug)]
pub struct RangeIndex<W> {
    keys: HashMap<Bytes, IndexSet<W>>,
    spans: IntervalMap<Edge, IndexSet<W>>,
}

impl<W> Default for RangeIndex<W> {
    fn default() -> Self {
        Self {
            keys: HashMap::new(),
            spans: IntervalMap::new(),
        }
    }
}

fn interval(from: &Bytes, to: Option<&Bytes>) -> Interval<Edge> {
    let end = to.map_or(Edge::End, |to| Edge::Key(to.clone(), false));
    Interval::new(Edge::Key(from.clone(), false), end)
}

impl<W: Copy + Eq + Hash> RangeIndex<W> {
    /// Adds `watcher`, which is not in the index yet.
    pub fn insert(&mut self, range: &KeyRange, watcher: W) {
        let span = match range {
            KeyRange::Key(key) => {
                self.keys.entry(key.clone()).or_default().insert(watcher);
                return;
            }
            KeyRange::Span(from, to) => interval(from, Some(to)),
            KeyRange::From(from) => interval(from, None),
        };
        self.spans
            .entry(span)
            .or_insert(IndexSet::new())
            .insert(watcher);
    }

    /// Removes `watcher`, which was inserted with the same `range`.
    pub fn remove(&mut self, range: &KeyRange, watcher: W) {
        let span = match range {
            KeyRange::Key(key) => {
                if let Some(watchers) = self.keys.get_mut(key) {
                    watchers.swap_remove(&watcher);
                    if watchers.is_empty() {
                        self.keys.remove(key);
                    }
                }
                return;
            }
            KeyRange::Span(from, to) => interval(from, Some(to)),
            KeyRange::From(from) => interval(from, None),
        };
        if let Some(watchers) = self.spans.get_mut(&span) {
            watchers.swap_remove(&watcher);
            if watchers.is_empty() {
                self.spans.remove(&span);
            }
        }
    }

    /// The watchers that `key` concerns, each once, in no particular order.
    pub fn matching(&self, key: &Bytes) -> impl Iterator<Item = W> + '_ {
        let exact = self.keys.get(key).into_iter();
        let point = Interval::new(Edge::Key(key.clone(), false), Edge::Key(key.clone(), true));
        let spans = self.spans.find_all_overlap(&point);
        exact
            .chain(spans.into_iter().map(|(_, watchers)| watchers))
            .flatten()
            .copied()
    }

    /// Whether nobody is about anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.spans.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(key: &'static str, end: &'static str) -> KeyRange {
        KeyRange::of_request(&Bytes::from(key), &Bytes::from(end)).unwrap()
    }

    fn matching(index: &RangeIndex<u32>, key: &'static str) -> Vec<u32> {
        let mut found: Vec<_> = index.matching(&Bytes::from(key)).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn a_request_s_ends_mean_what_etcd_says() {
        assert!(matches!(range("a", ""), KeyRange::Key(_)));
        assert!(matches!(range("a", "\0"), KeyRange::From(_)));
        assert_eq!(range("", ""), KeyRange::Key(Bytes::from_static(b"\0")));
        for (key, end) in [("b", "a"), ("a", "a")] {
            assert_eq!(
                KeyRange::of_request(&key.into(), &end.into()),
                Err(EmptyRange)
            );
        }
    }

    #[test]
    fn a_key_concerns_exactly_the_watchers_whose_ranges_hold_it() {
        let mut index = RangeIndex::default();
        let ranges = [
            ("a", ""),
            ("a", "c"),
            ("b", "d"),
            ("b", "\0"),
            ("", "\0"),
            ("a", "c"),
            ("c", ""),
        ];
        for (id, (key, end)) in (0..).zip(ranges) {
            index.insert(&range(key, end), id);
        }
        assert_eq!(matching(&index, "a"), [0, 1, 4, 5]);
        assert_eq!(matching(&index, "b"), [1, 2, 3, 4, 5]);
        assert_eq!(matching(&index, "c"), [2, 3, 4, 6]);
        assert_eq!(matching(&index, "zz"), [3, 4]);
        index.remove(&range("a", "c"), 1);
        assert_eq!(matching(&index, "a"), [0, 4, 5]);
        for (id, (key, end)) in (0..).zip(ranges) {
            index.remove(&range(key, end), id);
        }
        assert!(index.is_empty());
    }
}
