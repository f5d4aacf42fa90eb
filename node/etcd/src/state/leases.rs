//! Leases and the keys that hang on them. Time is not here: when a lease runs out is decided by the
//! primary's [`crate::lessor`] and arrives as a command.

use std::collections::{BTreeSet, HashMap, VecDeque};

use bytes::Bytes;

use crate::limits::LEASE_CHANGES_KEPT;

/// A lease as the log made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// The time to live it was granted, in seconds.
    pub ttl_s: i64,
    /// Index of the entry that granted it: tells it from one granted anew under its id.
    pub granted_index: u64,
    /// The keys that hang on it, ascending.
    pub keys: BTreeSet<Bytes>,
}

/// A lease without its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The time to live, in seconds.
    pub ttl_s: i64,
    /// Index of the entry that granted it.
    pub index: u64,
}

impl LeaseInfo {
    /// The lease without its keys.
    #[must_use]
    pub const fn grant(&self) -> Grant {
        Grant {
            ttl_s: self.ttl_s,
            index: self.granted_index,
        }
    }
}

/// News of leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaseChanges {
    /// How many changes are seen with this.
    pub seen: u64,
    pub changed: Changed,
}

/// Which leases changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// These, as they are now; `None` for one that is gone.
    These(Vec<(i64, Option<Grant>)>),
    /// These are all there are.
    All(HashMap<i64, Grant>),
}

#[derive(Debug, Default)]
pub(crate) struct Leases {
    by_id: HashMap<i64, LeaseInfo>,
    of_key: HashMap<Bytes, i64>,
    /// How many grants and revocations there were, so that the lessor notices.
    changes: u64,
    /// The leases that the last of them were about, oldest first.
    changed: VecDeque<i64>,
}

impl Leases {
    pub fn get(&self, id: i64) -> Option<&LeaseInfo> {
        self.by_id.get(&id)
    }

    pub fn contains(&self, id: i64) -> bool {
        self.by_id.contains_key(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (i64, &LeaseInfo)> {
        self.by_id.iter().map(|(id, lease)| (*id, lease))
    }

    fn note(&mut self, id: i64) {
        self.changes += 1;
        self.changed.push_back(id);
        if self.changed.len() > LEASE_CHANGES_KEPT {
            self.changed.pop_front();
        }
    }

    /// What was granted and revoked since `seen` changes; everything when that is not known any more.
    pub fn changes_since(&self, seen: Option<u64>) -> LeaseChanges {
        let behind = seen.and_then(|seen| self.changes.checked_sub(seen));
        let behind = behind.and_then(|behind| usize::try_from(behind).ok());
        let changed = match behind {
            Some(behind) if behind <= self.changed.len() => {
                let new = self.changed.iter().skip(self.changed.len() - behind);
                let now = |id: &i64| (*id, self.by_id.get(id).map(LeaseInfo::grant));
                Changed::These(new.map(now).collect())
            }
            _ => Changed::All(self.iter().map(|(id, lease)| (id, lease.grant())).collect()),
        };
        LeaseChanges {
            seen: self.changes,
            changed,
        }
    }

    pub fn grant(&mut self, id: i64, ttl_s: i64, granted_index: u64) {
        self.note(id);
        self.by_id.insert(
            id,
            LeaseInfo {
                ttl_s,
                granted_index,
                keys: BTreeSet::new(),
            },
        );
    }

    /// Forgets the lease. Its keys are deleted, and so detached, before.
    pub fn revoke(&mut self, id: i64) {
        self.note(id);
        let lease = self.by_id.remove(&id);
        assert!(
            lease.is_none_or(|lease| lease.keys.is_empty()),
            "lease {id} is only forgotten after its keys"
        );
    }

    /// Hangs `key` on the lease `id`, or on none (0).
    pub fn bind(&mut self, key: &Bytes, id: i64) {
        if id == 0 {
            self.detach(key);
        } else if self.of_key.get(key) != Some(&id) {
            self.detach(key);
            // A copy of its own: the key's buffer may be a slice of a whole request.
            let key = Bytes::copy_from_slice(key);
            if let Some(lease) = self.by_id.get_mut(&id) {
                lease.keys.insert(key.clone());
                self.of_key.insert(key, id);
            }
        }
    }

    pub fn detach(&mut self, key: &[u8]) {
        if let Some(id) = self.of_key.remove(key)
            && let Some(lease) = self.by_id.get_mut(&id)
        {
            lease.keys.remove(key);
        }
    }
}
