//! The set of moments that were seen, as 64-bit fingerprints, each with the one it was reached from.
//! Open addressing over atomics: threads insert without locks.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Slots at the beginning.
const SLOTS_MIN: usize = 1 << 16;
/// The fullest a table gets, in percent of its slots, before it grows.
const FULL_PERCENT: usize = 70;

/// What inserting found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It was not known.
    New,
    /// It was.
    Known,
}

#[derive(Debug)]
struct Slot {
    key: AtomicU64,
    parent: AtomicU64,
}

/// Fingerprints and their parents.
#[derive(Debug)]
pub struct Table {
    slots: Vec<Slot>,
    used: AtomicUsize,
}

fn empty(count: usize) -> Vec<Slot> {
    let slot = || Slot {
        key: AtomicU64::new(0),
        parent: AtomicU64::new(0),
    };
    std::iter::repeat_with(slot).take(count).collect()
}

impl Default for Table {
    fn default() -> Self {
        Self {
            slots: empty(SLOTS_MIN),
            used: AtomicUsize::new(0),
        }
    }
}

impl Table {
    /// How many are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many slots there are; a slot takes 16 bytes.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    fn start(&self, key: u64) -> usize {
        // The high bits choose the slot; the table is a power of two.
        let bits = self.slots.len().trailing_zeros();
        usize::try_from(key >> (64 - bits)).expect("fewer bits than a pointer has")
    }

    /// Puts `key` in, reached from `parent`.
    ///
    /// # Panics
    /// When the table is full: [`Table::reserve`] was told too little.
    pub fn insert(&self, key: u64, parent: u64) -> Inserted {
        let mask = self.slots.len() - 1;
        let mut at = self.start(key);
        for _ in 0..self.slots.len() {
            let slot = &self.slots[at];
            match slot
                .key
                .compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => {
                    slot.parent.store(parent, Ordering::Relaxed);
                    self.used.fetch_add(1, Ordering::Relaxed);
                    return Inserted::New;
                }
                Err(there) if there == key => return Inserted::Known,
                Err(_) => at = (at + 1) & mask,
            }
        }
        panic!("the table of seen states is full");
    }

    /// What `key` was reached from; none if it is not in here.
    #[must_use]
    pub fn parent(&self, key: u64) -> Option<u64> {
        let mask = self.slots.len() - 1;
        let mut at = self.start(key);
        loop {
            let slot = &self.slots[at];
            match slot.key.load(Ordering::Relaxed) {
                0 => return None,
                there if there == key => return Some(slot.parent.load(Ordering::Relaxed)),
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// Makes room for so many more.
    pub fn reserve(&mut self, more: usize) {
        let wanted = (self.len() + more) * 100 / FULL_PERCENT;
        let count = wanted.next_power_of_two();
        if count <= self.slots.len() {
            return;
        }
        let larger = Self {
            slots: empty(count),
            used: AtomicUsize::new(0),
        };
        for slot in std::mem::take(&mut self.slots) {
            let key = slot.key.into_inner();
            if key != 0 {
                larger.insert(key, slot.parent.into_inner());
            }
        }
        *self = larger;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_known_also_after_growing() {
        let mut table = Table::default();
        let keys: Vec<u64> = (1..200_000_u64)
            .map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15))
            .collect();
        for chunk in keys.chunks(10_000) {
            table.reserve(chunk.len());
            for key in chunk {
                assert_eq!(table.insert(*key, key ^ 1), Inserted::New);
            }
        }
        for key in &keys {
            assert_eq!(table.insert(*key, 0), Inserted::Known);
            assert_eq!(table.parent(*key), Some(key ^ 1));
        }
        assert_eq!(table.len(), keys.len());
        assert_eq!(table.parent(12_345), None);
    }
}
