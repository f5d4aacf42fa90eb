//! A client has to say something. Which protocol it speaks shows in its first bytes, and whoever waits for
//! those knows no time: one that connects and stays silent would keep its place for ever.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::limits::CLIENT_FIRST_BYTES_MS;

/// How HTTP/2 begins (RFC 9113 §3.4). What begins otherwise is HTTP/1.1.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that fails when its first bytes are not there in time.
pub(super) struct FirstBytes<IO> {
    io: IO,
    /// Gone once the protocol is known: from then on its own limits hold.
    awaited: Option<Awaited>,
}

struct Awaited {
    /// Bytes of the preface that have come.
    came: usize,
    limit: Pin<Box<Sleep>>,
}

impl Awaited {
    /// Whether the protocol is known with these bytes.
    fn knows_with(&mut self, bytes: &[u8]) -> bool {
        let rest = &PREFACE[self.came..];
        let begins = bytes.len() < rest.len() && rest.starts_with(bytes);
        self.came += if begins { bytes.len() } else { 0 };
        !begins
    }
}

impl<IO> FirstBytes<IO> {
    pub(super) fn new(io: IO) -> Self {
        let limit = Duration::from_millis(CLIENT_FIRST_BYTES_MS);
        let awaited = Awaited {
            came: 0,
            limit: Box::pin(tokio::time::sleep(limit)),
        };
        Self {
            io,
            awaited: Some(awaited),
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for FirstBytes<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.io).poll_read(context, buffer);
        let Some(awaited) = &mut this.awaited else {
            return read;
        };
        if read.is_pending() {
            ready!(awaited.limit.as_mut().poll(context));
            let what = "the client did not say in time what it speaks";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, what)));
        }
        if awaited.knows_with(&buffer.filled()[before..]) {
            this.awaited = None;
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for FirstBytes<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    const LONG: Duration = Duration::from_millis(10 * CLIENT_FIRST_BYTES_MS);

    fn connection() -> (DuplexStream, FirstBytes<DuplexStream>) {
        let (client, server) = duplex(1 << 10);
        (client, FirstBytes::new(server))
    }

    /// What the server's side says to everything that this client sends, one after the other.
    async fn after(pieces: &[&[u8]]) -> io::Result<()> {
        let (mut client, mut server) = connection();
        for piece in pieces {
            client.write_all(piece).await.expect("it has room");
            let mut read = vec![0; piece.len()];
            server.read_exact(&mut read).await?;
            assert_eq!(&read, piece);
        }
        let more = tokio::time::timeout(LONG, server.read_u8()).await;
        more.map_or(Ok(()), |ended| ended.map(drop))
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_or_only_begins_is_let_go() {
        let too_little: [&[&[u8]]; 4] =
            [&[], &[b"P"], &[b"PRI"], &[b"P", b"R", b"I * HTTP/2.0\r\n"]];
        for pieces in too_little {
            let error = after(pieces).await.expect_err("it says too little");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{pieces:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_said_what_it_speaks_may_be_silent() {
        let (first, second) = PREFACE.split_at(5);
        let enough: [&[&[u8]]; 4] = [&[PREFACE], &[first, second], &[b"G"], &[b"P", b"OST"]];
        for pieces in enough {
            after(pieces).await.expect("other limits hold");
        }
    }
}
