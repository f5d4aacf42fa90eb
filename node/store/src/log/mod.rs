//! The commit log: the only file that is synced on the way of a write, and the truth that everything
//! else on the volume can be rebuilt from.
//!
//! A log is a chain of segment files in one directory (`docs/disk-format.md` has every byte). One
//! [`LogWriter`] appends, syncs, cuts and releases; any number of [`LogReader`]s read beside it. The
//! log never decides what is committed and never looks into a payload.
//!
//! After [`LogError::Io`] the process must end: nothing is known about the file any more, and only
//! a fresh look at the disk can tell what survived.

mod cache;
mod frame;
mod reader;
mod recovery;
mod segment;
mod spares;
mod writer;

pub use frame::{
    FRAME_ALIGN_BYTES, FRAME_HEADER_BYTES, Frame, FrameError, Seal, decode_frame, encode_frame,
    frame_bytes,
};
pub use reader::{Frames, LogReader};
pub use segment::FRAMES_START;
pub use writer::LogWriter;

use std::io;
use std::path::Path;
use std::sync::Arc;

use standby_core::{Epoch, Index, Position};

use crate::disk::{DirectoryDisk, Disk};
use crate::limits;

/// How a log is kept.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Size of one segment file, in bytes: a multiple of 4096 from
    /// [`limits::SEGMENT_MIN_BYTES`] to [`limits::SEGMENT_MAX_BYTES`].
    pub segment_bytes: u64,
    /// How much of the log's end is kept in memory, in bytes.
    pub cache_bytes: usize,
    /// Whether a helper thread fills the next segment file with zeros ahead of its use. Without it
    /// the writer does so itself when it needs the file (for tests that count every disk access).
    pub prepare_ahead: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: limits::SEGMENT_BYTES,
            cache_bytes: limits::CACHE_BYTES,
            prepare_ahead: true,
        }
    }
}

/// What opening a log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The position just before the first entry: [`Position::START`], or what a snapshot set, or
    /// what was released.
    pub base: Position,
    /// The last entry; equal to `base` when there is none.
    pub last: Position,
    /// Each epoch in the log with the first index it has there, ascending.
    pub epochs: Vec<(Epoch, Index)>,
    /// A tail that was being written when the process or machine died, and was cut.
    pub torn: Option<TornTail>,
    /// Corruption of what was known to be durable. The log offers only what lies before it, and
    /// refuses to append. The node must not be primary, and must fetch what it lost from a peer, as
    /// a volume with a new identity: see [`LogWriter::truncate_after`] and [`LogWriter::reset`].
    pub damaged: Option<Damage>,
}

/// A tail that was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The last entry that was kept.
    pub after: Position,
    /// Bytes that were cut, as far as they could be told from what a recycled file held before.
    pub bytes: u64,
}

/// Where the log is corrupt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("log segment {segment:016x} is damaged at byte {offset}, after entry {after}: {what}")]
pub struct Damage {
    /// The segment's number, which is also its file's name.
    pub segment: u64,
    /// Offset in that file, in bytes.
    pub offset: u64,
    /// The last good entry before it.
    pub after: Position,
    /// What is wrong there.
    pub what: &'static str,
}

/// Why the log did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk failed. **The process must end**: what of the last writes is on the disk is unknown,
    /// and a later sync that succeeds proves nothing. The writer refuses every later call.
    #[error("log: cannot {doing}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// An earlier call failed with [`LogError::Io`]. **The process must end.**
    #[error("log: an earlier write or sync failed; the process must end")]
    Poisoned,
    /// There is no room for another segment file. Nothing was written; the log is as before.
    #[error("log: no disk space for another segment of {needed_bytes} bytes; free some")]
    NoSpace {
        /// Size of the file that did not fit, in bytes.
        needed_bytes: u64,
    },
    /// An entry does not fit into a segment. Nothing was written.
    #[error("log: the payload of entry {index} has {given_bytes} bytes, at most {most_bytes} fit")]
    TooLarge {
        /// The entry.
        index: Index,
        /// Size of its payload, in bytes.
        given_bytes: usize,
        /// The largest payload that fits, in bytes.
        most_bytes: usize,
    },
    /// The entry asked for lies below what the log still holds: a snapshot is needed.
    #[error("log: entry {asked} was released, the log begins at {first}")]
    Released {
        /// What was asked for.
        asked: Index,
        /// The first entry that is held (or the next to be written).
        first: Index,
    },
    /// What was written can no longer be read. **The process must end**; opening the log again tells
    /// what is left.
    #[error("log: entry {index} cannot be read back")]
    Corrupt {
        /// The entry.
        index: Index,
        /// What is wrong with its frame.
        #[source]
        source: FrameError,
    },
    /// The log was opened damaged and neither cut nor reset since; nothing was written.
    #[error("log: refusing to append to a damaged log")]
    Damaged(#[source] Damage),
    /// The options make no sense.
    #[error("log: {field} is {given}, must be {must}")]
    Option {
        /// The field of [`LogOptions`].
        field: &'static str,
        /// What was given.
        given: u64,
        /// What would be right.
        must: &'static str,
    },
    /// A newer version of this program wrote the log.
    #[error("log segment {segment:016x} has format version {found}, this program knows {known}")]
    Version {
        /// The segment's number.
        segment: u64,
        /// What its header says.
        found: u32,
        /// What this program reads.
        known: u32,
    },
}

impl LogError {
    /// Whether the process must end.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::Io { .. } | Self::Poisoned | Self::Corrupt { .. }
        )
    }

    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}

/// The commit log of one node.
#[derive(Debug)]
pub struct Log;

impl Log {
    /// Opens the log in the directory `dir`, making it if it is not there, and repairs what a crash
    /// left: a torn tail is cut. Every frame is read and checked. Everything that [`Recovered`]
    /// tells is durable when this returns.
    ///
    /// # Errors
    /// [`LogError::Io`], [`LogError::Option`], [`LogError::Version`]; [`LogError::NoSpace`] when a
    /// fresh segment is needed and does not fit. Damage is no error here but told in [`Recovered`].
    pub fn open(
        dir: &Path,
        options: LogOptions,
    ) -> Result<(LogWriter, LogReader, Recovered), LogError> {
        let disk = DirectoryDisk::open(dir).map_err(LogError::io("open the log's directory"))?;
        Self::open_on(Arc::new(disk), options)
    }

    /// As [`Log::open`], on a disk of the caller's.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        options: LogOptions,
    ) -> Result<(LogWriter, LogReader, Recovered), LogError> {
        options.check()?;
        let found = recovery::recover(disk.as_ref())?;
        LogWriter::start(disk, &options, found)
    }
}

impl LogOptions {
    fn check(&self) -> Result<(), LogError> {
        let range = limits::SEGMENT_MIN_BYTES..=limits::SEGMENT_MAX_BYTES;
        if !range.contains(&self.segment_bytes) || !self.segment_bytes.is_multiple_of(4096) {
            return Err(LogError::Option {
                field: "segment_bytes",
                given: self.segment_bytes,
                must: "a multiple of 4096 from 16 KiB to 1 GiB",
            });
        }
        Ok(())
    }
}
