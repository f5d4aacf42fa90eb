//! Every bound and budget of this crate, with its unit. Never a default that a flag can change
//! (those are in [`crate::config`]).

/// Largest request that is written to the log. etcd's default, which clients may count on.
pub const MAX_REQUEST_BYTES: usize = 3 * 512 * 1024;
/// What gRPC lets through beyond [`MAX_REQUEST_BYTES`], so that the answer is etcd's and not gRPC's.
pub const GRPC_OVERHEAD_BYTES: usize = 512 * 1024;
/// Most operations in one transaction.
pub const MAX_TXN_OPS: usize = 128;
/// Space quota when none is set. etcd's default.
pub const DEFAULT_QUOTA_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// What a key is counted with towards the quota, beside its own bytes.
pub const QUOTA_KEY_OVERHEAD_BYTES: u64 = 256;
/// What a lease is counted with towards the quota.
pub const QUOTA_LEASE_OVERHEAD_BYTES: u64 = 64;

/// Longest time to live of a lease, in seconds.
pub const MAX_LEASE_TTL_S: i64 = 9_000_000_000;
/// Shortest time to live of a lease, in seconds: shorter ones are raised to it.
pub const MIN_LEASE_TTL_S: i64 = 2;
/// What every lease gets beyond its time to live after a change of primary, in milliseconds.
pub const LEASE_PROMOTION_GRACE_MS: u64 = 1_000;
/// How often leases are looked through, in milliseconds.
pub const LEASE_TICK_MS: u64 = 500;
/// Most leases that run out in one second; the rest wait for the next.
pub const LEASE_EXPIRIES_PER_S: usize = 1_000;
/// Expired leases whose entries are on their way at the same time.
pub const LEASE_EXPIRIES_IN_FLIGHT: usize = 64;
/// After this long an expiry that was refused is tried again, in milliseconds.
pub const LEASE_EXPIRY_RETRY_MS: u64 = 3_000;
/// Grants and revocations that are remembered for the lessor; one that fell further behind looks at
/// all leases.
pub const LEASE_CHANGES_KEPT: usize = 4_096;
/// How long a keep-alive waits for an expired lease to be gone, in milliseconds.
pub const LEASE_REVOKE_WAIT_MS: u64 = 5_000;
/// Answers of one keep-alive stream that wait for the client.
pub const KEEP_ALIVE_QUEUE: usize = 16;

/// Records kept in memory after they were written, for reads, previous values and late watchers.
pub const RECENT_BYTES: usize = 16 * 1024 * 1024;
/// Keys looked at for deletions of a compaction with each group of entries.
pub const SWEEP_KEYS_PER_APPLY: usize = 2_048;
/// Versions deleted for a compaction with each group of entries.
pub const SWEEP_VERSIONS_PER_APPLY: usize = 4_096;
/// Entries that go on with a compaction's deletions which one physical compaction may write.
pub const SWEEP_ENTRIES_MAX: usize = 1_000_000;
/// Entries that go on with a compaction's deletions which the primary writes with each look at the
/// leases, besides what every group of entries does.
pub const SWEEPS_PER_TICK: usize = 16;
/// A read that a compaction overtook starts again this often before it holds the lock.
pub const READ_ATTEMPTS: usize = 4;
/// Groups of entries between two looks at the size on disk.
pub const DISK_BYTES_EVERY_GROUPS: u32 = 64;
/// A snapshot's piece is closed once it holds this many bytes.
pub const SNAPSHOT_CHUNK_BYTES: usize = 256 * 1024;
/// Keys in the first message of a streamed range; later ones grow towards the request size limit.
pub const RANGE_STREAM_FIRST_KEYS: i64 = 10;
/// Messages of a streamed range that wait for the client.
pub const RANGE_STREAM_QUEUE: usize = 2;

// Watch.

/// What may wait on one watch stream; beyond it the stream's watchers read history instead.
pub const WATCH_QUEUE_BYTES: usize = 4 << 20;
/// A lagging stream reads history again once no more than this waits.
pub const WATCH_QUEUE_LOW_BYTES: usize = 1 << 20;
/// What one reading of history brings.
pub const WATCH_HISTORY_BYTES: usize = 1 << 20;
/// Revisions join one response up to this size.
pub const WATCH_RESPONSE_BYTES: usize = 256 << 10;
/// Pieces of a fragmented response stay below this, as etcd's do: its largest request and overhead.
pub const WATCH_FRAGMENT_BYTES: usize = (1536 + 512) << 10;
/// Watchers on this node, all streams together.
pub const WATCHERS_MAX: usize = 1_000_000;
/// Responses that wait between a watch stream's task and its connection.
pub const WATCH_RESPONSES_READY: usize = 4;
/// How often progress is told to the watchers that want it, unless configured.
pub const WATCH_PROGRESS_INTERVAL_MS: u64 = 10 * 60 * 1000;
/// The least configurable interval of progress notifications.
pub const WATCH_PROGRESS_INTERVAL_MIN_MS: u64 = 100;
/// A client that asked for a leader (`hasleader`) loses its stream after the primary was unknown for
/// this long: three of etcd's election timeouts.
pub const LEADER_LOST_CUT_MS: u64 = 3_000;

// The client port.

/// Client connections at once; more wait in the kernel's queue.
pub const CLIENT_CONNECTIONS_MAX: usize = 20_000;
/// A TLS handshake takes no longer than this.
pub const CLIENT_HANDSHAKE_MS: u64 = 10_000;
/// A client says what it speaks within this; a silent one must not keep a place for ever.
pub const CLIENT_FIRST_BYTES_MS: u64 = 10_000;
/// Quiet time after which the system asks whether a client's host is still there, for those that speak no
/// HTTP/2 or do not get that far.
pub const CLIENT_KEEPALIVE_MS: u64 = 60_000;
/// The pause between such questions that are not answered.
pub const CLIENT_KEEPALIVE_AGAIN_MS: u64 = 10_000;
/// Such questions without an answer after which the connection ends.
pub const CLIENT_KEEPALIVES_MAX: u32 = 3;
/// What requests in flight get when connections are ended; then the sockets are closed.
pub const CLOSE_GRACE_MS: u64 = 1_000;
/// Pause after the kernel refused to accept (out of file descriptors).
pub const ACCEPT_RETRY_MS: u64 = 50;
/// HTTP/2 window of one stream: a large value arrives without waiting for the window.
pub const H2_STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// HTTP/2 window of one connection.
pub const H2_CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// The answer to a client's ping goes with the first response after this: much longer than a response
/// takes, so that there are few pings beside the requests.
pub const PONG_RIPE_MS: u64 = 100;
/// It waits no longer than this for a response to travel with: shorter than any time limit of a
/// keep-alive.
pub const PONG_HELD_MS: u64 = 150;
/// It goes with the next response once so much was sent since the ping: a client that receives much
/// sets its windows by the pings.
pub const PONG_BESIDE_BYTES: usize = 16 << 10;
/// Requests of one connection that a client may take back before they are looked at: as many time out
/// at once in a failover, and that must not cost the connection.
pub const H2_RESETS_PENDING_MAX: usize = 4_096;
/// A silent client is asked this often whether it is still there. etcd's default is two hours; hosts
/// that vanish should not hold watches so long.
pub const H2_KEEPALIVE_INTERVAL_MS: u64 = 60_000;
/// A client that does not answer for this long is gone.
pub const H2_KEEPALIVE_TIMEOUT_MS: u64 = 20_000;
/// A health check over HTTP answers within this.
pub const HEALTH_CHECK_MS: u64 = 5_000;
/// Parts of the index of keys. One that grows copies itself while readers wait: with ten million keys
/// some 3 ms, by calculation.
pub const INDEX_SHARDS: u32 = 256;
/// A part of the index gives memory back only when it has room for more keys than this.
pub const INDEX_SHARD_KEYS_MIN: usize = 1_024;

/// Requests that are held while a primary that stepped down does not know who follows it; more are
/// answered at once.
pub const REQUESTS_HELD_MAX: usize = 10_000;
/// How long a request is held for that, in milliseconds.
pub const REQUESTS_HELD_MS: u64 = 2_000;
/// The window of the one connection that all requests are passed on over: the most that HTTP/2 allows.
pub const H2_SHARED_WINDOW_BYTES: u32 = (1 << 31) - 1;
