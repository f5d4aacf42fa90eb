//! Every wait, pace and size of the harness, in one place. It never computes: constants only.

use std::time::Duration;

/// How long one call of a system tool (ip, mount, nft, kubectl) may take.
pub const COMMAND_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a package manager or a build may take; builds of a cold cache on two busy cores are slow.
pub const BUILD_TIMEOUT: Duration = Duration::from_hours(3);
/// How long the API server may take from its start to `/readyz`.
pub const API_READY_TIMEOUT: Duration = Duration::from_secs(90);
/// How long a host may take from its start to a Ready node.
pub const NODE_READY_TIMEOUT: Duration = Duration::from_mins(2);
/// How long `containerd` may take to answer after its start.
pub const CONTAINERD_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a namespace of a test may take to vanish.
pub const NAMESPACE_GONE_TIMEOUT: Duration = Duration::from_mins(2);
/// How long killed processes, and the cgroups they leave, may take to vanish.
pub const GONE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long one command of the plugin may take; with `--wait` it has a time of its own.
pub const PLUGIN_TIMEOUT: Duration = Duration::from_mins(10);
/// How long one `StandbyCluster` may take to become Ready.
pub const CLUSTER_READY_TIMEOUT: Duration = Duration::from_mins(2);
/// How long a failover may take before a test gives up on it.
pub const FAILOVER_TIMEOUT: Duration = Duration::from_mins(1);
/// How long reading back what the writers wrote may take.
pub const CHECK_TIMEOUT: Duration = Duration::from_mins(1);
/// How long one call to the API server may take (the client itself has no read timeout).
pub const API_CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The pause between two looks at something that is waited for.
pub const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How long a writer waits for the answer to one put before it gives up and connects anew.
pub const PUT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a writer waits for a connection. Short, because a connect that was begun toward a dead
/// host is never moved to the new endpoint.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);
/// The pause of a writer after a failed attempt.
pub const RECONNECT_PAUSE: Duration = Duration::from_millis(5);
/// Keep-alive pings of the watch: how often, and how long an answer may take.
pub const WATCH_KEEP_ALIVE: Duration = Duration::from_millis(500);
/// See [`WATCH_KEEP_ALIVE`].
pub const WATCH_KEEP_ALIVE_TIMEOUT: Duration = Duration::from_millis(500);
/// How many keys one page holds when everything is read back.
pub const READ_PAGE_KEYS: i64 = 2_000;

/// The lines of a log that are shown when something failed.
pub const LOG_TAIL_LINES: usize = 60;
/// How long one story may take before it counts as failed.
pub const STORY_TIMEOUT: Duration = Duration::from_mins(5);

/// Over how many keys the judged load is spread: few, so that its requests meet.
pub const AUDIT_KEYS: u32 = 10;
/// How many clients of the judged load go through the Service.
pub const AUDIT_CLIENTS: usize = 4;
/// The pause of such a client after an answer: the judge's work grows faster than the history.
pub const AUDIT_PAUSE: Duration = Duration::from_millis(10);
/// How often the client of one node asks it something.
pub const PINNED_INTERVAL: Duration = Duration::from_millis(100);
/// How many requests of such a client may be under way.
pub const PINNED_OUTSTANDING: usize = 64;
/// How long such a client waits for an answer: longer than a node is stopped in any story.
pub const PINNED_TIMEOUT: Duration = Duration::from_secs(20);
/// The pause of the watcher of one node before it connects again.
pub const PINNED_PAUSE: Duration = Duration::from_millis(50);
/// How often the addresses of the nodes are looked up.
pub const LOOKUP_INTERVAL: Duration = Duration::from_millis(500);
/// How long a watch may take to arrive at the end of what was written.
pub const WATCH_SETTLE: Duration = Duration::from_secs(15);
/// How long the judge may search before a history counts as not judged.
pub const JUDGE_TIMEOUT: Duration = Duration::from_mins(4);
