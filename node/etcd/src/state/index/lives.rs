//! What the index knows of one key: its lives, and the revisions that changed it. Never does IO.

use smallvec::SmallVec;

use super::{Located, Rev};

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
pub(super) struct Lives(SmallVec<[Life; 1]>);

impl Lives {
    pub(super) fn at(&self, revision: i64) -> Option<Located> {
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

    pub(super) fn put(&mut self, rev: Rev) -> Located {
        if let Some(life) = self.going_on() {
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
    pub(super) fn compact(&mut self, revision: i64, max: usize, dropped: &mut Vec<Rev>) -> bool {
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

    /// Notes that the life that goes on ends at `rev`. There must be one.
    pub(super) fn end(&mut self, rev: Rev) {
        let life = self
            .going_on()
            .expect("only a key that was just found living is deleted");
        life.version += 1;
        life.revs.push(rev);
        life.ended = true;
    }

    /// Takes in a record, in the order of revisions. What came before the oldest may have been
    /// compacted away; a deletion has version 0.
    pub(super) fn restore(&mut self, rev: Rev, created: i64, version: i64) {
        let deletion = version == 0;
        match self.going_on() {
            Some(life) => {
                life.version += 1;
                life.revs.push(rev);
                life.ended = deletion;
            }
            None => self.0.push(Life {
                created,
                version,
                revs: vec![rev],
                ended: deletion,
            }),
        }
    }

    /// Whether nothing is left that anybody could ask for.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn going_on(&mut self) -> Option<&mut Life> {
        self.0.last_mut().filter(|life| !life.ended)
    }
}
