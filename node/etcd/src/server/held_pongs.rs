//! Answers to HTTP/2 pings take their time, and travel with a response.
//!
//! Clients made with Go's gRPC measure the link: with a response they send a ping, unless one is still
//! unanswered. Answered at once, ping and answer each cost a packet of their own beside every request,
//! and with it about as much of both machines' time as the request did. So an answer waits for
//! [`PONG_RIPE_MS`], then goes along with what is sent anyway, or alone after [`PONG_HELD_MS`]. While
//! much is being sent ([`PONG_BESIDE_BYTES`]) it goes at once: then the client needs its measurement.
//! Nothing else is ever held back.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::frame_cursor::FrameCursor;
use crate::limits::{PONG_BESIDE_BYTES, PONG_HELD_MS, PONG_RIPE_MS};

/// A ping's answer: length 8, type 6, flag ACK, stream 0, eight bytes of the ping (RFC 9113 §6.7).
const PONG_BYTES: usize = 17;
const PONG_HEAD: [u8; 9] = [0, 0, 8, 6, 1, 0, 0, 0, 0];

/// A connection whose ping answers wait for company.
pub(super) struct HeldPongs<IO> {
    io: IO,
    /// An answer that waits, or what is left of one that is being sent.
    held: Vec<u8>,
    since: Instant,
    /// Bytes that were sent while it waits.
    beside: usize,
    /// Where in the frames the caller is: an answer can go only between two of them.
    cursor: FrameCursor,
    timer: Pin<Box<Sleep>>,
    /// The timer will wake the connection; it is left to run when the answer has gone before.
    armed: bool,
}

fn is_pong(bytes: &[u8]) -> bool {
    bytes.len() == PONG_BYTES && bytes.starts_with(&PONG_HEAD)
}

impl<IO: AsyncWrite + Unpin> HeldPongs<IO> {
    pub(super) fn new(io: IO) -> Self {
        Self {
            io,
            held: Vec::with_capacity(PONG_BYTES),
            since: Instant::now(),
            beside: 0,
            cursor: FrameCursor::default(),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: false,
        }
    }

    /// Keeps what is just a ping's answer.
    fn hold(&mut self, bytes: &[u8]) -> bool {
        let keep = is_pong(bytes) && self.held.is_empty() && self.cursor.between_frames();
        if keep {
            self.held.extend_from_slice(bytes);
            self.since = Instant::now();
            self.beside = 0;
            if !self.armed {
                let due_at = self.due_at();
                self.timer.as_mut().reset(due_at);
                self.armed = true;
            }
        }
        keep
    }

    fn due_at(&self) -> Instant {
        self.since + Duration::from_millis(PONG_HELD_MS)
    }

    /// Whether what is held goes with `slices`.
    fn goes_with(&self, slices: &[IoSlice<'_>]) -> bool {
        let begun = self.held.len() < PONG_BYTES;
        begun
            // Answers keep their order.
            || matches!(slices, [only] if is_pong(only))
            || self.beside >= PONG_BESIDE_BYTES
            || self.since.elapsed() >= Duration::from_millis(PONG_RIPE_MS)
    }

    /// Whether what is held has to go by itself now. Has the connection woken when it will have to.
    fn is_due(&mut self, context: &mut Context<'_>) -> bool {
        while self.armed && self.timer.as_mut().poll(context).is_ready() {
            // It may have been set for an answer that went before.
            self.armed = !self.held.is_empty() && Instant::now() < self.due_at();
            if self.armed {
                let due_at = self.due_at();
                self.timer.as_mut().reset(due_at);
            }
        }
        !self.held.is_empty() && Instant::now() >= self.due_at()
    }

    /// Sends what is held, if the last frame is all there.
    fn send_held(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() && self.cursor.between_frames() {
            let sent = ready!(Pin::new(&mut self.io).poll_write(context, &self.held))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.drain(..sent);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what is held in front of `slices`, in one go; returns how much of `slices` went.
    fn send_with_held(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut all = Vec::with_capacity(slices.len() + 1);
        all.push(IoSlice::new(&self.held));
        all.extend(slices.iter().map(|slice| IoSlice::new(slice)));
        let sent = ready!(Pin::new(&mut self.io).poll_write_vectored(context, &all))?;
        let of_held = sent.min(self.held.len());
        self.held.drain(..of_held);
        if sent > of_held {
            return self.went(slices, sent - of_held);
        }
        // Only a part of what was held went: what is left goes first, then the caller's.
        ready!(self.send_held(context))?;
        let sent = ready!(Pin::new(&mut self.io).poll_write_vectored(context, slices))?;
        self.went(slices, sent)
    }

    fn send(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = slices
            && self.hold(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        if !self.held.is_empty() && self.cursor.between_frames() && self.goes_with(slices) {
            return self.send_with_held(context, slices);
        }
        let io = Pin::new(&mut self.io);
        let sent = ready!(match slices {
            [only] => io.poll_write(context, only),
            several => io.poll_write_vectored(context, several),
        })?;
        self.beside = self.beside.saturating_add(sent);
        self.went(slices, sent)
    }

    /// Notes that the first `sent` bytes of `slices` were sent.
    fn went(&mut self, slices: &[IoSlice<'_>], sent: usize) -> Poll<io::Result<usize>> {
        let mut left = sent;
        for slice in slices {
            let taken = slice.len().min(left);
            self.cursor.pass(&slice[..taken]);
            left -= taken;
        }
        Poll::Ready(Ok(sent))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for HeldPongs<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for HeldPongs<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.send(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.send(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_due(context) {
            ready!(self.send_held(context))?;
        }
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send_held(context))?;
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
#[path = "held_pongs_tests.rs"]
mod tests;
