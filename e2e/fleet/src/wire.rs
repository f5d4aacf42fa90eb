//! A connection of a simulated node: counts what passes, and breaks when the node is killed.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::command::Counters;

/// Counters of all connections.
#[derive(Debug, Default)]
pub struct Counts {
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    /// Orders of the operator.
    pub orders: AtomicU64,
    /// Reports to the operator.
    pub reports: AtomicU64,
    /// Sessions that were opened.
    pub sessions: AtomicU64,
}

impl Counts {
    /// What they are now.
    #[must_use]
    pub fn now(&self) -> Counters {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            received_bytes: now(&self.received_bytes),
            sent_bytes: now(&self.sent_bytes),
            orders: now(&self.orders),
            reports: now(&self.reports),
            sessions: now(&self.sessions),
        }
    }
}

/// Counts one more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// One connection.
pub struct Wire {
    stream: TcpStream,
    killed: Pin<Box<WaitForCancellationFutureOwned>>,
    counts: Arc<Counts>,
}

impl Wire {
    /// A connection that breaks once `killed` is cancelled.
    #[must_use]
    pub fn new(stream: TcpStream, killed: CancellationToken, counts: Arc<Counts>) -> Self {
        Self {
            stream,
            killed: Box::pin(killed.cancelled_owned()),
            counts,
        }
    }

    fn broken(&mut self, context: &mut Context<'_>) -> bool {
        self.killed.as_mut().poll(context).is_ready()
    }
}

fn add(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(bytes as u64, Ordering::Relaxed);
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.broken(context) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        add(&self.counts.received_bytes, buffer.filled().len() - before);
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = written {
            add(&self.counts.sent_bytes, written);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connected for Wire {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}
