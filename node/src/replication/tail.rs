//! The end of the log in memory, from the moment the core wrote it: followers are sent entries while
//! this node's own disk still works on them. It never holds what the log does not get too.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use parking_lot::RwLock;
use standby_core::{Entry, Index, Position};
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

    /// Frames of the entries from `from` to at most `through`, about `max_bytes` of them.
    pub fn frames(
        &self,
        from: Index,
        through: Index,
        max_bytes: usize,
    ) -> Result<Option<TailFrames>, LogError> {
        let mut entries = match self.held(from, through, max_bytes) {
            Some(entries) => entries,
            None => self.log.read(from, max_bytes)?,
        };
        entries.retain(|entry| entry.position.index <= through);
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
    use standby_core::Epoch;
    use standby_store::log::{Log, LogOptions};

    fn entry(index: u64) -> Entry {
        Entry::data(
            Position::new(Epoch(1), Index(index)),
            Bytes::from_static(b"x"),
        )
    }

    #[test]
    fn entries_can_be_sent_before_the_log_has_them() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = LogOptions {
            segment_bytes: 64 << 10,
            ..LogOptions::default()
        };
        let (_writer, reader, _) = Log::open(dir.path(), options).expect("a new log opens");
        let tail = Tail::new(reader);
        tail.push(&[entry(1), entry(2), entry(3)]);
        let frames = tail
            .frames(Index(2), Index(9), 1 << 20)
            .expect("nothing is read");
        assert_eq!(frames.map(|f| f.last.index), Some(Index(3)));
        let limited = tail
            .frames(Index(1), Index(2), 1 << 20)
            .expect("nothing is read");
        assert_eq!(limited.map(|f| f.last.index), Some(Index(2)));
        tail.truncate_after(Index(1));
        assert!(
            tail.frames(Index(2), Index(9), 1 << 20)
                .expect("nothing is read")
                .is_none()
        );
    }
}
