//! Every bound of the node's shell, once, with its unit.

/// Commands of clients that may wait to be committed.
pub const PROPOSALS_IN_FLIGHT_MAX: usize = 16_384;
/// Bytes of commands that may wait to be committed.
pub const PROPOSALS_IN_FLIGHT_BYTES: usize = 256 << 20;
/// Commands in the log that may be uncommitted; more are refused. Those whose clients gave up count too.
pub const UNCOMMITTED_MAX: usize = 65_536;
/// Bytes of commands in the log that may be uncommitted.
pub const UNCOMMITTED_BYTES: usize = 512 << 20;
/// How long a client's command may wait to be committed. etcd's own limit is 5 s plus two election
/// time-outs of 1 s.
pub const PROPOSAL_TIMEOUT_MS: u64 = 7_000;
/// How long a linearizable read may wait for proof of primacy.
pub const READ_TIMEOUT_MS: u64 = 7_000;
/// Inputs that the driver takes in before it carries out what the core commands.
pub const DRIVER_BATCH_MAX: usize = 512;
/// So many answers or more are handed to the servers' runtime as one.
pub const ANSWERS_TOGETHER_MIN: usize = 4;
/// The driver looks for an answer of disk or peer, instead of sleeping, for at most so many
/// microseconds, and only where answers usually come within them.
pub const LOOK_FOR_ANSWER_US: u64 = 500;
/// With nothing under way it looks so for the next command of a client.
pub const LOOK_FOR_COMMAND_US: u64 = 300;
/// It does so while at most so many entries are under way.
pub const LOOK_WHILE_WAITING_MAX: u64 = 4;
/// Groups of clients' commands that are on their way to the disk at once: one that is synced and the
/// next, so that the disk never waits. Commands that come meanwhile gather.
pub const GROUPS_UNDER_WAY: usize = 2;
/// Bytes of entries that may wait for the disk before a follower stops reading from its primary.
pub const LOG_BACKLOG_BYTES: u64 = 64 << 20;
/// Bytes of a snapshot that may wait for the state machine before a follower stops reading it.
pub const RESTORE_BACKLOG_BYTES: u64 = 32 << 20;
/// Bytes of entries in one message to a follower, unless a single entry is larger.
pub const APPEND_BYTES: usize = 1 << 20;
/// The largest message between nodes. A frame of the log fits.
pub const PEER_MESSAGE_BYTES: usize = 64 << 20;
/// How long the commit index may wait for entries to travel with.
pub const COMMIT_NOTICE_MS: u64 = 3;
/// Entries that are applied as one batch.
pub const APPLY_BATCH_ENTRIES: usize = 1_024;
/// Bytes of entries that are applied as one batch.
pub const APPLY_BATCH_BYTES: usize = 4 << 20;
/// How long what is committed and nobody waits for may wait for more, to be applied with it.
pub const APPLY_GATHER_MS: u64 = 2;
/// Bytes applied after which the state is made durable.
pub const CHECKPOINT_EVERY_BYTES: u64 = 64 << 20;
/// Time after which the state is made durable when anything was applied.
pub const CHECKPOINT_EVERY_MS: u64 = 30_000;
/// Bytes of log that are kept for nodes that come back, if the disk is large enough.
pub const LOG_RETAIN_BYTES: u64 = 256 << 20;
/// The share of the disk that the retained log may take, as a divisor.
pub const LOG_RETAIN_DISK_DIVISOR: u64 = 4;
/// The smallest file of the log that can be asked for: every command of a client fits, twice.
pub const SEGMENT_LEAST_BYTES: u64 = 4 << 20;
/// Quiet time after which the log notes on disk how far it is durable.
pub const LOG_MARK_AFTER_MS: u64 = 1_000;
/// Disk space below which writes are refused: this share of the disk, as a divisor...
pub const DISK_RESERVE_DIVISOR: u64 = 8;
/// ...but at most so much...
pub const DISK_RESERVE_BYTES: u64 = 192 << 20;
/// ...and never less than a file of the log, and what the state needs to take in what is under way.
pub const DISK_RESERVE_MIN_BYTES: u64 = 96 << 20;
/// The smallest disk that a node starts on: log, state and reserve fit, and some data. A volume of
/// 512 MiB has so much when its file system is made.
pub const DISK_MIN_BYTES: u64 = 448 << 20;
/// Free space below which the state takes in nothing more: an engine that runs out of it can only end
/// the process.
pub const APPLY_ROOM_BYTES: u64 = 40 << 20;
/// How long the log waits for room with entries that it was given already, before the process ends.
pub const DISK_ROOM_WAIT_MS: u64 = 600_000;
/// A state machine that works on entries for so long is reported as a stall of writes.
pub const APPLY_STALL_MS: u64 = 1_000;
/// How often the disk's space is looked at.
pub const DISK_CHECK_MS: u64 = 500;
/// How long connecting to a peer may take.
pub const PEER_CONNECT_MS: u64 = 500;
/// Quiet time after which the system asks whether a peer is still there, and the pause between questions.
pub const PEER_KEEPALIVE_MS: u64 = 3_000;
/// Such questions without an answer after which the connection ends.
pub const PEER_KEEPALIVES_MAX: u32 = 3;
/// What was sent to a peer and not taken for so long ends the connection.
pub const PEER_DEAD_AFTER_MS: u64 = 15_000;
/// A primary from which nothing comes for so long is dialled anew. Its heartbeats come every 100 ms.
pub const PRIMARY_SILENT_MS: u64 = 10_000;
/// For how long the primary must be out of reach before other nodes are asked for a later view.
pub const VIEW_ASK_AFTER_MS: u64 = 2_000;
/// The pause between such questions, and how long one may take.
pub const VIEW_ASK_EVERY_MS: u64 = 1_000;
/// How long a TLS handshake may take.
pub const HANDSHAKE_MS: u64 = 2_000;
/// The first pause between attempts to connect to the primary; it doubles up to the longest.
pub const REDIAL_FIRST_MS: u64 = 10;
/// The longest pause between attempts to connect to the primary.
pub const REDIAL_LONGEST_MS: u64 = 200;
/// Connections of peers that a node accepts.
pub const PEER_CONNECTIONS_MAX: usize = 64;
/// Connections for probes and metrics at once; more wait in the kernel's queue.
pub const PROBE_CONNECTIONS_MAX: usize = 256;
/// How long such a connection may take, from its beginning to the last byte of its one answer: the kubelet
/// asks with a limit of seconds itself.
pub const PROBE_CONNECTION_MS: u64 = 5_000;
/// Pause after the kernel refused to accept (out of file descriptors).
pub const ACCEPT_RETRY_MS: u64 = 50;
/// Control connections that a node accepts: a few operators' worth.
pub const CONTROL_CONNECTIONS_MAX: usize = 16;
/// Control sessions that are open at once, over all connections.
pub const CONTROL_SESSIONS_MAX: usize = 16;
/// Streams on one control connection.
pub const CONTROL_STREAMS_MAX: u32 = 4;
/// The pause between questions whether an operator is still there, and how long it may take to answer:
/// dead connections must not keep a new operator out for long.
pub const CONTROL_KEEPALIVE_MS: u64 = 5_000;
/// Reports waiting on a control stream whose reader is slow.
pub const CONTROL_REPORTS_MAX: usize = 16;
/// Shortest time between reports that a node sends by itself.
pub const REPORT_PACE_MS: u64 = 5;
/// Writes that wait for so long are news, which a node reports by itself.
pub const STALL_IS_NEWS_MS: u64 = 150;
/// How often certificates are looked at for renewal.
pub const TLS_RELOAD_MS: u64 = 30_000;
/// When connections of clients are closed after the role was lost, in milliseconds: once the hosts have
/// had time to follow the Service to the next primary (about 20 ms), and again for those that connected
/// anew before (a second change within a second reaches the hosts up to a second later).
pub const CLIENTS_CLOSED_AFTER_MS: [u64; 3] = [40, 300, 1_500];
/// For how long a node that stepped down passes requests on to the next primary, in milliseconds: hosts
/// follow a change of a Service within a second, or two when they had one just before.
pub const PASSED_ON_MS: u64 = 4_000;
/// When connections of clients are closed while their requests are passed on, in milliseconds, and once more
/// when nothing is passed on any more, for those that came here again.
pub const PASSED_ON_CLOSED_AFTER_MS: [u64; 2] = [2_500, 4_100];
/// How long a node that is to end while it passes requests on goes on with that, in milliseconds.
pub const RELIEVED_MS: u64 = 1_500;
/// How long a primary that was told to end waits to be relieved.
pub const HANDOVER_MS: u64 = 10_000;
/// For how long a client that asks for a switchover waits for it; etcd's own limit.
pub const SWITCHOVER_ASKED_MS: u64 = 7_000;
/// How long a node that ends gives requests in flight.
pub const DRAIN_MS: u64 = 2_000;
/// How long a status question to the driver may take.
pub const STATUS_TIMEOUT_MS: u64 = 2_000;
/// Bytes of the log's end that are kept in memory for followers.
pub const TAIL_BYTES: u64 = 16 << 20;
