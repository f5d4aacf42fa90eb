//! Every bound and waiting time of this crate, in one place. Nothing else belongs here.

/// Size of one segment file of the log.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// Smallest segment that can be asked for (tests use small ones).
pub const SEGMENT_MIN_BYTES: u64 = 16 * 1024;

/// Largest segment: offsets within a segment are 32 bits wide.
pub const SEGMENT_MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// Most recent entries kept in memory, counted by payload and overhead.
pub const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// What one cached entry counts besides its payload.
pub const CACHE_ENTRY_OVERHEAD_BYTES: usize = 96;

/// Largest payload that a frame may claim, on the wire and on disk.
pub const FRAME_PAYLOAD_MAX_BYTES: usize = 32 * 1024 * 1024;

/// What of the write buffer is kept between appends.
pub const KEPT_BUFFER_BYTES: usize = 1024 * 1024;

/// Distance between two remembered frame offsets of a segment.
pub const SPARSE_INDEX_BYTES: u64 = 64 * 1024;

/// Least that one read from a segment fetches at once.
pub const READ_CHUNK_BYTES: usize = 256 * 1024;

/// What recovery reads at once.
pub const SCAN_CHUNK_BYTES: usize = 1024 * 1024;

/// What is written at once when a file is filled with zeros ahead of its use.
pub const ZERO_CHUNK_BYTES: usize = 256 * 1024;

/// What is synced at once then.
pub const ZERO_SYNC_BYTES: u64 = 4 * 1024 * 1024;

/// Segment files kept for reuse; more are removed.
pub const SPARES_MAX: usize = 2;

/// How long the writer waits for the helper that fills the next segment file.
pub const SPARE_WAIT_MS: u64 = 60_000;

/// Requests to that helper that may wait.
pub const SPARE_REQUESTS_MAX: usize = 1;

/// Largest identity file that is read.
pub const SEALED_FILE_MAX_BYTES: u64 = 1024 * 1024;
/// A slot of the file with the adopted view: a view of ten names and the addresses of ten nodes take some 8 KiB
/// at the most.
pub const SLOT_BYTES: usize = 16 * 1024;

/// Blocks that the engine keeps in memory.
pub const ENGINE_CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// Recent writes that the engine keeps in memory before it writes a sorted file.
pub const ENGINE_MEMTABLE_BYTES: u64 = 16 * 1024 * 1024;

/// What a change takes there besides its key and value.
pub const ENGINE_CHANGE_OVERHEAD_BYTES: u64 = 64;

/// Threads of the engine that flush and compact.
pub const ENGINE_WORKERS: usize = 2;

/// Files that the engine keeps open.
pub const ENGINE_FILES_MAX: usize = 256;
