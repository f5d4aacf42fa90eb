//! Leases and the keys that hang on them. Time is not here: when a lease runs out is decided by the
//! primary's [`crate::lessor`] and arrives as a command.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;

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

#[derive(Debug, Default)]
pub(crate) struct Leases {
    by_id: HashMap<i64, LeaseInfo>,
    of_key: HashMap<Bytes, i64>,
    /// Grows with every grant and revocation, so that the lessor notices.
    changes: u64,
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

    pub fn changes(&self) -> u64 {
        self.changes
    }

    pub fn grant(&mut self, id: i64, ttl_s: i64, granted_index: u64) {
        self.changes += 1;
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
        self.changes += 1;
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
