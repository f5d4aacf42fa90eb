//! Every wait, bound and budget of the operator's shell, with its unit.

use std::time::Duration;

/// One call of the Kubernetes API, in milliseconds.
pub const API_CALL_MS: u64 = 5_000;
/// One call of the Kubernetes API on the hot path of a failover, in milliseconds.
pub const API_HOT_CALL_MS: u64 = 2_000;
/// One read or write of the election's lease, in milliseconds: below the renew deadline.
pub const LEASE_CALL_MS: u64 = 900;
/// The most calls under way, of those that are not on the hot path. A small API server answers a
/// hundred times as many a second, each in time.
pub const API_USUAL_CALLS_MAX: usize = 16;
/// So many may be under way however slow the API server is.
pub const API_USUAL_CALLS_MIN: usize = 2;
/// A call that takes longer says that the API server has too much to do, in milliseconds. A healthy one
/// answers within tens.
pub const API_SLOW_CALL_MS: u64 = 250;
/// The most calls under way on the hot path: apart from the others, so that no failover waits for them.
pub const API_HOT_CALLS_MAX: usize = 32;
/// The most calls under way of those that a new leader begins with.
pub const API_FIRST_CALLS_MAX: usize = 16;
/// For so long a call lets more urgent ones pass once there is a place for it, in milliseconds.
pub const API_PASS_MS: u64 = 2_000;
/// The longest wait of a call for its turn, in milliseconds.
pub const API_LINE_MS: u64 = 30_000;
/// Connecting to the API server, in milliseconds. On a host that has just started the first packets go
/// nowhere; kube's 30 s would keep this operator from standing for election for as long.
pub const API_CONNECT_MS: u64 = 1_500;
/// Connecting to a node's control port, in milliseconds.
pub const NODE_CONNECT_MS: u64 = 500;
/// Opening the session on a connection, in milliseconds.
pub const NODE_SESSION_MS: u64 = 1_000;
/// The first pause after a lost connection to a node, in milliseconds.
pub const NODE_RETRY_MIN_MS: u64 = 20;
/// The longest pause between two tries, in milliseconds.
pub const NODE_RETRY_MAX_MS: u64 = 500;
/// A session in which nothing has arrived for so long is closed and dialled anew, in milliseconds.
pub const NODE_SESSION_SILENT_MS: u64 = 3_000;
/// Orders waiting to be sent on one stream.
pub const ORDERS_QUEUED_MAX: usize = 16;
/// The largest report of a node, in bytes.
pub const REPORT_BYTES_MAX: usize = 1 << 20;
/// Views recorded within one turn: a failover takes two.
pub const RECORDS_PER_TURN_MAX: usize = 4;
/// The pause after a failed turn, in milliseconds; doubled up to the maximum.
pub const RETRY_MIN_MS: u64 = 200;
/// The longest pause after failed turns, in milliseconds.
pub const RETRY_MAX_MS: u64 = 10_000;
/// The longest pause after failures on the hot path of a failover, in milliseconds: once the API
/// server is back, no cluster waits longer.
pub const HOT_RETRY_MAX_MS: u64 = 1_000;
/// Objects that are not watched are applied anew this often, in milliseconds, give or take a quarter, so
/// that the clusters of a new leader drift apart.
pub const APPLY_EVERY_MS: u64 = 600_000;
/// With many clusters less often: each has so many milliseconds, because a dozen requests for each of a
/// thousand clusters are a load that never ends.
pub const APPLY_PACE_MS: u64 = 2_000;
/// A status that differs in nothing but indexes is written this often, in milliseconds.
pub const STATUS_EVERY_MS: u64 = 10_000;
/// How long the caches may be behind what was just carried out, in milliseconds: within it, an action is
/// not repeated.
pub const CACHES_BEHIND_MS: u64 = 1_000;
/// A view that the cache does not show is looked for live this often, in milliseconds.
pub const MISSING_VIEW_LOOK_MS: u64 = 5_000;
/// While nodes report a higher epoch than is known to be recorded, the view is read live this often, in
/// milliseconds.
pub const AHEAD_LOOK_MS: u64 = 500;
/// Results of background work waiting to be taken in.
pub const DONE_QUEUED_MAX: usize = 8;
/// Changes waiting for a reader that is behind; it then looks at everything.
pub const CHANGES_QUEUED_MAX: usize = 1_024;
/// Events that wait to be sent; more are logged only. Fifty clusters that fail over at once have some two
/// hundred to tell.
pub const EVENTS_QUEUED_MAX: usize = 512;
/// The longest text of an Event, in bytes: the API's limit is 1024.
pub const EVENT_NOTE_BYTES_MAX: usize = 1_000;
/// Notices remembered per cluster, so that each is told once.
pub const NOTICES_REMEMBERED_MAX: usize = 256;
/// The most connections for probes and metrics at once: two of the kubelet's, and some of whoever scrapes.
pub const HTTP_CONNECTIONS_MAX: usize = 64;
/// How long the head of a request for them may take, in milliseconds.
pub const HTTP_HEADER_MS: u64 = 5_000;
/// How long a connection for them may take in all, in milliseconds. Prometheus waits no longer by default.
pub const HTTP_CONNECTION_MS: u64 = 10_000;
/// The pause after a connection that could not be taken, for want of files for instance, in milliseconds.
pub const HTTP_ACCEPT_RETRY_MS: u64 = 1_000;
/// The most threads for everything but heartbeats: the work is small, and each thread keeps memory.
pub const WORKERS_MAX: usize = 4;
/// How long ending tasks are waited for when the process ends, in milliseconds.
pub const SHUTDOWN_MS: u64 = 3_000;
/// A number of milliseconds as a span.
#[must_use]
pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
