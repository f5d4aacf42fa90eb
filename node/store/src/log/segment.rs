//! One segment file: its header, its mark, and where its frames lie. All numbers little-endian.
//!
//! The header stands twice, so that one bad block cannot make a segment look as if it had never been
//! begun. This module never decides what a segment means for the chain; that is recovery's.

use std::io;
use std::sync::Arc;

use standby_core::{Epoch, Index, Position};

use super::frame::Seal;
use crate::disk::DiskFile;

/// Where the first frame of a segment stands.
pub const FRAMES_START: u32 = 8192;

/// The format this program writes, and the only one it reads.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"STBYLOG\n";
const HEADER_BYTES: usize = 64;
const HEADER_COPIES_AT: [u64; 2] = [0, 4096];
const MARK_AT: u64 = 2048;
const MARK_BYTES: usize = 16;

/// How a segment stands to the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// It goes on after its base; entries above the base in earlier segments are cut.
    Continue,
    /// Nothing before it counts any more.
    Reset,
}

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub id: u64,
    pub salt: u64,
    pub base: Position,
    pub begin: Begin,
    /// The file's length when the segment was begun, in bytes.
    pub size: u32,
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoHeader {
    /// Neither copy is whole.
    Invalid,
    /// It is whole and of another format version.
    Version(u32),
}

impl Header {
    pub fn seal(&self) -> Seal {
        Seal::of_segment(self.id, self.salt)
    }

    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.id.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.salt.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.base.index.0.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.base.epoch.0.to_le_bytes());
        bytes[48] = match self.begin {
            Begin::Continue => 1,
            Begin::Reset => 2,
        };
        bytes[52..56].copy_from_slice(&self.size.to_le_bytes());
        let crc = crc32c::crc32c(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER_BYTES], id: u64) -> Result<Self, NoHeader> {
        let mut blank = *bytes;
        blank[12..16].fill(0);
        let word = |at: usize| {
            u64::from_le_bytes(
                bytes[at..at + 8]
                    .try_into()
                    .expect("a range of eight bytes"),
            )
        };
        let half = |at: usize| {
            u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a range of four bytes"))
        };
        if bytes[..8] != MAGIC || crc32c::crc32c(&blank) != half(12) {
            return Err(NoHeader::Invalid);
        }
        if half(8) != FORMAT_VERSION {
            return Err(NoHeader::Version(half(8)));
        }
        let begin = match bytes[48] {
            1 => Begin::Continue,
            2 => Begin::Reset,
            _ => return Err(NoHeader::Invalid),
        };
        // A file that was renamed before its new header was written still has the old one.
        if word(16) != id {
            return Err(NoHeader::Invalid);
        }
        let base = Position::new(Epoch(word(40)), Index(word(32)));
        Ok(Self {
            id,
            salt: word(24),
            base,
            begin,
            size: half(52),
        })
    }

    /// Writes both copies; durable after the file's sync.
    pub fn write(&self, file: &dyn DiskFile) -> io::Result<()> {
        let bytes = self.encode();
        HEADER_COPIES_AT
            .iter()
            .try_for_each(|at| file.write_at(&bytes, *at))
    }

    /// Reads the header of the segment `id` from whichever copy is whole.
    pub fn read(file: &dyn DiskFile, id: u64) -> io::Result<Result<Self, NoHeader>> {
        let mut outcome = Err(NoHeader::Invalid);
        for at in HEADER_COPIES_AT {
            let mut bytes = [0; HEADER_BYTES];
            if file.read_at(&mut bytes, at)? < HEADER_BYTES {
                continue;
            }
            match Self::decode(&bytes, id) {
                Ok(header) => return Ok(Ok(header)),
                Err(NoHeader::Version(found)) => outcome = Err(NoHeader::Version(found)),
                Err(NoHeader::Invalid) => {}
            }
        }
        Ok(outcome)
    }
}

/// Notes in the file that everything below `durable` is durable, for the case that no later frame
/// will say so.
pub(crate) fn write_mark(file: &dyn DiskFile, seal: Seal, durable: u32) -> io::Result<()> {
    let mut bytes = [0; MARK_BYTES];
    bytes[..8].copy_from_slice(&seal.segment.to_le_bytes());
    bytes[8..12].copy_from_slice(&durable.to_le_bytes());
    let crc = crc32c::crc32c_append(seal.seed, &bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    file.write_at(&bytes, MARK_AT)
}

/// The mark of a segment; the start of its frames when there is none.
pub(crate) fn read_mark(file: &dyn DiskFile, seal: Seal) -> io::Result<u32> {
    let mut bytes = [0; MARK_BYTES];
    let whole = file.read_at(&mut bytes, MARK_AT)? == MARK_BYTES;
    let crc = crc32c::crc32c_append(seal.seed, &bytes[..12]);
    if whole && bytes[..8] == seal.segment.to_le_bytes() && bytes[12..] == crc.to_le_bytes() {
        return Ok(u32::from_le_bytes(
            bytes[8..12].try_into().expect("a range of four bytes"),
        ));
    }
    Ok(FRAMES_START)
}

/// A segment of the chain, and where in it frames can be found.
#[derive(Clone)]
pub(crate) struct Segment {
    pub header: Header,
    pub file: Arc<dyn DiskFile>,
    /// The file's length, in bytes.
    pub size: u32,
    /// Where the frame after the last one goes.
    pub end: u32,
    /// Offsets of some frames, ascending; the first frame's is among them.
    pub sparse: Vec<(Index, u32)>,
}

impl Segment {
    pub fn new(header: Header, file: Arc<dyn DiskFile>, size: u32) -> Self {
        Self {
            header,
            file,
            size,
            end: FRAMES_START,
            sparse: Vec::new(),
        }
    }

    /// Takes note of a frame that stands at the end of the segment.
    pub fn note(&mut self, index: Index, bytes: u32) {
        let far = self
            .sparse
            .last()
            .is_none_or(|(_, at)| u64::from(self.end - at) >= crate::limits::SPARSE_INDEX_BYTES);
        if far {
            self.sparse.push((index, self.end));
        }
        self.end += bytes;
    }

    /// Where to begin to look for `index`.
    pub fn offset_before(&self, index: Index) -> u32 {
        let after = self.sparse.partition_point(|(known, _)| *known <= index);
        after
            .checked_sub(1)
            .map_or(FRAMES_START, |at| self.sparse[at].1)
    }
}

/// The name of a segment's file.
pub(crate) fn segment_name(id: u64) -> String {
    format!("{id:016x}.segment")
}

/// The name of a spare file that last held the segment `id`, or none yet.
pub(crate) fn spare_name(id: u64) -> String {
    format!("{id:016x}.spare")
}

/// What a file name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Segment(u64),
    Spare(u64),
}

/// The reverse of [`segment_name`] and [`spare_name`]; none for files that are not the log's.
pub(crate) fn parse_name(name: &str) -> Option<FileKind> {
    let (number, suffix) = name.split_once('.')?;
    if number.len() != 16 {
        return None;
    }
    let id = u64::from_str_radix(number, 16).ok()?;
    match suffix {
        "segment" => Some(FileKind::Segment(id)),
        "spare" => Some(FileKind::Spare(id)),
        _ => None,
    }
}
