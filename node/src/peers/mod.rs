//! The connections between nodes: mutual TLS, length-prefixed messages, log frames as the log writes
//! them, backpressure both ways.
//!
//! A follower dials the primary ([`dialer`]); a node accepts its followers ([`listener`]); both ends run
//! the same [`connection`]. A node whose primary does not answer asks the others ([`views`]). Nothing here
//! decides what a message means.

pub mod connection;
pub mod dialer;
pub mod listener;
pub mod views;
pub mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use standby_core::replica::SessionId;
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;

use crate::limits::{PEER_DEAD_AFTER_MS, PEER_KEEPALIVE_MS, PEER_KEEPALIVES_MAX};
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

/// Has the system end a connection whose other end is gone without a word, so that what is queued for it
/// does not grow until the system's own patience (many minutes) ends.
fn prepare(stream: &TcpStream) {
    let pause = Duration::from_millis(PEER_KEEPALIVE_MS);
    let keepalive = TcpKeepalive::new()
        .with_time(pause)
        .with_interval(pause)
        .with_retries(PEER_KEEPALIVES_MAX);
    let socket = SockRef::from(stream);
    let dead_after = Some(Duration::from_millis(PEER_DEAD_AFTER_MS));
    let set = stream
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&keepalive))
        .and_then(|()| socket.set_tcp_user_timeout(dead_after));
    if let Err(error) = set {
        // A socket that refuses is closed soon anyway.
        tracing::debug!(%error, "a peer's socket takes no options");
    }
}

#[cfg(test)]
mod testing {
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
