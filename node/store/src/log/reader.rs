//! Reading beside the writer: what both share, and the handle that readers hold.
//!
//! A reader takes what it needs under a short lock and reads the file without it. A file is given
//! back for reuse only when no reader holds it any more. This module never writes.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::RwLock;
use standby_core::{Entry, Epoch, Index, Position};

use super::LogError;
use super::cache::Cache;
use super::frame::{FRAME_HEADER_BYTES, FrameError, Seal, decode_frame, encode_frame, frame_bytes};
use super::segment::Segment;
use crate::disk::DiskFile;
use crate::limits::READ_CHUNK_BYTES;

/// The log as the writer last left it.
pub(super) struct State {
    pub base: Position,
    pub last: Position,
    /// Never empty, except while a damaged log offers nothing.
    pub segments: VecDeque<Segment>,
    /// Each epoch with its first index in the log, ascending.
    pub epochs: Vec<(Epoch, Index)>,
    pub cache: Cache,
}

impl State {
    /// Takes in the entry after the last one; its frame stands at the end of the last segment.
    pub fn push(&mut self, entry: &Entry) {
        let bytes = u32::try_from(frame_bytes(entry.payload.len()))
            .expect("a frame fits into a segment, whose offsets have 32 bits");
        let index = entry.position.index;
        self.segments
            .back_mut()
            .expect("entries are written to a segment")
            .note(index, bytes);
        note_epoch(&mut self.epochs, entry.position);
        self.last = entry.position;
        self.cache.push(entry);
    }

    /// The position of `index`, if the log knows its epoch.
    pub fn position_of(&self, index: Index) -> Option<Position> {
        if index == self.base.index {
            return Some(self.base);
        }
        if index < self.base.index || index > self.last.index {
            return None;
        }
        let after = self.epochs.partition_point(|(_, first)| *first <= index);
        let (epoch, _) = self.epochs[after.checked_sub(1)?];
        Some(Position::new(epoch, index))
    }

    /// Where to find `index`, which lies between base and last.
    fn place_of(&self, index: Index) -> Place {
        let after = self
            .segments
            .partition_point(|segment| segment.header.base.index < index);
        let at = after
            .checked_sub(1)
            .expect("the first segment begins at the base");
        let segment = &self.segments[at];
        let next = self.segments.get(at + 1);
        Place {
            file: Arc::clone(&segment.file),
            seal: segment.header.seal(),
            from: segment.offset_before(index),
            end: segment.end,
            last: next.map_or(self.last.index, |next| next.header.base.index),
        }
    }
}

/// Takes note that an entry at `position` follows the last one.
pub(super) fn note_epoch(epochs: &mut Vec<(Epoch, Index)>, position: Position) {
    if epochs
        .last()
        .is_none_or(|(epoch, _)| *epoch != position.epoch)
    {
        epochs.push((position.epoch, position.index));
    }
}

/// A stretch of a file to look for frames in.
struct Place {
    file: Arc<dyn DiskFile>,
    seal: Seal,
    from: u32,
    end: u32,
    last: Index,
}

impl Place {
    /// Reads entries from `from` on: at least one, and no more than fit into `max_bytes` or into
    /// this stretch.
    fn read(&self, from: Index, max_bytes: usize) -> Result<Vec<Entry>, LogError> {
        let mut taken = Vec::new();
        let mut taken_bytes = 0;
        let mut offset = self.from;
        let mut chunk = Bytes::new();
        let mut next = Index(0);
        while offset < self.end {
            let frame = match decode_frame(self.seal, &chunk) {
                Ok(frame) => frame,
                Err(FrameError::Short { .. }) if !taken.is_empty() => break,
                Err(FrameError::Short { needed }) => {
                    chunk = self.fetch(offset, needed.max(READ_CHUNK_BYTES))?;
                    if chunk.len() < needed {
                        let source = FrameError::Short { needed };
                        return Err(LogError::Corrupt {
                            index: from,
                            source,
                        });
                    }
                    continue;
                }
                Err(source) => {
                    return Err(LogError::Corrupt {
                        index: next.max(from),
                        source,
                    });
                }
            };
            let index = frame.entry.position.index;
            if index > self.last {
                break;
            }
            if index >= from {
                taken_bytes += frame.entry.payload.len();
                if taken_bytes > max_bytes && !taken.is_empty() {
                    break;
                }
                taken.push(frame.entry);
            }
            next = index.next();
            offset += u32::try_from(frame.bytes).expect("the frame ends within the segment");
            chunk = chunk.slice(frame.bytes..);
        }
        if taken
            .first()
            .is_none_or(|entry| entry.position.index != from)
        {
            let source = FrameError::Short {
                needed: FRAME_HEADER_BYTES,
            };
            return Err(LogError::Corrupt {
                index: from,
                source,
            });
        }
        Ok(taken)
    }

    fn fetch(&self, offset: u32, wanted: usize) -> Result<Bytes, LogError> {
        let left = (self.end - offset) as usize;
        let mut bytes = BytesMut::zeroed(wanted.min(left));
        let count = self
            .file
            .read_at(&mut bytes, u64::from(offset))
            .map_err(LogError::io("read a segment"))?;
        bytes.truncate(count);
        Ok(bytes.freeze())
    }
}

/// Frames as they travel between nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frames {
    /// One frame after the other, sealed with [`Seal::WIRE`].
    pub bytes: Bytes,
    /// How many there are.
    pub count: usize,
    /// The last one's position.
    pub last: Position,
}

/// A handle for reading the log while it is written. Cheap to clone.
#[derive(Clone)]
pub struct LogReader {
    pub(super) state: Arc<RwLock<State>>,
}

impl std::fmt::Debug for LogReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogReader")
            .field("base", &self.base())
            .field("last", &self.last())
            .finish()
    }
}

impl LogReader {
    /// Entries from `from` on, in order: at least one if `from` is in the log, and no more than fit
    /// into `max_bytes` of payload. Fewer than asked for is normal; nothing means that `from` lies
    /// above the last entry. Appended entries are seen at once, synced or not.
    ///
    /// # Errors
    /// [`LogError::Released`] at or below the base; [`LogError::Io`] and [`LogError::Corrupt`] when
    /// the disk does not give back what was written.
    pub fn read(&self, from: Index, max_bytes: usize) -> Result<Vec<Entry>, LogError> {
        let place = {
            let state = self.state.read();
            if from <= state.base.index {
                return Err(LogError::Released {
                    asked: from,
                    first: state.base.index.next(),
                });
            }
            if from > state.last.index {
                return Ok(Vec::new());
            }
            if let Some(entries) = state.cache.read(from, max_bytes) {
                return Ok(entries);
            }
            state.place_of(from)
        };
        place.read(from, max_bytes)
    }

    /// As [`LogReader::read`], as frames for the wire. Nothing when `from` lies above the last entry.
    pub fn frames(&self, from: Index, max_bytes: usize) -> Result<Option<Frames>, LogError> {
        let entries = self.read(from, max_bytes)?;
        let Some(last) = entries.last().map(|entry| entry.position) else {
            return Ok(None);
        };
        let total = entries
            .iter()
            .map(|entry| frame_bytes(entry.payload.len()))
            .sum();
        let mut bytes = BytesMut::with_capacity(total);
        for entry in &entries {
            encode_frame(Seal::WIRE, 0, entry, &mut bytes);
        }
        Ok(Some(Frames {
            bytes: bytes.freeze(),
            count: entries.len(),
            last,
        }))
    }

    /// The position just before the first entry.
    #[must_use]
    pub fn base(&self) -> Position {
        self.state.read().base
    }

    /// The last entry's position, synced or not; the base when there is none.
    #[must_use]
    pub fn last(&self) -> Position {
        self.state.read().last
    }

    /// Each epoch in the log with the first index it has there, ascending.
    #[must_use]
    pub fn epochs(&self) -> Vec<(Epoch, Index)> {
        self.state.read().epochs.clone()
    }

    /// The position of the entry `index`, or of the base. Nothing outside the log.
    #[must_use]
    pub fn position_of(&self, index: Index) -> Option<Position> {
        self.state.read().position_of(index)
    }
}
