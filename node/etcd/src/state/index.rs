//! The index of keys in memory: for every key its lives, for every life the revisions that changed
//! it. Values are not here. Never does IO.
//!
//! A reader that asks for a revision sees nothing of later ones, so that the index may run ahead of
//! what is readable while a group of entries is applied.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

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

/// One life of a key, from the put that created it to the deletion that ended it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Life {
    created: i64,
    /// The version that the last of `revs` is; a deletion counts as one more.
    version: i64,
    /// Never empty, ascending. Compaction takes away from the front.
    revs: Vec<Rev>,
    /// The last of `revs` is a deletion.
    ended: bool,
}

impl Life {
    fn first(&self) -> Rev {
        *self
            .revs
            .first()
            .expect("a life has a revision: it is made with one and keeps its last")
    }

    fn last(&self) -> Rev {
        *self
            .revs
            .last()
            .expect("a life has a revision: it is made with one and keeps its last")
    }

    fn version_of(&self, at: usize) -> i64 {
        let later = self.revs.len() - 1 - at;
        self.version - i64::try_from(later).expect("a count of revisions in memory fits")
    }
}

/// A key's lives, oldest first. Only the last may be unended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Lives(Vec<Life>);

impl Lives {
    fn at(&self, revision: i64) -> Option<Located> {
        // Nearly every question is about the newest version.
        let newest = self.0.last().filter(|life| life.last().main <= revision);
        if let Some(life) = newest {
            return (!life.ended).then(|| Located {
                modified: life.last(),
                created: life.created,
                version: life.version,
            });
        }
        let life = self
            .0
            .iter()
            .rev()
            .find(|life| life.first().main <= revision)?;
        if life.ended && life.last().main <= revision {
            return None;
        }
        let after = life.revs.partition_point(|rev| rev.main <= revision);
        Some(Located {
            modified: life.revs[after - 1],
            created: life.created,
            version: life.version_of(after - 1),
        })
    }

    fn put(&mut self, rev: Rev) -> Located {
        if let Some(life) = self.0.last_mut().filter(|life| !life.ended) {
            let last = life.last();
            assert!(last < rev, "revisions of a key grow: {last:?}, {rev:?}");
            life.version += 1;
            life.revs.push(rev);
            return Located {
                modified: rev,
                created: life.created,
                version: life.version,
            };
        }
        self.0.push(Life {
            created: rev.main,
            version: 1,
            revs: vec![rev],
            ended: false,
        });
        Located {
            modified: rev,
            created: rev.main,
            version: 1,
        }
    }

    /// Drops what nobody can ask for once `revision` is compacted, oldest first, until `dropped` holds
    /// `max`. Returns whether that was all. Kept are the version at `revision` and a deletion exactly
    /// at it (a watch from there must see it).
    fn compact(&mut self, revision: i64, max: usize, dropped: &mut Vec<Rev>) -> bool {
        let mut over = 0;
        let mut all = true;
        for life in &mut self.0 {
            let is_over = life.ended && life.last().main < revision;
            let end = if is_over {
                life.revs.len()
            } else {
                let after = life.revs.partition_point(|rev| rev.main <= revision);
                after.saturating_sub(1)
            };
            let room = max.saturating_sub(dropped.len());
            all = end <= room;
            if is_over && all {
                dropped.append(&mut life.revs);
                over += 1;
                continue;
            }
            dropped.extend(life.revs.drain(..end.min(room)));
            break;
        }
        // What is over is empty by now, and goes before anybody looks at it.
        self.0.drain(..over);
        all
    }
}

/// How far a sweep has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Swept {
    /// Every key was looked at.
    All,
    /// The keys up to this one were; with `None` not even the first is done.
    UpTo(Option<Bytes>),
}

/// Every key that has, or had since the last compaction, a version.
#[derive(Debug, Default)]
pub(crate) struct KeyIndex {
    keys: BTreeMap<Bytes, Lives>,
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
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn get(&self, key: &[u8], revision: i64) -> Option<Located> {
        self.keys.get(key)?.at(revision)
    }

    /// Calls `visit` for the keys of the range that live at `revision`, ascending.
    pub fn visit(
        &self,
        range: KeyRange<'_>,
        revision: i64,
        mut visit: impl FnMut(&Bytes, Located),
    ) {
        let end = match range.end {
            End::Point => {
                if let Some((key, lives)) = self.keys.get_key_value(range.key)
                    && let Some(located) = lives.at(revision)
                {
                    visit(key, located);
                }
                return;
            }
            End::Open => Bound::Unbounded,
            End::Before(end) if end <= range.key => return,
            End::Before(end) => Bound::Excluded(end),
        };
        for (key, lives) in self
            .keys
            .range::<[u8], _>((Bound::Included(range.key), end))
        {
            if let Some(located) = lives.at(revision) {
                visit(key, located);
            }
        }
    }

    /// Notes a put at `rev`; returns what was there before that revision, and the version it made.
    pub fn put(&mut self, key: &[u8], rev: Rev) -> (Option<Located>, Located) {
        let lives = match self.keys.get_mut(key) {
            Some(lives) => lives,
            // A copy of its own: the key's buffer may be a slice of a whole request.
            None => self.keys.entry(Bytes::copy_from_slice(key)).or_default(),
        };
        let before = lives.at(rev.main - 1);
        (before, lives.put(rev))
    }

    /// Notes a deletion at `rev` of a key that lives.
    pub fn delete(&mut self, key: &[u8], rev: Rev) {
        let life = self
            .keys
            .get_mut(key)
            .and_then(|lives| lives.0.last_mut())
            .filter(|life| !life.ended)
            .expect("only a key that was just found living is deleted");
        life.version += 1;
        life.revs.push(rev);
        life.ended = true;
    }

    /// Takes in a record while the index is built again, in the order of revisions. What came before
    /// the key's oldest record may have been compacted away.
    pub fn restore(&mut self, key: &[u8], rev: Rev, created: i64, version: i64) {
        if !self.keys.contains_key(key) {
            self.keys
                .insert(Bytes::copy_from_slice(key), Lives::default());
        }
        let lives = self
            .keys
            .get_mut(key)
            .expect("it was there or has just been put there");
        let deletion = version == 0;
        match lives.0.last_mut().filter(|life| !life.ended) {
            Some(life) => {
                life.version += 1;
                life.revs.push(rev);
                life.ended = deletion;
            }
            None => lives.0.push(Life {
                created,
                version,
                revs: vec![rev],
                ended: deletion,
            }),
        }
    }

    /// Compacts keys after `cursor`: up to `max_keys` of them, and until `dropped` holds `max_revs`.
    pub fn sweep(
        &mut self,
        revision: i64,
        cursor: Option<Bytes>,
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
        let keys = self.keys.range_mut::<[u8], _>((from, Bound::Unbounded));
        for (seen, (key, lives)) in keys.enumerate() {
            if seen == max_keys || !lives.compact(revision, max_revs, dropped) {
                all = false;
                break;
            }
            if lives.0.is_empty() {
                gone.push(key.clone());
            }
            last = Some(key.clone());
        }
        for key in gone {
            self.keys.remove(&key);
        }
        if all { Swept::All } else { Swept::UpTo(last) }
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
