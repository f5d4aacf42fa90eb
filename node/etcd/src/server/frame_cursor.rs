//! Where one frame of HTTP/2 ends and the next begins, among bytes that are sent.
//!
//! Never changes or keeps the bytes. What is not HTTP/2 gives answers without a meaning.

/// Length, type, flags and stream of a frame (RFC 9113 §4.1).
const HEAD_BYTES: usize = 9;
/// Types that begin or continue a block of fields, and the flag that ends it (§6.2, §6.6, §6.10).
const FIELD_BLOCKS: [u8; 3] = [1, 5, 9];
const END_HEADERS: u8 = 4;

/// A place in a stream of frames.
#[derive(Debug, Default)]
pub(super) struct FrameCursor {
    head: [u8; HEAD_BYTES],
    /// How much of the frame's head has passed.
    head_passed: usize,
    /// How much of the frame's payload is still to come.
    payload_left: usize,
    /// A block of fields goes on in the next frame, and no other may come between.
    block_open: bool,
}

impl FrameCursor {
    /// Whether another frame may be put in here.
    pub(super) fn between_frames(&self) -> bool {
        self.head_passed == 0 && self.payload_left == 0 && !self.block_open
    }

    /// Goes past `bytes`.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let taken = self.payload_left.min(bytes.len());
                self.payload_left -= taken;
                bytes = &bytes[taken..];
                continue;
            }
            let taken = (HEAD_BYTES - self.head_passed).min(bytes.len());
            let (head, rest) = bytes.split_at(taken);
            self.head[self.head_passed..][..taken].copy_from_slice(head);
            self.head_passed += taken;
            bytes = rest;
            if self.head_passed == HEAD_BYTES {
                self.begin_payload();
            }
        }
    }

    fn begin_payload(&mut self) {
        let [high, middle, low, kind, flags, ..] = self.head;
        self.payload_left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.block_open = FIELD_BLOCKS.contains(&kind) && flags & END_HEADERS == 0;
        self.head_passed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).expect("short").to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.extend(std::iter::repeat_n(0xAA, payload));
        frame
    }

    /// The places between frames, when the bytes pass in pieces of `piece`.
    fn gaps(bytes: &[u8], piece: usize) -> Vec<usize> {
        let mut cursor = FrameCursor::default();
        let mut passed = 0;
        let mut gaps = Vec::new();
        for piece in bytes.chunks(piece) {
            cursor.pass(piece);
            passed += piece.len();
            if cursor.between_frames() {
                gaps.push(passed);
            }
        }
        gaps
    }

    #[test]
    fn a_gap_is_where_a_frame_has_ended() {
        let frames = [
            frame(1, 4, 20),
            frame(0, 0, 70_000),
            frame(4, 1, 0),
            frame(1, 5, 3),
        ];
        let ends = [29, 70_038, 70_047, 70_059];
        let bytes = frames.concat();
        assert_eq!(gaps(&bytes, 1), ends);
        assert_eq!(gaps(&bytes, bytes.len()), [70_059]);
        for piece in [2, 3, 7, 9, 1_000] {
            let expected = ends.into_iter();
            let expected: Vec<_> = expected
                .filter(|end| end % piece == 0 || *end == bytes.len())
                .collect();
            assert_eq!(gaps(&bytes, piece), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn there_is_none_within_a_block_of_fields() {
        let frames = [frame(1, 1, 20), frame(9, 0, 10), frame(9, 4, 10)];
        assert_eq!(gaps(&frames.concat(), 1), [29 + 19 + 19]);
    }
}
