//! One connection to a peer, from either end: reads messages for the driver, writes what the driver
//! orders, and streams the log as fast as the socket takes it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use standby_core::replica::{Input, SessionId};
use standby_core::{Epoch, Index, Message, Position};
use standby_interface::SnapshotSource;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use super::PeerContext;
use super::wire::{self, Packet};
use crate::limits::{APPEND_BYTES, COMMIT_NOTICE_MS, LOG_BACKLOG_BYTES, PEER_MESSAGE_BYTES};
use crate::replication::{ApplyJob, Command, PeerLink};

/// Why a connection ended; only ever logged.
type End = Box<dyn std::error::Error + Send + Sync>;

const ENDING: &str = "the process is ending";

fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .max_frame_length(PEER_MESSAGE_BYTES)
        .new_codec()
}

/// Runs the connection until it ends, and tells the driver when it begins and ends. `certified`: the
/// names in the peer's certificate, when it showed one.
pub async fn run<O, S>(
    context: Arc<PeerContext<O>>,
    stream: S,
    dialled: bool,
    certified: Option<Vec<String>>,
) where
    O: Send + 'static,
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let session = context.next_session();
    let (link, orders) = mpsc::unbounded_channel();
    let begun = context.driver.send(Command::Peer {
        session,
        link,
        dialled,
    });
    if begun.is_err() {
        return;
    }
    let (read, write) = tokio::io::split(stream);
    let reader = read_all(&context, session, read, certified);
    let writer = Writer::new(&context, write).run(orders);
    let end = tokio::select! {
        end = reader => end,
        end = writer => end,
    };
    if let Err(error) = end {
        tracing::debug!(session = session.0, %error, "a peer connection ended");
    }
    // The driver is gone only when the process ends.
    let _ = context.driver.send(Command::Input(Input::Closed(session)));
}

async fn read_all<O, R>(
    context: &PeerContext<O>,
    session: SessionId,
    read: R,
    certified: Option<Vec<String>>,
) -> Result<(), End>
where
    R: AsyncRead,
{
    let frames = FramedRead::with_capacity(read, codec(), 64 << 10);
    tokio::pin!(frames);
    while let Some(frame) = frames.next().await {
        let packet = wire::decode(frame?.freeze())?;
        match packet {
            Packet::Core(message) => {
                check_name(&message, certified.as_deref())?;
                let appends = matches!(message, Message::Append { .. });
                context
                    .driver
                    .send(Command::Input(Input::Message(session, message)))
                    .map_err(|_| ENDING)?;
                if appends {
                    context.backlog().below(LOG_BACKLOG_BYTES).await;
                }
            }
            Packet::SnapshotChunk { first, chunk } => {
                let job = ApplyJob::Restore { first, chunk };
                context.apply_jobs.send(job).map_err(|_| ENDING)?;
            }
            Packet::SnapshotEnd(position) => {
                let job = ApplyJob::FinishRestore(position);
                context.apply_jobs.send(job).map_err(|_| ENDING)?;
            }
        }
    }
    Ok(())
}

/// A peer speaks for the node that its certificate names, and for no other.
fn check_name(message: &Message, certified: Option<&[String]>) -> Result<(), End> {
    if let (Message::Hello(hello), Some(names)) = (message, certified)
        && !names.contains(&hello.node.name)
    {
        let claimed = &hello.node.name;
        return Err(
            format!("peer claims to be {claimed:?}, its certificate is for {names:?}").into(),
        );
    }
    Ok(())
}

/// Where a stream to a follower stands.
struct Stream {
    epoch: Epoch,
    sent: Position,
    upto: Index,
    commit: Index,
    told_commit: Index,
}

enum Snapshot {
    Awaited(oneshot::Receiver<Box<dyn SnapshotSource>>),
    Open {
        source: Box<dyn SnapshotSource>,
        first: bool,
    },
}

struct Writer<'a, O, W> {
    context: &'a PeerContext<O>,
    sink: FramedWrite<W, LengthDelimitedCodec>,
    stream: Option<Stream>,
    snapshot: Option<Snapshot>,
}

impl<'a, O, W: AsyncWrite + Unpin> Writer<'a, O, W> {
    fn new(context: &'a PeerContext<O>, write: W) -> Self {
        let mut sink = FramedWrite::new(write, codec());
        sink.set_backpressure_boundary(256 << 10);
        Self {
            context,
            sink,
            stream: None,
            snapshot: None,
        }
    }

    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<PeerLink>) -> Result<(), End> {
        loop {
            // Everything that was ordered, then as much of the log as there is, then wait.
            while let Ok(order) = orders.try_recv() {
                if !self.obey(order).await? {
                    return Ok(());
                }
            }
            if self.send_entries().await? || self.send_snapshot_chunk().await? {
                continue;
            }
            SinkExt::<Bytes>::flush(&mut self.sink).await?;
            let order = if self.owes_commit() {
                let limit = Duration::from_millis(COMMIT_NOTICE_MS);
                match tokio::time::timeout(limit, orders.recv()).await {
                    Ok(order) => order,
                    Err(_) => {
                        self.send_commit().await?;
                        continue;
                    }
                }
            } else {
                self.wait(&mut orders).await
            };
            let Some(order) = order else { return Ok(()) };
            if !self.obey(order).await? {
                return Ok(());
            }
        }
    }

    /// The next order; a snapshot that opens meanwhile is taken up.
    async fn wait(&mut self, orders: &mut mpsc::UnboundedReceiver<PeerLink>) -> Option<PeerLink> {
        if let Some(Snapshot::Awaited(opening)) = &mut self.snapshot {
            tokio::select! {
                order = orders.recv() => return order,
                opened = opening => {
                    self.snapshot = opened.ok().map(|source| Snapshot::Open { source, first: true });
                }
            }
            // Nothing was ordered: go round once more.
            return Some(PeerLink::Limit {
                upto: Index(0),
                commit: Index(0),
            });
        }
        orders.recv().await
    }

    /// Carries out one order; `false` to end the connection.
    async fn obey(&mut self, order: PeerLink) -> Result<bool, End> {
        match order {
            PeerLink::Send(message) => self.sink.feed(wire::encode(&message)).await?,
            PeerLink::Stream { epoch, start } => {
                self.snapshot = None;
                let (upto, commit) = (start.index, Index(0));
                let told_commit = commit;
                self.stream = Some(Stream {
                    epoch,
                    sent: start,
                    upto,
                    commit,
                    told_commit,
                });
            }
            PeerLink::Limit { upto, commit } => {
                if let Some(stream) = &mut self.stream {
                    stream.upto = stream.upto.max(upto);
                    stream.commit = stream.commit.max(commit);
                }
            }
            PeerLink::StopStream => {
                self.stream = None;
                self.snapshot = None;
            }
            PeerLink::Snapshot(opening) => {
                self.stream = None;
                self.snapshot = Some(Snapshot::Awaited(opening));
            }
            PeerLink::Close => {
                SinkExt::<Bytes>::flush(&mut self.sink).await?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sends one batch of entries, if the stream may go on.
    async fn send_entries(&mut self) -> Result<bool, End> {
        let Some(stream) = &mut self.stream else {
            return Ok(false);
        };
        if stream.sent.index >= stream.upto {
            return Ok(false);
        }
        let from = stream.sent.index.next();
        let frames = self.context.tail.frames(from, stream.upto, APPEND_BYTES)?;
        let Some(frames) = frames else {
            return Ok(false);
        };
        let append = wire::encode_append(stream.epoch, stream.sent, stream.commit, frames.bytes);
        stream.sent = frames.last;
        stream.told_commit = stream.commit;
        self.sink.feed(append).await?;
        Ok(true)
    }

    fn owes_commit(&self) -> bool {
        self.stream
            .as_ref()
            .is_some_and(|stream| stream.told_commit < stream.commit)
    }

    async fn send_commit(&mut self) -> Result<(), End> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        let Stream {
            epoch,
            sent,
            commit,
            ..
        } = *stream;
        stream.told_commit = commit;
        self.sink
            .send(wire::encode_append(epoch, sent, commit, Bytes::new()))
            .await?;
        Ok(())
    }

    async fn send_snapshot_chunk(&mut self) -> Result<bool, End> {
        let Some(Snapshot::Open { source, first }) = &mut self.snapshot else {
            return Ok(false);
        };
        let bytes = if let Some(chunk) = source.next_chunk()? {
            let begins = std::mem::take(first);
            wire::encode_chunk(begins, chunk)
        } else {
            let end = wire::encode_snapshot_end(source.position());
            self.snapshot = None;
            end
        };
        self.sink.send(bytes).await?;
        Ok(true)
    }
}
