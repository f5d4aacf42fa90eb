//! Runs the core on real threads: one that drives it, one that writes the log, one that applies.
//!
//! Nothing here decides what may be acknowledged; that is `standby_core`. These modules carry its
//! commands to disk, sockets and state machine, and their completions back.

mod apply;
mod clock;
mod digest;
mod driver;
mod handle;
mod jobs;
mod log_thread;
mod patience;
mod pending;
mod proposals;
mod shared;
mod tail;

pub use apply::{ApplyJob, ApplyThread, SnapshotRequest};
pub use clock::Clock;
pub use driver::{Command, Driver, DriverParts, PeerLink, Told};
pub use handle::NodeReplication;
pub use jobs::{Closed, Jobs, jobs};
pub(crate) use log_thread::bytes_of as log_thread_bytes;
pub use log_thread::{LogJob, LogThread};
pub use proposals::{Proposal, Proposals};
pub use shared::{LogBacklog, Shared};
pub use tail::{Tail, TailFrames};

/// An error after which the process must end: what is on the disk is not known any more.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {error}")]
pub struct Fatal {
    /// What was being done.
    pub what: &'static str,
    /// What went wrong.
    pub error: String,
}

/// How a node says in a test that its process would end.
#[cfg(test)]
pub(crate) const NODE_ENDS: &str = "the process ends";

/// Ends the process at once. The log is the truth; a restart finds what is durable.
///
/// # Panics
/// Only in tests, in which many nodes share a process.
pub fn end_process(fatal: &Fatal) -> ! {
    tracing::error!(what = fatal.what, error = %fatal.error, "the process ends");
    #[cfg(test)]
    panic!("{NODE_ENDS}: {fatal}");
    #[cfg(not(test))]
    std::process::exit(1);
}
