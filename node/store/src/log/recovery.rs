//! What a log directory holds after whatever happened to it: which segments count, where the log
//! ends, and whether its end was torn or its inside is damaged.
//!
//! Reads only: nothing on the disk is changed here, the writer does that with what was found.

use std::io;
use std::sync::Arc;

use standby_core::{Epoch, Index, Position};

use super::frame::{
    FRAME_ALIGN_BYTES, FRAME_HEADER_BYTES, FrameError, Seal, check_frame, claimed_segment,
    frame_bytes,
};
use super::reader::note_epoch;
use super::segment::{
    Begin, FRAMES_START, FileKind, Header, NoHeader, Segment, parse_name, read_mark, segment_name,
    spare_name,
};
use super::{Damage, LogError, TornTail};
use crate::disk::{Disk, DiskFile};
use crate::limits::{SCAN_CHUNK_BYTES, SEGMENT_MAX_BYTES};

/// A file of the log that holds nothing of it.
pub(super) struct LooseFile {
    pub id: u64,
    pub file: Arc<dyn DiskFile>,
}

/// Everything that was found.
pub(super) struct Found {
    /// The chain, oldest first. Empty for a new log, or when nothing is usable.
    pub segments: Vec<Segment>,
    pub base: Position,
    pub last: Position,
    pub epochs: Vec<(Epoch, Index)>,
    /// Segment files that hold nothing of the log (or, if damaged, nothing that can be offered).
    pub dead: Vec<LooseFile>,
    pub spares: Vec<LooseFile>,
    /// Above every segment number that any file here has had.
    pub next_id: u64,
    /// Offset in the newest segment below which everything is known to be durable.
    pub proven: u32,
    /// Whether the newest segment holds frames after its end, so that it must not be continued.
    pub leftovers: bool,
    pub torn: Option<TornTail>,
    pub damaged: Option<Damage>,
}

/// A segment file, and its header if it has one.
struct Candidate {
    id: u64,
    file: Arc<dyn DiskFile>,
    size: u32,
    header: Option<Header>,
}

/// Looks at the whole directory and reads every frame that counts.
pub(super) fn recover(disk: &dyn Disk) -> Result<Found, LogError> {
    let mut found = Found {
        segments: Vec::new(),
        base: Position::START,
        last: Position::START,
        epochs: Vec::new(),
        dead: Vec::new(),
        spares: Vec::new(),
        next_id: 1,
        proven: FRAMES_START,
        leftovers: false,
        torn: None,
        damaged: None,
    };
    let mut candidates = list(disk, &mut found)?;
    set_unborn_aside(&mut candidates, &mut found)?;
    let live = set_dead_aside(candidates, &mut found);
    read_chain(live, &mut found)?;
    Ok(found)
}

fn list(disk: &dyn Disk, found: &mut Found) -> Result<Vec<Candidate>, LogError> {
    let mut candidates = Vec::new();
    for name in disk
        .list()
        .map_err(LogError::io("list the log's directory"))?
    {
        let Some(kind) = parse_name(&name) else {
            continue;
        };
        let (FileKind::Segment(id) | FileKind::Spare(id)) = kind;
        found.next_id = found.next_id.max(id.saturating_add(1));
        match kind {
            FileKind::Spare(_) => {
                let file = disk
                    .open(&spare_name(id))
                    .map_err(LogError::io("open a spare file"))?;
                found.spares.push(LooseFile { id, file });
            }
            FileKind::Segment(_) => candidates.push(open_candidate(disk, id)?),
        }
    }
    candidates.sort_by_key(|candidate| candidate.id);
    found.spares.sort_by_key(|spare| spare.id);
    Ok(candidates)
}

fn open_candidate(disk: &dyn Disk, id: u64) -> Result<Candidate, LogError> {
    let file = disk
        .open(&segment_name(id))
        .map_err(LogError::io("open a segment"))?;
    let size = file
        .size()
        .map_err(LogError::io("ask for a segment's size"))?;
    let size = u32::try_from(size.min(SEGMENT_MAX_BYTES)).expect("the bound has 32 bits");
    let read = Header::read(file.as_ref(), id).map_err(LogError::io("read a segment's header"))?;
    let header = match read {
        Ok(header) => Some(header),
        Err(NoHeader::Invalid) => None,
        Err(NoHeader::Version(version)) => {
            let known = super::segment::FORMAT_VERSION;
            return Err(LogError::Version {
                segment: id,
                found: version,
                known,
            });
        }
    };
    Ok(Candidate {
        id,
        file,
        size,
        header,
    })
}

/// The newest segment may have no header because the process died before it was written; frames are
/// written only after the header is durable, so such a segment has none.
fn set_unborn_aside(candidates: &mut Vec<Candidate>, found: &mut Found) -> Result<(), LogError> {
    let Some(newest) = candidates.pop_if(|newest| newest.header.is_none()) else {
        return Ok(());
    };
    let mut head = [0; FRAME_HEADER_BYTES];
    let count = newest
        .file
        .read_at(&mut head, u64::from(FRAMES_START))
        .map_err(LogError::io("read a segment"))?;
    if claimed_segment(&head[..count]) == Some(newest.id) {
        candidates.push(newest);
    } else {
        found.dead.push(LooseFile {
            id: newest.id,
            file: newest.file,
        });
    }
    Ok(())
}

/// A later segment cuts everything at and above its base from the earlier ones, and one that resets
/// the log cuts all of them.
fn set_dead_aside(
    candidates: Vec<Candidate>,
    found: &mut Found,
) -> Vec<(Candidate, Option<Index>)> {
    let mut live = Vec::new();
    let mut limit: Option<Index> = None;
    let mut reset = false;
    for candidate in candidates.into_iter().rev() {
        let dead = reset
            || match (candidate.header, limit) {
                (Some(header), Some(limit)) => header.base.index >= limit,
                _ => false,
            };
        reset |= candidate
            .header
            .is_some_and(|header| header.begin == Begin::Reset);
        if dead {
            found.dead.push(LooseFile {
                id: candidate.id,
                file: candidate.file,
            });
            continue;
        }
        let base = candidate.header.map(|header| header.base.index);
        live.push((candidate, limit));
        limit = base.or(limit);
    }
    live.reverse();
    live
}

fn read_chain(live: Vec<(Candidate, Option<Index>)>, found: &mut Found) -> Result<(), LogError> {
    let newest = live.last().map(|(candidate, _)| candidate.id);
    for (candidate, limit) in live {
        let loose = LooseFile {
            id: candidate.id,
            file: Arc::clone(&candidate.file),
        };
        if found.damaged.is_some() {
            found.dead.push(loose);
            continue;
        }
        let Some(header) = candidate.header else {
            found.dead.push(loose);
            // One in the middle needs no word: the segment before it must reach the one after it.
            if found.segments.is_empty() || newest == Some(candidate.id) {
                let at = (candidate.id, 0);
                found.damaged = Some(damage(at, found.last, "both copies of the header are bad"));
            }
            continue;
        };
        if found.segments.is_empty() {
            found.base = header.base;
            found.last = header.base;
        } else if found.last != header.base {
            found.damaged = Some(damage(
                (candidate.id, 0),
                found.last,
                "it does not follow the one before",
            ));
            found.dead.push(loose);
            continue;
        }
        let mut segment = Segment::new(header, candidate.file, candidate.size);
        read_segment(&mut segment, limit, found).map_err(LogError::io("read a segment"))?;
        found.segments.push(segment);
    }
    Ok(())
}

fn damage((segment, offset): (u64, u32), after: Position, what: &'static str) -> Damage {
    Damage {
        segment,
        offset: u64::from(offset),
        after,
        what,
    }
}

/// Reads the frames of one segment up to the entry `limit`, which the next one goes on from; all of
/// them if there is no next one.
fn read_segment(segment: &mut Segment, limit: Option<Index>, found: &mut Found) -> io::Result<()> {
    let seal = segment.header.seal();
    let mut scan = Scan::new(Arc::clone(&segment.file), segment.size);
    let mut proven = read_mark(segment.file.as_ref(), seal)?;
    while limit.is_none_or(|limit| found.last.index < limit) {
        let Ok(frame) = scan.frame(seal, segment.end)? else {
            break;
        };
        let follows = frame.position.index == found.last.index.next()
            && frame.position.epoch >= found.last.epoch;
        if !follows {
            break;
        }
        proven = proven.max(frame.durable);
        segment.note(
            frame.position.index,
            u32::try_from(frame.bytes).expect("the frame lies within the segment"),
        );
        note_epoch(&mut found.epochs, frame.position);
        found.last = frame.position;
    }
    let end = (segment.header.id, segment.end);
    match limit {
        Some(limit) if found.last.index < limit => {
            found.damaged = Some(damage(
                end,
                found.last,
                "a frame below the next segment is bad",
            ));
        }
        Some(_) => {}
        None => {
            let tail = scan.tail(seal, segment.end)?;
            found.proven = proven.max(tail.proven);
            if segment.size < segment.header.size {
                let what = "the file is shorter than it was made";
                found.damaged = Some(damage(end, found.last, what));
            } else if found.proven > segment.end {
                found.damaged = Some(damage(
                    end,
                    found.last,
                    "a frame that was known to be durable is bad",
                ));
            } else if tail.bytes > 0 {
                found.leftovers = true;
                found.torn = Some(TornTail {
                    after: found.last,
                    bytes: tail.bytes,
                });
            }
        }
    }
    Ok(())
}

/// What lies after the last good frame.
struct Tail {
    /// What the frames in it say is durable.
    proven: u32,
    /// How far frames of this segment reach, whole or torn.
    bytes: u64,
}

/// A file read in large pieces.
struct Scan {
    file: Arc<dyn DiskFile>,
    size: u32,
    start: u32,
    held: Vec<u8>,
}

impl Scan {
    fn new(file: Arc<dyn DiskFile>, size: u32) -> Self {
        Self {
            file,
            size,
            start: 0,
            held: Vec::new(),
        }
    }

    /// The bytes from `offset` on, `wanted` of them or up to the end of the file.
    fn at(&mut self, offset: u32, wanted: usize) -> io::Result<&[u8]> {
        let wanted = wanted.min(self.size.saturating_sub(offset) as usize);
        let held =
            offset >= self.start && (offset - self.start) as usize + wanted <= self.held.len();
        if !held {
            let most = self.size.saturating_sub(offset) as usize;
            self.held.resize(wanted.max(SCAN_CHUNK_BYTES).min(most), 0);
            let count = self.file.read_at(&mut self.held, u64::from(offset))?;
            self.held.truncate(count);
            self.start = offset;
        }
        let from = ((offset - self.start) as usize).min(self.held.len());
        let to = (from + wanted).min(self.held.len());
        Ok(&self.held[from..to])
    }

    /// The frame at `offset`, if a good one stands there.
    fn frame(
        &mut self,
        seal: Seal,
        offset: u32,
    ) -> io::Result<Result<super::frame::Checked, FrameError>> {
        match check_frame(seal, self.at(offset, FRAME_HEADER_BYTES)?) {
            Err(FrameError::Short { needed }) => {
                let bytes = self.at(offset, needed)?;
                Ok(check_frame(seal, bytes))
            }
            checked => Ok(checked),
        }
    }

    /// Looks for frames of this segment after the last good one, at `end`.
    fn tail(&mut self, seal: Seal, end: u32) -> io::Result<Tail> {
        let step = u32::try_from(FRAME_ALIGN_BYTES).expect("a small number");
        let mut tail = Tail {
            proven: 0,
            bytes: 0,
        };
        let mut offset = end;
        while offset < self.size {
            let head = self.at(offset, FRAME_HEADER_BYTES)?;
            if claimed_segment(head) != Some(seal.segment) {
                offset = offset.saturating_add(step);
                continue;
            }
            let Ok(frame) = self.frame(seal, offset)? else {
                offset = offset.saturating_add(step);
                continue;
            };
            let bytes = u32::try_from(frame.bytes).expect("the frame lies within the segment");
            offset += bytes;
            tail.proven = tail.proven.max(frame.durable);
            tail.bytes = u64::from(offset - end);
        }
        if tail.bytes == 0 {
            tail.bytes = self.torn_bytes(seal, end)?;
        }
        Ok(tail)
    }

    /// Bytes of a frame that was begun at `end` and is not whole, as far as its head can be read.
    fn torn_bytes(&mut self, seal: Seal, end: u32) -> io::Result<u64> {
        let most = u64::from(self.size.saturating_sub(end));
        let head = self.at(end, FRAME_HEADER_BYTES)?;
        if claimed_segment(head) != Some(seal.segment) {
            return Ok(0);
        }
        let payload = u32::from_le_bytes(head[..4].try_into().expect("a range of four bytes"));
        Ok((frame_bytes(payload as usize) as u64).min(most))
    }
}
