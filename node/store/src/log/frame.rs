//! The frame: how one entry is written, in a segment and on the wire. All numbers little-endian.
//!
//! ```text
//!  0      4      8              16             24             32      36   37      40
//!  | size | crc  | index        | epoch        | segment      |durable|kind|0 0 0  | payload, 0..7 zeros
//! ```
//!
//! `crc` is a CRC-32C over everything but itself and the padding, started from the seed of the seal.
//! A frame of another segment carries another segment number, so what a recycled file still holds of
//! its former life never passes for a frame of the present one. This module never does IO.

use bytes::{BufMut, Bytes};
use standby_core::{Entry, EntryKind, Epoch, Index, Position};

use crate::limits::FRAME_PAYLOAD_MAX_BYTES;

/// Bytes of a frame before its payload.
pub const FRAME_HEADER_BYTES: usize = 40;

/// Frames start at multiples of this.
pub const FRAME_ALIGN_BYTES: usize = 8;

/// Where the segment number stands in a frame.
const SEGMENT_AT: usize = 24;

/// What binds frames to the place they were written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The segment's number; zero on the wire.
    pub segment: u64,
    /// What the checksum starts from.
    pub seed: u32,
}

impl Seal {
    /// The seal of frames that travel between nodes.
    pub const WIRE: Self = Self {
        segment: 0,
        seed: 0,
    };

    /// The seal of a segment. The salt is random, so that nobody who writes payloads can make one
    /// that contains a valid frame.
    #[must_use]
    pub fn of_segment(segment: u64, salt: u64) -> Self {
        let seed =
            crc32c::crc32c_append(crc32c::crc32c(&segment.to_le_bytes()), &salt.to_le_bytes());
        Self { segment, seed }
    }
}

/// A frame that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it carries.
    pub entry: Entry,
    /// The offset in its segment below which everything was durable when it was written; zero on
    /// the wire.
    pub durable: u32,
    /// Bytes it takes, padding included.
    pub bytes: usize,
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// More bytes are needed to tell; the number is how many from the frame's start.
    #[error("frame is cut short: needs {needed} bytes")]
    Short {
        /// Bytes from the frame's start.
        needed: usize,
    },
    /// It claims a payload that no frame can have.
    #[error(
        "frame claims a payload of {given} bytes, at most {FRAME_PAYLOAD_MAX_BYTES} are allowed"
    )]
    TooLarge {
        /// The claim.
        given: usize,
    },
    /// It was written for another segment, or is no frame at all.
    #[error("frame belongs to segment {given}, not {expected}")]
    Foreign {
        /// What it says.
        given: u64,
        /// What it should say.
        expected: u64,
    },
    /// Checksum or kind is wrong.
    #[error("frame is damaged: its checksum does not match")]
    Damaged,
}

/// Bytes that a frame with such a payload takes, padding included.
#[must_use]
pub const fn frame_bytes(payload: usize) -> usize {
    (FRAME_HEADER_BYTES + payload).next_multiple_of(FRAME_ALIGN_BYTES)
}

fn checksum(seal: Seal, head: &[u8], payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(seal.seed, &head[..4]);
    let crc = crc32c::crc32c_append(crc, &head[8..FRAME_HEADER_BYTES]);
    crc32c::crc32c_append(crc, payload)
}

/// Writes `entry` as a frame to the end of `out`. `durable`: see [`Frame::durable`].
///
/// # Panics
/// If the payload is larger than [`FRAME_PAYLOAD_MAX_BYTES`]; the log and the proposer check first.
pub fn encode_frame(seal: Seal, durable: u32, entry: &Entry, out: &mut impl BufMut) {
    let size = u32::try_from(entry.payload.len())
        .ok()
        .filter(|size| *size as usize <= FRAME_PAYLOAD_MAX_BYTES)
        .expect("payload sizes are checked before frames are written");
    let mut head = [0; FRAME_HEADER_BYTES];
    head[..4].copy_from_slice(&size.to_le_bytes());
    head[8..16].copy_from_slice(&entry.position.index.0.to_le_bytes());
    head[16..24].copy_from_slice(&entry.position.epoch.0.to_le_bytes());
    head[SEGMENT_AT..32].copy_from_slice(&seal.segment.to_le_bytes());
    head[32..36].copy_from_slice(&durable.to_le_bytes());
    head[36] = entry.kind.as_byte();
    let crc = checksum(seal, &head, &entry.payload);
    head[4..8].copy_from_slice(&crc.to_le_bytes());
    out.put_slice(&head);
    out.put_slice(&entry.payload);
    let padding = frame_bytes(entry.payload.len()) - FRAME_HEADER_BYTES - entry.payload.len();
    out.put_bytes(0, padding);
}

/// Reads the frame at the start of `bytes`; its payload shares their memory.
pub fn decode_frame(seal: Seal, bytes: &Bytes) -> Result<Frame, FrameError> {
    let frame = check_frame(seal, bytes)?;
    let payload = bytes.slice(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + frame.payload);
    let entry = Entry {
        position: frame.position,
        kind: frame.kind,
        payload,
    };
    Ok(Frame {
        entry,
        durable: frame.durable,
        bytes: frame.bytes,
    })
}

/// What stands in the head of a frame whose checksum is right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checked {
    pub position: Position,
    pub kind: EntryKind,
    pub durable: u32,
    pub payload: usize,
    pub bytes: usize,
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(
        bytes[at..at + 8]
            .try_into()
            .expect("a range of eight bytes"),
    )
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a range of four bytes"))
}

/// The segment number that the frame at the start of `bytes` claims, if so much is there.
pub(crate) fn claimed_segment(bytes: &[u8]) -> Option<u64> {
    (bytes.len() >= SEGMENT_AT + 8).then(|| u64_at(bytes, SEGMENT_AT))
}

/// As [`decode_frame`], without taking the payload.
pub(crate) fn check_frame(seal: Seal, bytes: &[u8]) -> Result<Checked, FrameError> {
    if bytes.len() < FRAME_HEADER_BYTES {
        return Err(FrameError::Short {
            needed: FRAME_HEADER_BYTES,
        });
    }
    let segment = u64_at(bytes, SEGMENT_AT);
    if segment != seal.segment {
        return Err(FrameError::Foreign {
            given: segment,
            expected: seal.segment,
        });
    }
    let payload = u32_at(bytes, 0) as usize;
    if payload > FRAME_PAYLOAD_MAX_BYTES {
        return Err(FrameError::TooLarge { given: payload });
    }
    let total = frame_bytes(payload);
    if bytes.len() < total {
        return Err(FrameError::Short { needed: total });
    }
    let body = &bytes[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + payload];
    if checksum(seal, &bytes[..FRAME_HEADER_BYTES], body) != u32_at(bytes, 4) {
        return Err(FrameError::Damaged);
    }
    let kind = EntryKind::from_byte(bytes[36]).ok_or(FrameError::Damaged)?;
    Ok(Checked {
        position: Position::new(Epoch(u64_at(bytes, 16)), Index(u64_at(bytes, 8))),
        kind,
        durable: u32_at(bytes, 32),
        payload,
        bytes: total,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry::data(
            Position::new(Epoch(3), Index(7)),
            Bytes::from_static(b"put a 1"),
        )
    }

    #[test]
    fn what_is_written_is_read_back() {
        let seal = Seal::of_segment(5, 99);
        let mut out = Vec::new();
        encode_frame(seal, 4096, &entry(), &mut out);
        let frame = decode_frame(seal, &Bytes::from(out.clone())).unwrap();
        assert_eq!(
            frame,
            Frame {
                entry: entry(),
                durable: 4096,
                bytes: out.len()
            }
        );
        assert_eq!(out.len() % FRAME_ALIGN_BYTES, 0);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut out = Vec::new();
        encode_frame(Seal::WIRE, 0, &entry(), &mut out);
        let meant = FRAME_HEADER_BYTES + entry().payload.len();
        for bit in 0..meant * 8 {
            let mut bytes = out.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                decode_frame(Seal::WIRE, &Bytes::from(bytes)).is_err(),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_frame_of_another_segment_or_salt_is_refused() {
        let mut out = Vec::new();
        encode_frame(Seal::of_segment(5, 99), 0, &entry(), &mut out);
        let bytes = Bytes::from(out);
        for seal in [Seal::of_segment(6, 99), Seal::of_segment(5, 98), Seal::WIRE] {
            assert!(decode_frame(seal, &bytes).is_err());
        }
    }

    #[test]
    fn a_short_frame_says_how_much_it_needs() {
        let mut out = Vec::new();
        encode_frame(Seal::WIRE, 0, &entry(), &mut out);
        let total = out.len();
        let bytes = Bytes::from(out);
        let needs = |n: usize| decode_frame(Seal::WIRE, &bytes.slice(..n)).unwrap_err();
        assert_eq!(
            needs(0),
            FrameError::Short {
                needed: FRAME_HEADER_BYTES
            }
        );
        assert_eq!(needs(total - 1), FrameError::Short { needed: total });
    }
}
