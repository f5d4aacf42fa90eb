//! The records written last, in memory: for previous values, reads of fresh keys, watchers that are
//! a little behind, and everything the group of entries being applied has not yet given to the
//! engine. Bounded by bytes; never does IO.

use std::collections::VecDeque;

use bytes::Bytes;

use super::index::Rev;

/// What a record costs beside its bytes.
const RECORD_OVERHEAD_BYTES: usize = 64;

#[derive(Debug)]
pub(crate) struct Recent {
    /// Ascending, as revisions are written.
    records: VecDeque<(Rev, Bytes)>,
    bytes: usize,
    limit_bytes: usize,
}

impl Recent {
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            records: VecDeque::new(),
            bytes: 0,
            limit_bytes,
        }
    }

    pub fn push(&mut self, rev: Rev, record: Bytes) {
        self.bytes += record.len() + RECORD_OVERHEAD_BYTES;
        self.records.push_back((rev, record));
    }

    pub fn get(&self, rev: Rev) -> Option<Bytes> {
        let at = self
            .records
            .binary_search_by_key(&rev, |(rev, _)| *rev)
            .ok()?;
        Some(self.records[at].1.clone())
    }

    /// Drops the oldest records beyond the limit. Only called when the engine has them all.
    pub fn trim(&mut self) {
        while self.bytes > self.limit_bytes {
            let Some((_, record)) = self.records.pop_front() else {
                break;
            };
            self.bytes -= record.len() + RECORD_OVERHEAD_BYTES;
        }
    }
}
