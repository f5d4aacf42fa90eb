//! From what recovery found to a log that can be written: makes durable what was read, sets aside what
//! is dead, and goes on in a fresh segment where the old end cannot be trusted.

use std::sync::Arc;

use parking_lot::RwLock;

use super::LogWriter;
use crate::disk::Disk;
use crate::log::cache::Cache;
use crate::log::reader::{LogReader, State};
use crate::log::recovery::{Found, LooseFile};
use crate::log::segment::{FRAMES_START, Segment};
use crate::log::spares::Spares;
use crate::log::{LogError, LogOptions, Recovered};

impl LogWriter {
    pub(in crate::log) fn start(
        disk: Arc<dyn Disk>,
        options: &LogOptions,
        found: Found,
    ) -> Result<(Self, LogReader, Recovered), LogError> {
        let recovered = Recovered {
            base: found.base,
            last: found.last,
            epochs: found.epochs.clone(),
            torn: found.torn,
            damaged: found.damaged.clone(),
        };
        let end = found
            .segments
            .last()
            .map_or(FRAMES_START, |newest| newest.end);
        let state = Arc::new(RwLock::new(State {
            base: found.base,
            last: found.last,
            segments: found.segments.into(),
            epochs: found.epochs,
            cache: Cache::new(options.cache_bytes),
        }));
        let spares = Spares::new(
            Arc::clone(&disk),
            options.segment_bytes,
            found.next_id,
            options.prepare_ahead,
        )?;
        let mut writer = Self {
            disk,
            state: Arc::clone(&state),
            spares,
            segment_bytes: options.segment_bytes,
            end,
            durable: FRAMES_START,
            marked: FRAMES_START,
            synced: recovered.last,
            poisoned: false,
            damaged: found.damaged,
            beyond: Vec::new(),
            buffer: Vec::new(),
        };
        for spare in found.spares {
            writer.spares.adopt(spare)?;
        }
        if writer.damaged.is_some() {
            writer.beyond = found.dead;
        } else {
            writer.repair(found.proven, found.leftovers, found.dead)?;
        }
        writer.spares.prepare_ahead();
        Ok((writer, LogReader { state }, recovered))
    }

    /// Makes durable what was found, and makes the log writable.
    fn repair(
        &mut self,
        proven: u32,
        leftovers: bool,
        dead: Vec<LooseFile>,
    ) -> Result<(), LogError> {
        let newest = self.state.read().segments.back().cloned();
        if let Some(newest) = newest {
            self.make_durable(&newest, proven)?;
        }
        for file in dead {
            self.spares.recycle(file)?;
        }
        if leftovers || self.state.read().segments.is_empty() {
            self.roll()?;
        }
        Ok(())
    }

    /// What is read back may come from memory only: after a sync that failed, the system may take
    /// unwritten pages for written. So the unproven end is written once more and then synced.
    fn make_durable(&mut self, newest: &Segment, proven: u32) -> Result<(), LogError> {
        let file = newest.file.as_ref();
        newest
            .header
            .write(file)
            .map_err(LogError::io("write a segment's header"))?;
        let mut unproven = vec![0; newest.end.saturating_sub(proven) as usize];
        let count = file
            .read_at(&mut unproven, u64::from(proven))
            .map_err(LogError::io("read a segment"))?;
        assert_eq!(count, unproven.len(), "recovery has read these frames");
        file.write_at(&unproven, u64::from(proven))
            .map_err(LogError::io("write a segment"))?;
        file.sync().map_err(LogError::io("sync a segment"))?;
        self.disk
            .sync_names()
            .map_err(LogError::io("sync the log's directory"))?;
        self.durable = newest.end;
        self.marked = proven;
        Ok(())
    }
}
