//! Ports, paths, times and numbers of the objects, each with its reason.

/// The user and group of every process; no such account exists on any host.
pub const NODE_UID: i64 = 65_532;
/// Where a node keeps its data.
pub const DATA_DIR: &str = "/var/lib/standby";
/// Where a node finds its certificate.
pub const TLS_DIR: &str = "/etc/standby/tls";
/// Owner and group may read the private key, nobody else.
pub const TLS_FILE_MODE: i32 = 0o440;

/// Clients.
pub const PORT_CLIENT: u16 = 2379;
/// Other nodes.
pub const PORT_PEER: u16 = 2380;
/// The operator.
pub const PORT_CONTROL: u16 = 2381;
/// Probes and metrics, plain HTTP.
pub const PORT_PROBE: u16 = 2382;

/// A stopping primary hands over and finishes writes in flight, which takes moments; a node that
/// cannot (its disk hangs) is killed after so long.
pub const TERMINATION_GRACE_SECONDS: i64 = 30;
/// How often the kubelet asks whether a node has started.
pub const STARTUP_PERIOD_SECONDS: i32 = 1;
/// A node that reads a long log after a crash needs minutes; half an hour is a dead one.
pub const STARTUP_FAILURES_MAX: i32 = 1_800;
/// How often the kubelet asks whether a node lives.
pub const LIVENESS_PERIOD_SECONDS: i32 = 5;
/// A node that has not answered for half a minute is restarted. Failover has long happened then.
pub const LIVENESS_FAILURES_MAX: i32 = 6;
/// How often the kubelet asks whether a node is ready. Only people see the answer: the operator
/// writes the endpoints itself.
pub const READINESS_PERIOD_SECONDS: i32 = 2;
/// One bad answer may be a moment, two are not.
pub const READINESS_FAILURES_MAX: i32 = 2;
/// How long one answer may take.
pub const PROBE_TIMEOUT_SECONDS: i32 = 2;

/// How long a cluster's CA is valid, in days.
pub const CA_VALID_DAYS: i64 = 3_650;
/// How long two CAs are trusted before the new one issues, and before the old one is let go of, in days:
/// time for every node, and for applications, to take up what was written.
pub const CA_OVERLAP_DAYS: i64 = 7;
/// How long every other certificate is valid, in days. It is renewed when two thirds have passed.
pub const CERTIFICATE_VALID_DAYS: i64 = 365;
/// A certificate is valid from so many seconds before it was made, a week: the clock of a host may be
/// behind, by much after its battery or a suspended machine.
pub const CERTIFICATE_BACKDATE_SECONDS: i64 = 7 * 24 * 3_600;
