//! What an operator, or a peer, may claim to be the recorded view.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use standby_control::v1;
use standby_core::View;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(wire) = v1::View::decode(bytes)
        && let Ok(view) = View::try_from(wire)
    {
        let _ = view.check();
        assert_eq!(View::try_from(v1::View::from(&view)), Ok(view));
    }
});
