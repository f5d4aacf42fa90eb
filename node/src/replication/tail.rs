//! The end of the log in memory, from the moment the core wrote it: followers are sent entries while
//! this node's own disk still works on them. It never holds what the log does not get too.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use parking_lot::RwLock;
use standby_core::{Entry, Epoch, Index, Position};
use standby_store::log::{LogError, LogReader, Seal, encode_frame, frame_bytes};

use super::log_thread_bytes;
use crate::limits::TAIL_BYTES;

/// Entries on their way to the disk and the last ones before them.
#[derive(Debug)]
pub struct Tail {
    log: LogReader,
    entries: RwLock<(VecDeque<Entry>, u64)>,
}

/// Frames for a follower.
#[derive(Debug)]
pub struct TailFrames {
    /// The frames.
    pub bytes: Bytes,
    /// The last one's position.
    pub last: Position,
}

impl Tail {
    /// The end of `log`, nothing of it in memory yet.
    #[must_use]
    pub fn new(log: LogReader) -> Self {
        Self {
            log,
            entries: RwLock::default(),
        }
    }

    /// Adds entries that the log will get. Old ones leave once the log has them.
    pub fn push(&self, new: &[Entry]) {
        let in_log = self.log.last().index;
        let mut held = self.entries.write();
        let (entries, bytes) = &mut *held;
        *bytes += log_thread_bytes(new);
        entries.extend(new.iter().cloned());
        while *bytes > TAIL_BYTES
            && let Some(oldest) = entries.pop_front_if(|entry| entry.position.index <= in_log)
        {
            *bytes -= log_thread_bytes(std::slice::from_ref(&oldest));
        }
    }

    /// Cuts everything after `index`.
    pub fn truncate_after(&self, index: Index) {
        let mut held = self.entries.write();
        let (entries, bytes) = &mut *held;
        while let Some(cut) = entries.pop_back_if(|entry| entry.position.index > index) {
            *bytes -= log_thread_bytes(std::slice::from_ref(&cut));
        }
    }

    /// Forgets everything: the log began anew.
    pub fn clear(&self) {
        *self.entries.write() = (VecDeque::new(), 0);
    }

    /// Frames of the entries after `after` up to `through`, about `max_bytes` of them, none from an epoch
    /// above `epoch`. Nothing when `after` is not in the log any more: the node that streamed it lost its
    /// role and its tail was cut, and what stands there now must not be sent as what followed `after`.
    ///
    /// What is not in memory any more is read from the disk, on a thread that may wait for it.
    ///
    /// # Panics
    /// When reading the log panics.
    pub async fn frames(
        &self,
        after: Position,
        epoch: Epoch,
        through: Index,
        max_bytes: usize,
    ) -> Result<Option<TailFrames>, LogError> {
        let from = after.index.next();
        let mut entries = if let Some(entries) = self.held(from, through, max_bytes) {
            entries
        } else {
            let log = self.log.clone();
            let reading = tokio::task::spawn_blocking(move || log.read(from, max_bytes));
            reading.await.expect("reading the log does not panic")?
        };
        // Only now: a cut that comes before the entries were read is seen here, one that comes later
        // does not matter.
        match self.position_of(after.index) {
            Some(stands) if stands == after => {}
            None if after.index < self.log.base().index => {
                return Err(LogError::Released {
                    asked: from,
                    first: self.log.base().index.next(),
                });
            }
            _ => return Ok(None),
        }
        entries.retain(|entry| entry.position.index <= through && entry.position.epoch <= epoch);
        let Some(last) = entries.last().map(|entry| entry.position) else {
            return Ok(None);
        };
        let size = entries
            .iter()
            .map(|entry| frame_bytes(entry.payload.len()))
            .sum();
        let mut bytes = BytesMut::with_capacity(size);
        for entry in &entries {
            encode_frame(Seal::WIRE, 0, entry, &mut bytes);
        }
        Ok(Some(TailFrames {
            bytes: bytes.freeze(),
            last,
        }))
    }

    fn position_of(&self, index: Index) -> Option<Position> {
        let held = self.entries.read();
        let at = held.0.front().and_then(|first| {
            let at = index.0.checked_sub(first.position.index.0)?;
            usize::try_from(at).ok()
        });
        match at {
            Some(at) => held.0.get(at).map(|entry| entry.position),
            None => self.log.position_of(index),
        }
    }

    fn held(&self, from: Index, through: Index, max_bytes: usize) -> Option<Vec<Entry>> {
        let held = self.entries.read();
        let first = held.0.front()?.position.index;
        let skip = usize::try_from(from.0.checked_sub(first.0)?).ok()?;
        if skip >= held.0.len() {
            return None;
        }
        let mut room = max_bytes;
        let wanted = held.0.range(skip..).take_while(|entry| {
            let fits = room > 0 && entry.position.index <= through;
            room = room.saturating_sub(entry.payload.len());
            fits
        });
        Some(wanted.cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use standby_store::log::{Log, LogOptions};

    fn at(epoch: u64, index: u64) -> Position {
        Position::new(Epoch(epoch), Index(index))
    }

    fn entry(epoch: u64, index: u64) -> Entry {
        Entry::data(at(epoch, index), Bytes::from_static(b"x"))
    }

    fn tail(dir: &std::path::Path) -> Tail {
        let options = LogOptions {
            segment_bytes: 64 << 10,
            ..LogOptions::default()
        };
        let (_writer, reader, _) = Log::open(dir, options).expect("a new log opens");
        Tail::new(reader)
    }

    async fn sent(tail: &Tail, after: Position, epoch: u64, through: u64) -> Option<Index> {
        tail.frames(after, Epoch(epoch), Index(through), 1 << 20)
            .await
            .expect("nothing is read")
            .map(|frames| frames.last.index)
    }

    #[tokio::test]
    async fn entries_can_be_sent_before_the_log_has_them() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let tail = tail(dir.path());
        tail.push(&[entry(1, 1), entry(1, 2), entry(1, 3)]);
        assert_eq!(sent(&tail, at(1, 1), 1, 9).await, Some(Index(3)));
        assert_eq!(sent(&tail, Position::START, 1, 2).await, Some(Index(2)));
        tail.truncate_after(Index(1));
        assert_eq!(sent(&tail, at(1, 1), 1, 9).await, None);
    }

    #[tokio::test]
    async fn what_replaced_a_cut_entry_is_not_sent_as_its_successor() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let tail = tail(dir.path());
        tail.push(&[entry(1, 1), entry(1, 2), entry(1, 3)]);
        tail.truncate_after(Index(1));
        tail.push(&[entry(2, 2), entry(2, 3), entry(2, 4)]);
        assert_eq!(sent(&tail, at(1, 3), 1, 9).await, None);
        assert_eq!(sent(&tail, at(1, 2), 2, 9).await, None);
        assert_eq!(sent(&tail, at(2, 2), 2, 9).await, Some(Index(4)));
    }

    #[tokio::test]
    async fn a_stream_of_an_epoch_carries_nothing_of_later_ones() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let tail = tail(dir.path());
        tail.push(&[entry(1, 1), entry(1, 2), entry(2, 3)]);
        assert_eq!(sent(&tail, at(1, 1), 1, 9).await, Some(Index(2)));
        assert_eq!(sent(&tail, at(1, 2), 1, 9).await, None);
    }
}
