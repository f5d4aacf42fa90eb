//! The most recent entries in memory, bounded by bytes, so that a follower that keeps up never makes
//! the primary read its disk. Never holds an entry that was cut.

use std::collections::VecDeque;

use standby_core::{Entry, Index};

use crate::limits::CACHE_ENTRY_OVERHEAD_BYTES;

/// A dense run of entries that ends with the log.
#[derive(Debug)]
pub(super) struct Cache {
    entries: VecDeque<Entry>,
    bytes: usize,
    most_bytes: usize,
}

fn cost(entry: &Entry) -> usize {
    entry.payload.len() + CACHE_ENTRY_OVERHEAD_BYTES
}

impl Cache {
    pub fn new(most_bytes: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            most_bytes,
        }
    }

    /// Takes in the entry after the last one.
    pub fn push(&mut self, entry: &Entry) {
        self.bytes += cost(entry);
        self.entries.push_back(entry.clone());
        while self.bytes > self.most_bytes {
            let Some(old) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= cost(&old);
        }
    }

    /// Forgets everything above `last`.
    pub fn truncate_after(&mut self, last: Index) {
        while let Some(entry) = self
            .entries
            .pop_back_if(|entry| entry.position.index > last)
        {
            self.bytes -= cost(&entry);
        }
    }

    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// Entries from `from` on, at least one, and no more than fit into `max_bytes` of payload.
    /// Nothing if `from` is not held.
    pub fn read(&self, from: Index, max_bytes: usize) -> Option<Vec<Entry>> {
        let first = self.entries.front()?.position.index;
        let skip = usize::try_from(from.0.checked_sub(first.0)?).ok()?;
        if skip >= self.entries.len() {
            return None;
        }
        let mut taken = Vec::new();
        let mut bytes = 0;
        for entry in self.entries.range(skip..) {
            bytes += entry.payload.len();
            if bytes > max_bytes && !taken.is_empty() {
                break;
            }
            taken.push(entry.clone());
        }
        Some(taken)
    }
}
