//! What a peer may send.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = standby_node::peers::wire::decode(bytes::Bytes::copy_from_slice(bytes));
});
