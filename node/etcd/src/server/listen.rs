//! Listening, TLS, and one task for each connection.
//!
//! Never knows what is served. Bounds: connections, the time of a handshake and of a client's first bytes,
//! the time that requests in flight get at the end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::Service;

use super::first_bytes::FirstBytes;
use super::held_pongs::HeldPongs;
use super::lifetimes::{Generation, Lifetimes};
use crate::limits::{
    ACCEPT_RETRY_MS, CLIENT_CONNECTIONS_MAX, CLIENT_HANDSHAKE_MS, CLIENT_KEEPALIVE_AGAIN_MS,
    CLIENT_KEEPALIVE_MS, CLIENT_KEEPALIVES_MAX, CLOSE_GRACE_MS, H2_CONNECTION_WINDOW_BYTES,
    H2_KEEPALIVE_INTERVAL_MS, H2_KEEPALIVE_TIMEOUT_MS, H2_RESETS_PENDING_MAX,
    H2_STREAM_WINDOW_BYTES,
};

/// What the TLS configuration must offer for both gRPC and HTTP/1.1 clients.
pub const ALPN_PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Gives the TLS configuration for the next connection: rotated certificates are used from the next
/// connection on. It must offer [`ALPN_PROTOCOLS`].
pub type TlsSource = Arc<dyn Fn() -> Arc<ServerConfig> + Send + Sync>;

/// The client port's connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ClientServer {
    lifetimes: Lifetimes,
    slots: Arc<Semaphore>,
}

impl ClientServer {
    /// A server whose connections and streams live as long as `lifetimes` says.
    #[must_use]
    pub fn new(lifetimes: Lifetimes) -> Self {
        let slots = Arc::new(Semaphore::new(CLIENT_CONNECTIONS_MAX));
        Self { lifetimes, slots }
    }

    /// Serves `service` on `listener` until `shutdown`, then stops accepting, finishes what is in
    /// flight (within the limit), and returns once every connection is closed. May run for several
    /// listeners at once; the first one's shutdown ends all connections.
    pub async fn serve<S>(
        &self,
        listener: TcpListener,
        tls: Option<TlsSource>,
        service: S,
        shutdown: CancellationToken,
    ) where
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send,
    {
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = self.accept(&listener) => accepted,
            };
            let Some((stream, slot)) = accepted else {
                continue;
            };
            let connection = Connection {
                service: service.clone(),
                slot,
            };
            let generation = self.lifetimes.current();
            let tracker = generation.connections.clone();
            tracker.spawn(connection.run(stream, tls.clone(), generation));
        }
        drop(listener);
        self.close_all().await;
    }

    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        // Connections beyond the bound wait in the kernel's queue.
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, _)) => {
                prepare(&stream);
                Some((stream, slot))
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a client connection failed");
                tokio::time::sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
                None
            }
        }
    }

    /// Ends every connection there is: clients are told to go, requests in flight get a moment, then
    /// the sockets are closed. New connections are served meanwhile. For the loss of the role.
    pub async fn close_all(&self) {
        let generation = self.lifetimes.next();
        generation.connections.close();
        generation.closing.cancel();
        let limit = Duration::from_millis(CLOSE_GRACE_MS);
        // Past the limit whatever is left goes.
        let _ = tokio::time::timeout(limit, generation.connections.wait()).await;
        generation.closed.cancel();
        generation.connections.wait().await;
    }
}

struct Connection<S> {
    service: S,
    slot: OwnedSemaphorePermit,
}

impl<S> Connection<S>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    async fn run(self, stream: TcpStream, tls: Option<TlsSource>, generation: Generation) {
        let Some(tls) = tls else {
            return self.speak(stream, generation).await;
        };
        let handshake = TlsAcceptor::from(tls()).accept(stream);
        let limit = Duration::from_millis(CLIENT_HANDSHAKE_MS);
        let handshake = tokio::select! {
            () = generation.closing.cancelled() => return,
            handshake = tokio::time::timeout(limit, handshake) => handshake,
        };
        match handshake {
            Ok(Ok(stream)) => self.speak(stream, generation).await,
            Ok(Err(error)) => tracing::debug!(%error, "a client's TLS handshake failed"),
            Err(_) => tracing::debug!("a client's TLS handshake took too long"),
        }
    }

    async fn speak<IO>(self, io: IO, generation: Generation)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { service, slot } = self;
        let handler = hyper::service::service_fn(move |request| service.clone().call(request));
        let builder = http_settings();
        let connection =
            builder.serve_connection(TokioIo::new(HeldPongs::new(FirstBytes::new(io))), handler);
        tokio::pin!(connection);
        let ended = tokio::select! {
            biased;
            end = connection.as_mut() => Some(end),
            () = generation.closing.cancelled() => None,
        };
        // Only who is told to end can be cut off afterwards.
        let ended = if ended.is_none() {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                end = connection.as_mut() => Some(end),
                () = generation.closed.cancelled() => None,
            }
        } else {
            ended
        };
        if let Some(Err(error)) = ended {
            tracing::debug!(%error, "a client connection ended");
        }
        drop(slot);
    }
}

/// Answers are small and waited for; and a client whose host vanished must not keep its place, whatever it
/// spoke.
fn prepare(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_millis(CLIENT_KEEPALIVE_MS))
        .with_interval(Duration::from_millis(CLIENT_KEEPALIVE_AGAIN_MS))
        .with_retries(CLIENT_KEEPALIVES_MAX);
    let set = stream
        .set_nodelay(true)
        .and_then(|()| SockRef::from(stream).set_tcp_keepalive(&keepalive));
    if let Err(error) = set {
        // A socket that refuses is closed soon anyway.
        tracing::debug!(%error, "a client's socket takes no options");
    }
}

/// Windows that let a thousand small requests and a large range travel without waiting, and
/// keep-alives that notice a client whose host vanished.
fn http_settings() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        // As etcd: for gRPC it says nothing.
        .auto_date_header(false)
        .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(None)
        .max_pending_accept_reset_streams(Some(H2_RESETS_PENDING_MAX))
        .keep_alive_interval(Some(Duration::from_millis(H2_KEEPALIVE_INTERVAL_MS)))
        .keep_alive_timeout(Duration::from_millis(H2_KEEPALIVE_TIMEOUT_MS));
    builder.http1().timer(TokioTimer::new());
    builder
}
