//! The narrow door to the network: what connections between nodes need of it and nothing more, so that
//! tests can put a network behind it that delays, holds back and loses.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use crate::limits::{PEER_DEAD_AFTER_MS, PEER_KEEPALIVE_MS, PEER_KEEPALIVES_MAX};

/// Opens connections to peers.
pub trait Dial: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Connects to `address` (host and port). How long that may take is the caller's to limit.
    ///
    /// # Errors
    /// [`io::ErrorKind::ConnectionRefused`] only when the host says that nobody listens there.
    fn dial(&self, address: &str) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// Takes the connections that peers open.
pub trait Accept: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// The network of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Tcp;

impl Dial for Tcp {
    type Stream = TcpStream;

    async fn dial(&self, address: &str) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        prepare(&stream);
        Ok(stream)
    }
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = Self::accept(self).await?;
        prepare(&stream);
        Ok(stream)
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
