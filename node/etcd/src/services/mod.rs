//! The services that clients call. They translate between the wire and the parts; they decide nothing
//! about keys.

pub mod watch;
