//! The simulated network behind the door that the product goes through, with what the simulation leaves
//! out: connections to hosts that cannot be reached hang instead of being refused, and the system gives
//! up connections whose other end is gone, as the options of real sockets have it do.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use turmoil::net::{TcpListener, TcpStream};

use crate::limits::{PEER_DEAD_AFTER_MS, PEER_KEEPALIVE_MS, PEER_KEEPALIVES_MAX};
use crate::peers::network::{Accept, Dial};

/// Where peers listen.
pub const PEER_PORT: u16 = 2380;
/// After so long without a word the system has found out whether the other end is there.
const IDLE_MS: u64 = PEER_KEEPALIVE_MS * (1 + PEER_KEEPALIVES_MAX as u64);

/// How often a connection looks whether it is dead.
const LOOK: Duration = Duration::from_millis(250);

/// What one end has sent, and what it has taken of what the other sent.
#[derive(Clone, Copy, Default)]
struct Carried {
    sent: u64,
    taken: u64,
}

#[derive(Default)]
struct Known {
    /// Directions in which nothing arrives, by name.
    cut: BTreeSet<(String, String)>,
    /// Hosts that run, and on which nobody listens.
    refusing: BTreeSet<String>,
    /// Ends of connections that somebody holds, by own address and the other's.
    ends: BTreeMap<(SocketAddr, SocketAddr), Carried>,
}

/// What is known of all links at once.
#[derive(Clone, Default)]
pub struct Links(Arc<Mutex<Known>>);

impl Links {
    /// Nothing that `from` sends arrives at `to`.
    pub fn cut(&self, from: &str, to: &str) {
        self.0.lock().cut.insert((from.into(), to.into()));
    }

    /// Both ways work again.
    pub fn mend(&self, one: &str, other: &str) {
        let mut known = self.0.lock();
        known.cut.remove(&(one.into(), other.into()));
        known.cut.remove(&(other.into(), one.into()));
    }

    /// Whether the host answers for a process that does not run.
    pub fn set_refusing(&self, host: &str, refusing: bool) {
        let mut known = self.0.lock();
        if refusing {
            known.refusing.insert(host.into());
        } else {
            known.refusing.remove(host);
        }
    }

    fn is_cut(&self, one: &str, other: &str) -> bool {
        let known = self.0.lock();
        let is = |from: &str, to: &str| known.cut.contains(&(from.into(), to.into()));
        is(one, other) || is(other, one)
    }

    fn refuses(&self, host: &str) -> bool {
        self.0.lock().refusing.contains(host)
    }
}

/// The network as one host sees it.
#[derive(Clone)]
pub struct Network {
    me: String,
    links: Links,
    open: Arc<AtomicUsize>,
}

impl Network {
    pub fn new(me: &str, links: &Links, open: &Arc<AtomicUsize>) -> Self {
        Self {
            me: me.into(),
            links: links.clone(),
            open: Arc::clone(open),
        }
    }

    /// Listens for peers.
    pub async fn listen(&self) -> io::Result<Port> {
        Ok(Port {
            listener: TcpListener::bind(("0.0.0.0", PEER_PORT)).await?,
            network: self.clone(),
        })
    }

    fn line(&self, inner: TcpStream) -> io::Result<Line> {
        let ends = (inner.local_addr()?, inner.peer_addr()?);
        let mut known = self.links.0.lock();
        known.ends.insert(ends, Carried::default());
        drop(known);
        self.open.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        Ok(Line {
            inner,
            ends,
            network: self.clone(),
            look: Box::pin(tokio::time::sleep(LOOK)),
            heard_at: now,
            taken: 0,
            taken_at: now,
        })
    }
}

impl Dial for Network {
    type Stream = Line;

    async fn dial(&self, address: &str) -> io::Result<Line> {
        let (host, _) = address.split_once(':').expect("host and port");
        if self.links.is_cut(&self.me, host) {
            // The simulation would refuse at once, or let in whom no answer reaches.
            std::future::pending::<()>().await;
        }
        if self.links.refuses(host) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        self.line(TcpStream::connect(address.to_owned()).await?)
    }
}

/// A port that peers connect to.
pub struct Port {
    listener: TcpListener,
    network: Network,
}

impl Accept for Port {
    type Stream = Line;

    async fn accept(&self) -> io::Result<Line> {
        let (stream, _) = self.listener.accept().await?;
        self.network.line(stream)
    }
}

/// A connection.
pub struct Line {
    inner: TcpStream,
    /// The own address, and the other's.
    ends: (SocketAddr, SocketAddr),
    network: Network,
    look: Pin<Box<Sleep>>,
    /// When something came last.
    heard_at: Instant,
    /// What the other end had taken of what was sent, when that last changed.
    taken: u64,
    taken_at: Instant,
}

impl Line {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.network.links.0.lock()
    }

    /// Whether the system would end the connection: what was sent is not taken, or nothing came for long
    /// and nobody is there to answer when asked.
    fn is_dead(&mut self) -> bool {
        let (own, other) = (self.ends, (self.ends.1, self.ends.0));
        let known = self.known();
        let sent = known.ends.get(&own).copied().unwrap_or_default();
        let there = known.ends.get(&other).copied();
        drop(known);
        let now = Instant::now();
        let taken = there.map_or(self.taken, |other| other.taken);
        if taken != self.taken || taken == sent.sent {
            (self.taken, self.taken_at) = (taken, now);
        }
        let unanswered = there.is_none() && now - self.heard_at >= Duration::from_millis(IDLE_MS);
        unanswered || now - self.taken_at >= Duration::from_millis(PEER_DEAD_AFTER_MS)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.known().ends.remove(&self.ends);
        self.network.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.inner).poll_read(context, into) {
            let came = (into.filled().len() - before) as u64;
            self.heard_at = Instant::now();
            let own = self.ends;
            if let Some(end) = self.known().ends.get_mut(&own) {
                end.taken += came;
            }
            return Poll::Ready(read);
        }
        loop {
            ready!(self.look.as_mut().poll(context));
            if self.is_dead() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.look = Box::pin(tokio::time::sleep(LOOK));
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(context, bytes));
        if let Ok(written) = &written {
            let own = self.ends;
            if let Some(end) = self.known().ends.get_mut(&own) {
                end.sent += *written as u64;
            }
        }
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
