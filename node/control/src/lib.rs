//! The control protocol between operator and nodes (V9), and its conversion to the core's types.
//!
//! This crate never decides anything: it only says what goes over the wire.

/// The generated messages, client and server.
#[allow(missing_docs, clippy::pedantic, clippy::large_enum_variant)]
pub mod v1 {
    tonic::include_proto!("standby.control.v1");
}

mod convert;

pub use convert::ConvertError;

/// The DNS name in the operator's client certificate. A node lets nobody else use its control port.
pub const OPERATOR_IDENTITY: &str = "operator.standby.dev";

/// The port a node serves clients on.
pub const CLIENT_PORT: u16 = 2379;
/// The port a node serves its peers on.
pub const PEER_PORT: u16 = 2380;
/// The port a node serves the operator on.
pub const CONTROL_PORT: u16 = 2381;
/// The plain HTTP port for the kubelet's probes and for metrics.
pub const PROBE_PORT: u16 = 2382;
