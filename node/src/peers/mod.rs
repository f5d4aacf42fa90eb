//! The connections between nodes: mutual TLS, length-prefixed messages, log frames as the log writes
//! them, backpressure both ways.
//!
//! A follower dials the primary ([`dialer`]); a node accepts its followers ([`listener`]); both ends run
//! the same [`connection`]. Nothing here looks at what a message means.

pub mod connection;
pub mod dialer;
pub mod listener;
pub mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::Sender;
use standby_core::replica::SessionId;

use crate::replication::{ApplyJob, Command, LogBacklog, Shared, Tail};
use crate::tls::Tls;

/// What every connection works with.
pub struct PeerContext<O> {
    /// The driver.
    pub driver: Sender<Command<O>>,
    /// The state machine, for snapshots that come in.
    pub apply_jobs: Sender<ApplyJob<O>>,
    /// The log's end, for streams.
    pub tail: Arc<Tail>,
    /// Numbers.
    pub shared: Arc<Shared>,
    /// Certificates; none when peers talk in the clear on loopback.
    pub tls: Option<Tls>,
    /// The last session's number.
    pub sessions: AtomicU64,
}

impl<O> PeerContext<O> {
    fn next_session(&self) -> SessionId {
        SessionId(self.sessions.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn backlog(&self) -> &LogBacklog {
        &self.shared.backlog
    }
}
