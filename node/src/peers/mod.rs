//! The connections between nodes: mutual TLS, length-prefixed messages, log frames as the log writes
//! them, backpressure both ways.
//!
//! A follower dials the primary ([`dialer`]); a node accepts its followers ([`listener`]); both ends run
//! the same [`connection`]. A node whose primary does not answer asks the others ([`views`]). What all of
//! them need of the network stands in [`network`]. Nothing here decides what a message means.

pub mod connection;
pub mod dialer;
pub mod listener;
pub mod network;
pub mod views;
pub mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use standby_core::replica::SessionId;
use tokio::sync::mpsc::UnboundedSender;

use crate::replication::{ApplyJob, Command, LogBacklog, Shared, Tail};
use crate::tls::Tls;

/// What every connection works with.
pub struct PeerContext<O> {
    /// The driver.
    pub driver: UnboundedSender<Command>,
    /// The state machine, for snapshots that come in.
    pub apply_jobs: UnboundedSender<ApplyJob<O>>,
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

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use standby_core::Index;
    use standby_store::log::{Log, LogOptions};
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    /// What connections work with, without a node, and what they tell it.
    pub fn context() -> (PeerContext<()>, UnboundedReceiver<Command>) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = LogOptions {
            segment_bytes: 64 << 10,
            ..LogOptions::default()
        };
        let (_writer, reader, _) = Log::open(dir.path(), options).expect("a new log opens");
        let (driver, told) = unbounded_channel();
        let (apply_jobs, _) = unbounded_channel();
        let context = PeerContext {
            driver,
            apply_jobs,
            tail: Arc::new(Tail::new(reader)),
            shared: Arc::new(Shared::new(Index(0))),
            tls: None,
            sessions: AtomicU64::new(0),
        };
        (context, told)
    }
}
