//! Answers to HTTP/2 pings travel with the next response.
//!
//! Clients made with Go's gRPC send a ping with nearly every response they get, to measure the link.
//! Answered at once, each costs a packet of its own, and with it about as much of both machines' time
//! as the response did. Held back for some milliseconds they go along with what is sent anyway.
//! Nothing else is ever held back, and never for longer than [`PONG_HELD_MS`].

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::limits::PONG_HELD_MS;

/// A ping's answer: length 8, type 6, flag ACK, stream 0, eight bytes of the ping (RFC 9113 §6.7).
const PONG_BYTES: usize = 17;
const PONG_HEAD: [u8; 9] = [0, 0, 8, 6, 1, 0, 0, 0, 0];

/// A connection whose ping answers wait for company.
pub(super) struct HeldPongs<IO> {
    io: IO,
    /// An answer that waits, or what is left of one that is being sent.
    held: Vec<u8>,
    /// The answer goes now, in company or not.
    due: bool,
    timer: Pin<Box<Sleep>>,
    /// The timer will wake the connection; it is left to run when the answer has gone before.
    armed: bool,
}

impl<IO: AsyncWrite + Unpin> HeldPongs<IO> {
    pub(super) fn new(io: IO) -> Self {
        Self {
            io,
            held: Vec::with_capacity(PONG_BYTES),
            due: false,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: false,
        }
    }

    /// Keeps what is just a ping's answer.
    fn hold(&mut self, bytes: &[u8]) -> bool {
        let keep =
            self.held.is_empty() && bytes.len() == PONG_BYTES && bytes.starts_with(&PONG_HEAD);
        if keep {
            self.held.extend_from_slice(bytes);
            if !self.armed {
                let until = Instant::now() + Duration::from_millis(PONG_HELD_MS);
                self.timer.as_mut().reset(until);
                self.armed = true;
            }
        }
        keep
    }

    /// Whether the time of what is held has come. Has the connection woken at that time.
    fn look_at_time(&mut self, context: &mut Context<'_>) {
        if self.armed && self.timer.as_mut().poll(context).is_ready() {
            self.armed = false;
            self.due = true;
        }
    }

    /// Sends what is held.
    fn send_held(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let sent = ready!(Pin::new(&mut self.io).poll_write(context, &self.held))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.drain(..sent);
        }
        self.due = false;
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
        if self.held.is_empty() {
            self.due = false;
        }
        if sent > of_held {
            return Poll::Ready(Ok(sent - of_held));
        }
        // Only a part of what was held went: what is left goes first, then the caller's.
        ready!(self.send_held(context))?;
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
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
        if self.hold(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        if self.held.is_empty() {
            return Pin::new(&mut self.io).poll_write(context, bytes);
        }
        self.send_with_held(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = slices
            && self.hold(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        if self.held.is_empty() {
            return Pin::new(&mut self.io).poll_write_vectored(context, slices);
        }
        self.send_with_held(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.look_at_time(context);
        if self.due {
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
