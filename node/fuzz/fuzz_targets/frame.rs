//! What a segment of the log may hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use standby_store::log::{Seal, decode_frame};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(frame) = decode_frame(Seal::WIRE, &bytes::Bytes::copy_from_slice(bytes)) {
        assert!(frame.bytes <= bytes.len());
    }
});
