//! The index of keys in memory: for every key its lives, for every life the revisions that changed
//! it. Values are not here. Never does IO.
//!
//! A reader that asks for a revision sees nothing of later ones, so that the index may run ahead of
//! what is readable while a group of entries is applied.

mod lives;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;
use std::sync::Arc;

use indexmap::IndexMap;

use self::lives::Lives;
use crate::limits::{INDEX_SHARD_KEYS_MIN, INDEX_SHARDS};

/// A revision, and which of its changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Rev {
    pub main: i64,
    pub sub: u32,
}

/// Where a key's version at some revision is, and what is known of it without its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    pub modified: Rev,
    pub created: i64,
    pub version: i64,
}

/// How far a sweep has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Swept {
    /// Every key was looked at.
    All,
    /// The keys up to this one were; with `None` not even the first is done.
    UpTo(Option<Key>),
}

/// A key, held once for all who know it.
pub(crate) type Key = Arc<[u8]>;

/// Every key that has, or had since the last compaction, a version.
///
/// A single key is found by its hash, in the same few steps whatever the number of keys; the tree knows
/// the order only, and is asked for ranges. The hashed part is cut into shards, so that one that grows
/// never halts the node for long.
#[derive(Debug)]
pub(crate) struct KeyIndex {
    shards: Box<[Shard]>,
    order: BTreeMap<Key, Place>,
    /// Chooses the shard. Keyed by chance, as the shards are: clients choose the keys.
    hasher: RandomState,
}

type Shard = IndexMap<Key, Lives>;

/// Where the lives of a key are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    shard: u32,
    at: u32,
}

impl Default for KeyIndex {
    fn default() -> Self {
        Self::with_shards(INDEX_SHARDS)
    }
}

/// The keys a request means.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyRange<'a> {
    key: &'a [u8],
    end: End<'a>,
}

#[derive(Clone, Copy, Debug)]
enum End<'a> {
    Point,
    Open,
    Before(&'a [u8]),
}

impl<'a> KeyRange<'a> {
    /// `range_end` as requests have it: empty means the one key, a zero byte everything from `key`.
    pub fn new(key: &'a [u8], range_end: &'a [u8]) -> Self {
        let end = match range_end {
            [] => End::Point,
            [0] => End::Open,
            end => End::Before(end),
        };
        Self { key, end }
    }
}

impl KeyIndex {
    fn with_shards(count: u32) -> Self {
        Self {
            shards: (0..count).map(|_| Shard::default()).collect(),
            order: BTreeMap::new(),
            hasher: RandomState::new(),
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn get(&self, key: &[u8], revision: i64) -> Option<Located> {
        self.find(key)?.at(revision)
    }

    /// Calls `visit` for the keys of the range that live at `revision`, ascending.
    pub fn visit(&self, range: KeyRange<'_>, revision: i64, mut visit: impl FnMut(&[u8], Located)) {
        let end = match range.end {
            End::Point => {
                if let Some(located) = self.get(range.key, revision) {
                    visit(range.key, located);
                }
                return;
            }
            End::Open => Bound::Unbounded,
            End::Before(end) if end <= range.key => return,
            End::Before(end) => Bound::Excluded(end),
        };
        let keys = self
            .order
            .range::<[u8], _>((Bound::Included(range.key), end));
        for (key, place) in keys {
            if let Some(located) = self.shards[place.shard()][place.at()].at(revision) {
                visit(key, located);
            }
        }
    }

    /// Notes a put at `rev`; returns what was there before that revision, and the version it made.
    pub fn put(&mut self, key: &[u8], rev: Rev) -> (Option<Located>, Located) {
        let lives = self.find_or_insert(key);
        let before = lives.at(rev.main - 1);
        (before, lives.put(rev))
    }

    /// Notes a deletion at `rev` of a key that lives.
    pub fn delete(&mut self, key: &[u8], rev: Rev) {
        self.find_or_insert(key).end(rev);
    }

    /// Takes in a record while the index is built again, in the order of revisions.
    pub fn restore(&mut self, key: &[u8], rev: Rev, created: i64, version: i64) {
        self.find_or_insert(key).restore(rev, created, version);
    }

    /// Compacts keys after `cursor`: up to `max_keys` of them, and until `dropped` holds `max_revs`.
    pub fn sweep(
        &mut self,
        revision: i64,
        cursor: Option<Key>,
        (max_keys, max_revs): (usize, usize),
        dropped: &mut Vec<Rev>,
    ) -> Swept {
        let from = cursor.clone();
        let from = from
            .as_ref()
            .map_or(Bound::Unbounded, |key| Bound::Excluded(&key[..]));
        let mut gone = Vec::new();
        let mut last = cursor;
        let mut all = true;
        let keys = self.order.range::<[u8], _>((from, Bound::Unbounded));
        for (seen, (key, place)) in keys.enumerate() {
            let lives = &mut self.shards[place.shard()][place.at()];
            if seen == max_keys || !lives.compact(revision, max_revs, dropped) {
                all = false;
                break;
            }
            if lives.is_empty() {
                gone.push(Arc::clone(key));
            }
            last = Some(Arc::clone(key));
        }
        for key in gone {
            self.remove(&key);
        }
        if all { Swept::All } else { Swept::UpTo(last) }
    }

    fn shard_of(&self, key: &[u8]) -> u32 {
        let count = self.shards.len() as u64;
        u32::try_from(self.hasher.hash_one(key) % count).expect("there are fewer than 2^32 shards")
    }

    fn find(&self, key: &[u8]) -> Option<&Lives> {
        let place = self.shard_of(key);
        self.shards[place as usize].get(key)
    }

    fn find_or_insert(&mut self, key: &[u8]) -> &mut Lives {
        let number = self.shard_of(key);
        let shard = &mut self.shards[number as usize];
        let at = shard.get_index_of(key).unwrap_or_else(|| {
            // A copy of its own: the key's buffer may be a slice of a whole request.
            let key = Key::from(key);
            let (at, _) = shard.insert_full(Arc::clone(&key), Lives::default());
            self.order.insert(key, Place::new(number, at));
            at
        });
        &mut shard[at]
    }

    fn remove(&mut self, key: &[u8]) {
        let place = self
            .order
            .remove(key)
            .expect("only a key that was just found is removed");
        let shard = &mut self.shards[place.shard()];
        shard.swap_remove_index(place.at());
        // The shard's last one has taken its place, unless it was the last.
        if let Some((moved, _)) = shard.get_index(place.at()) {
            *self
                .order
                .get_mut(moved)
                .expect("every key of a shard has its place in the order") = place;
        }
        if shard.capacity() > INDEX_SHARD_KEYS_MIN && shard.len() < shard.capacity() / 4 {
            shard.shrink_to(shard.len() * 2);
        }
    }
}

impl Place {
    fn new(shard: u32, at: usize) -> Self {
        let at = u32::try_from(at).expect("a shard with 2^32 keys does not fit into memory");
        Self { shard, at }
    }

    const fn shard(self) -> usize {
        self.shard as usize
    }

    const fn at(self) -> usize {
        self.at as usize
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
