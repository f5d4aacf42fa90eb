//! Every wait and bound of the simulated fleet, with its unit. Constants only.

/// How long a TLS handshake with the operator may take, in milliseconds. Long: on a busy machine
/// thousands of them come at once.
pub const HANDSHAKE_MS: u64 = 10_000;
/// Reports of one session waiting to be sent.
pub const REPORTS_QUEUED_MAX: usize = 16;
/// Connections of one node that are ready to be served.
pub const CONNECTIONS_QUEUED_MAX: usize = 4;
/// The pause after an `accept` that failed, in milliseconds.
pub const ACCEPT_PAUSE_MS: u64 = 50;
/// Size of the volume that every node reports, in bytes.
pub const DISK_BYTES: u64 = 10 << 30;
