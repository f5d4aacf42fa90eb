//! The one owner of the log's end: appends, syncs, cuts, releases.
//!
//! Order is what makes it safe: a segment is synced before the next one begins, a segment's name is
//! durable before its header is written, and its header before its first frame. A cut never wipes
//! frames: it begins a segment whose base is the cut, and that outlaws what earlier ones hold above.

mod start;

use std::sync::Arc;

use parking_lot::RwLock;
use standby_core::{Entry, Epoch, Index, Position};
use uuid::Uuid;

use super::frame::{FRAME_HEADER_BYTES, encode_frame, frame_bytes};
use super::reader::State;
use super::recovery::LooseFile;
use super::segment::{Begin, FRAMES_START, Header, Segment, segment_name, spare_name, write_mark};
use super::spares::Spares;
use super::{Damage, LogError};
use crate::disk::Disk;
use crate::limits::{FRAME_PAYLOAD_MAX_BYTES, KEPT_BUFFER_BYTES};

/// The log's end. One thread owns it.
pub struct LogWriter {
    disk: Arc<dyn Disk>,
    state: Arc<RwLock<State>>,
    spares: Spares,
    segment_bytes: u64,
    /// Where in the newest segment the next frame goes.
    end: u32,
    /// Below this offset the newest segment is durable.
    durable: u32,
    /// What the newest segment's mark says.
    marked: u32,
    synced: Position,
    poisoned: bool,
    damaged: Option<Damage>,
    /// Files beyond the damage, kept until the damage is dealt with.
    beyond: Vec<LooseFile>,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogWriter")
            .field("base", &self.base())
            .field("last", &self.last())
            .field("synced", &self.synced)
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}

impl LogWriter {
    /// Appends entries. They are readable at once and durable after [`LogWriter::sync`].
    ///
    /// # Errors
    /// [`LogError::TooLarge`], [`LogError::NoSpace`] and [`LogError::Damaged`] leave the log as it
    /// was. After [`LogError::Io`] the process must end.
    ///
    /// # Panics
    /// If an index is not the one after the last, or an epoch is below the last one's.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        self.check_whole()?;
        self.check_entries(entries)?;
        let new_segments = self.segments_needed(entries);
        self.guarded(|log| {
            log.spares.reserve(new_segments)?;
            let mut rest = entries;
            loop {
                let fitting = log.fitting(rest);
                let (now, later) = rest.split_at(fitting);
                log.write(now)?;
                if later.is_empty() {
                    return Ok(());
                }
                log.sync_newest()?;
                log.roll()?;
                rest = later;
            }
        })?;
        self.spares.prepare_ahead();
        Ok(())
    }

    /// Makes everything appended durable.
    ///
    /// # Errors
    /// After [`LogError::Io`] the process must end.
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.check_usable()?;
        self.guarded(Self::sync_newest)
    }

    /// Notes on the disk how far the log is durable. Every frame does so for the ones before it; this
    /// does it for the last ones, so that their damage is noticed too and not taken for a torn tail.
    /// For quiet moments (after a second without writes, at a planned end): it costs a sync, and
    /// nothing if nothing is new.
    ///
    /// # Errors
    /// After [`LogError::Io`] the process must end.
    pub fn mark(&mut self) -> Result<(), LogError> {
        self.check_whole()?;
        if self.marked == self.end {
            return Ok(());
        }
        self.guarded(|log| {
            log.sync_newest()?;
            let (file, seal) =
                log.newest(|newest| (Arc::clone(&newest.file), newest.header.seal()));
            write_mark(file.as_ref(), seal, log.durable).map_err(LogError::io("write a mark"))?;
            file.sync().map_err(LogError::io("sync a segment"))?;
            log.marked = log.durable;
            Ok(())
        })
    }

    /// Cuts every entry above `index`, durably: no crash brings one back. Ends damage, which is for a
    /// volume that has already given up its identity.
    ///
    /// # Errors
    /// [`LogError::NoSpace`] leaves the log as it was. After [`LogError::Io`] the process must end.
    ///
    /// # Panics
    /// If `index` is not in the log and not its base's.
    pub fn truncate_after(&mut self, index: Index) -> Result<(), LogError> {
        self.check_usable()?;
        let cut = self.state.read().position_of(index);
        let cut = cut.expect("an entry is cut at most back to the base, and at least at the end");
        if self.state.read().segments.is_empty() {
            return self.reset(cut);
        }
        if cut == self.last() && self.damaged.is_none() {
            return Ok(());
        }
        self.guarded(|log| {
            log.spares.reserve(1)?;
            log.sync_newest()?;
            let newest = log.begin_segment(cut, Begin::Continue)?;
            log.replace_dead(newest, |old| old.header.base.index >= cut.index)
        })
    }

    /// Empties the log: `base` is what a snapshot holds, the next entry is the one after it. A crash
    /// leaves either the old log or the new one. Ends damage, like [`LogWriter::truncate_after`].
    ///
    /// # Errors
    /// [`LogError::NoSpace`] leaves the log as it was. After [`LogError::Io`] the process must end.
    pub fn reset(&mut self, base: Position) -> Result<(), LogError> {
        self.check_usable()?;
        self.guarded(|log| {
            let newest = log.begin_segment(base, Begin::Reset)?;
            log.replace_dead(newest, |_| true)
        })
    }

    /// Gives back whole segments all of whose entries lie below `index`. The base moves up to the
    /// entry before the first that is kept.
    ///
    /// # Errors
    /// After [`LogError::Io`] the process must end.
    pub fn release_below(&mut self, index: Index) -> Result<(), LogError> {
        self.check_whole()?;
        self.guarded(|log| {
            while let Some(file) = log.release_first(index) {
                log.spares.recycle(file)?;
            }
            Ok(())
        })
    }

    /// The position just before the first entry.
    #[must_use]
    pub fn base(&self) -> Position {
        self.state.read().base
    }

    /// The index of the first entry, or of the next one to be written when there is none.
    #[must_use]
    pub fn first(&self) -> Index {
        self.base().index.next()
    }

    /// The last entry's position; the base when there is none.
    #[must_use]
    pub fn last(&self) -> Position {
        self.state.read().last
    }

    /// The last entry that is durable.
    #[must_use]
    pub fn synced(&self) -> Position {
        self.synced
    }

    /// Each epoch in the log with the first index it has there, ascending.
    #[must_use]
    pub fn epochs(&self) -> Vec<(Epoch, Index)> {
        self.state.read().epochs.clone()
    }

    /// Bytes of disk that the segments take, spare files not counted.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.state
            .read()
            .segments
            .iter()
            .map(|segment| u64::from(segment.size))
            .sum()
    }

    /// The largest payload that an entry can have, in bytes.
    #[must_use]
    pub fn payload_max_bytes(&self) -> usize {
        let room = usize::try_from(self.segment_bytes - u64::from(FRAMES_START));
        room.map_or(FRAME_PAYLOAD_MAX_BYTES, |room| {
            (room - FRAME_HEADER_BYTES).min(FRAME_PAYLOAD_MAX_BYTES)
        })
    }

    fn check_usable(&self) -> Result<(), LogError> {
        if self.poisoned {
            Err(LogError::Poisoned)
        } else {
            Ok(())
        }
    }

    fn check_whole(&self) -> Result<(), LogError> {
        self.check_usable()?;
        self.damaged
            .clone()
            .map_or(Ok(()), |damage| Err(LogError::Damaged(damage)))
    }

    /// Runs what touches the disk; a failure of the disk ends all further use.
    fn guarded(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let outcome = act(self);
        self.poisoned |= outcome.as_ref().is_err_and(LogError::is_fatal);
        outcome
    }

    fn check_entries(&self, entries: &[Entry]) -> Result<(), LogError> {
        let most_bytes = self.payload_max_bytes();
        let mut last = self.last();
        for Entry {
            position, payload, ..
        } in entries
        {
            assert_eq!(position.index, last.index.next(), "the log is dense");
            assert!(
                position.epoch >= last.epoch,
                "epochs never go back: {position} after {last}"
            );
            last = *position;
            if payload.len() > most_bytes {
                let (index, given_bytes) = (position.index, payload.len());
                return Err(LogError::TooLarge {
                    index,
                    given_bytes,
                    most_bytes,
                });
            }
        }
        Ok(())
    }

    fn newest<T>(&self, take: impl FnOnce(&Segment) -> T) -> T {
        take(
            self.state
                .read()
                .segments
                .back()
                .expect("an undamaged log has a segment"),
        )
    }

    /// How many segments have to be begun for these entries.
    fn segments_needed(&self, entries: &[Entry]) -> usize {
        let mut at = u64::from(self.end);
        let mut size = self.newest(|newest| u64::from(newest.size));
        let mut count = 0;
        for entry in entries {
            let bytes = frame_bytes(entry.payload.len()) as u64;
            if at + bytes > size {
                count += 1;
                (at, size) = (u64::from(FRAMES_START), self.segment_bytes);
            }
            at += bytes;
        }
        count
    }

    /// How many of the entries fit into the newest segment.
    fn fitting(&self, entries: &[Entry]) -> usize {
        let size = self.newest(|newest| u64::from(newest.size));
        let mut at = u64::from(self.end);
        let fits = |entry: &&Entry| {
            at += frame_bytes(entry.payload.len()) as u64;
            at <= size
        };
        entries.iter().take_while(fits).count()
    }

    /// Writes entries that fit to the newest segment, in one write.
    fn write(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        if entries.is_empty() {
            return Ok(());
        }
        let (file, seal) = self.newest(|newest| (Arc::clone(&newest.file), newest.header.seal()));
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        for entry in entries {
            encode_frame(seal, self.durable, entry, &mut buffer);
        }
        file.write_at(&buffer, u64::from(self.end))
            .map_err(LogError::io("write a segment"))?;
        let written = u32::try_from(buffer.len()).expect("the entries fit into the segment");
        self.end += written;
        buffer.shrink_to(KEPT_BUFFER_BYTES);
        self.buffer = buffer;
        let mut state = self.state.write();
        for entry in entries {
            state.push(entry);
        }
        Ok(())
    }

    fn sync_newest(&mut self) -> Result<(), LogError> {
        if self.durable == self.end {
            return Ok(());
        }
        let file = self.newest(|newest| Arc::clone(&newest.file));
        file.sync().map_err(LogError::io("sync a segment"))?;
        self.durable = self.end;
        self.synced = self.last();
        Ok(())
    }

    /// Begins a segment, durably. What came before must be durable, unless it is to be forgotten.
    fn begin_segment(&mut self, base: Position, begin: Begin) -> Result<Segment, LogError> {
        self.spares.reserve(1)?;
        let spare = self.spares.take();
        let id = self.spares.next_id();
        let (salt, _) = Uuid::new_v4().as_u64_pair();
        let size = u32::try_from(self.segment_bytes).expect("checked with the options");
        let header = Header {
            id,
            salt,
            base,
            begin,
            size,
        };
        self.disk
            .rename(&spare_name(spare.id), &segment_name(id))
            .and_then(|()| self.disk.sync_names())
            .map_err(LogError::io("name a segment"))?;
        header
            .write(spare.file.as_ref())
            .and_then(|()| spare.file.sync())
            .map_err(LogError::io("write a segment's header"))?;
        (self.end, self.durable, self.marked) = (FRAMES_START, FRAMES_START, FRAMES_START);
        Ok(Segment::new(header, spare.file, size))
    }

    /// Goes on in a new segment. What came before is durable.
    fn roll(&mut self) -> Result<(), LogError> {
        let segment = self.begin_segment(self.last(), Begin::Continue)?;
        self.state.write().segments.push_back(segment);
        Ok(())
    }

    /// After a segment was begun that cuts: goes on in it, forgets what it cut, and gives the files
    /// of the dead segments back.
    fn replace_dead(
        &mut self,
        newest: Segment,
        dead: impl Fn(&Segment) -> bool,
    ) -> Result<(), LogError> {
        let cut = newest.header.base;
        let mut guard = self.state.write();
        let state = &mut *guard;
        let (gone, kept): (Vec<_>, Vec<_>) = state.segments.drain(..).partition(|it| dead(it));
        state.segments = kept.into();
        if state.segments.is_empty() {
            state.base = cut;
            state.epochs.clear();
            state.cache.clear();
        }
        state.segments.push_back(newest);
        state.last = cut;
        state.epochs.retain(|(_, first)| *first <= cut.index);
        state.cache.truncate_after(cut.index);
        drop(guard);
        self.synced = cut;
        self.damaged = None;
        let gone = gone.into_iter().map(|it| LooseFile {
            id: it.header.id,
            file: it.file,
        });
        for file in gone
            .chain(std::mem::take(&mut self.beyond))
            .collect::<Vec<_>>()
        {
            self.spares.recycle(file)?;
        }
        Ok(())
    }

    /// Takes the oldest segment out of the chain, if it is not the newest and lies below `index`.
    fn release_first(&mut self, index: Index) -> Option<LooseFile> {
        let mut state = self.state.write();
        let next = state.segments.get(1)?.header.base;
        if next.index >= index {
            return None;
        }
        let old = state.segments.pop_front()?;
        state.base = next;
        let above = next.index.next();
        let gone = state.epochs.partition_point(|(_, first)| *first <= above);
        state.epochs.drain(..gone.saturating_sub(1));
        if let Some((_, first)) = state.epochs.first_mut() {
            *first = (*first).max(above);
        }
        Some(LooseFile {
            id: old.header.id,
            file: old.file,
        })
    }
}
