//! One connection to a peer, from either end: reads messages for the driver, writes what the driver
//! orders, and streams the log as fast as the socket takes it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use standby_core::replica::{Input, SessionId};
use standby_core::{Epoch, Index, Message, Position};
use standby_interface::SnapshotSource;
use standby_store::log::LogError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use super::PeerContext;
use super::wire::{self, Packet};
use crate::limits::{
    APPEND_BYTES, COMMIT_NOTICE_MS, LOG_BACKLOG_BYTES, PEER_MESSAGE_BYTES, PRIMARY_SILENT_MS,
    RESTORE_BACKLOG_BYTES,
};
use crate::replication::{ApplyJob, Command, Fatal, PeerLink, Told, end_process};

/// Why a connection ended; only ever logged.
type End = Box<dyn std::error::Error + Send + Sync>;

const ENDING: &str = "the process is ending";

/// How messages are told apart on the wire.
pub(super) fn codec() -> LengthDelimitedCodec {
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
    // Also when the dialer gives the connection up and this never returns.
    let _told = TellsEnd {
        context: &context,
        end: Some(Command::Input(Input::Closed(session))),
    };
    let patience = dialled.then(|| Duration::from_millis(PRIMARY_SILENT_MS));
    let reader = read_all(&context, session, (read, patience), certified);
    let writer = Writer::new(&context, write).run(orders);
    let end = tokio::select! {
        end = reader => end,
        end = writer => end,
    };
    if let Err(error) = end {
        tracing::debug!(session = session.0, %error, "a peer connection ended");
    }
}

/// Tells the driver when something ends, however it ends.
struct TellsEnd<'a, O> {
    context: &'a PeerContext<O>,
    end: Option<Command>,
}

impl<O> Drop for TellsEnd<'_, O> {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            // The driver is gone only when the process ends.
            let _ = self.context.driver.send(end);
        }
    }
}

/// Asks whether the snapshot that begins on this connection is to be taken in. Until it is whole, its
/// end is the process's end.
async fn begin_snapshot<O: Send + 'static>(
    context: &PeerContext<O>,
    session: SessionId,
) -> Result<TellsEnd<'_, O>, End> {
    let (reply, answer) = oneshot::channel();
    let begins = Command::SnapshotBegins { session, reply };
    context.driver.send(begins).map_err(|_| ENDING)?;
    let mut begun = TellsEnd {
        context,
        end: Some(Command::Told(Told::SnapshotBroken)),
    };
    if answer.await? {
        return Ok(begun);
    }
    begun.end = None;
    Err("a snapshot came that was not announced".into())
}

async fn read_all<O, R>(
    context: &PeerContext<O>,
    session: SessionId,
    (read, patience): (R, Option<Duration>),
    certified: Option<Vec<String>>,
) -> Result<(), End>
where
    R: AsyncRead,
    O: Send + 'static,
{
    let frames = FramedRead::with_capacity(read, codec(), 64 << 10);
    tokio::pin!(frames);
    let mut snapshot = None;
    loop {
        let next = match patience {
            Some(limit) => tokio::time::timeout(limit, frames.next()).await?,
            None => frames.next().await,
        };
        let Some(frame) = next else { return Ok(()) };
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
                if first {
                    if snapshot.is_some() {
                        return Err("a snapshot begins within another".into());
                    }
                    snapshot = Some(begin_snapshot(context, session).await?);
                } else if snapshot.is_none() {
                    return Err("a piece of a snapshot came before its beginning".into());
                }
                let backlog = &context.shared.restore_backlog;
                backlog.grow(chunk.len() as u64);
                let job = ApplyJob::Restore { first, chunk };
                context.apply_jobs.send(job).map_err(|_| ENDING)?;
                backlog.below(RESTORE_BACKLOG_BYTES).await;
            }
            Packet::SnapshotEnd(position) => {
                let Some(mut whole) = snapshot.take() else {
                    return Err("a snapshot ended that never began".into());
                };
                whole.end = None;
                let job = ApplyJob::FinishRestore(position);
                context.apply_jobs.send(job).map_err(|_| ENDING)?;
            }
        }
    }
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

/// An entry that was released ends the stream, and the follower is given a snapshot. A log that cannot be
/// read ends the process: the next start finds out what is left of it.
fn must_be_readable(error: LogError) -> LogError {
    if error.is_fatal() {
        end_process(&Fatal {
            what: "reading the log for a follower",
            error: error.to_string(),
        });
    }
    error
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
                let Ok(order) = tokio::time::timeout(limit, orders.recv()).await else {
                    self.send_commit().await?;
                    continue;
                };
                order
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
                // What is committed stays so in every epoch: a snapshot that was begun is finished.
                if !matches!(self.snapshot, Some(Snapshot::Open { first: false, .. })) {
                    self.snapshot = None;
                }
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
        let Stream {
            epoch, sent, upto, ..
        } = *stream;
        let frames = self.context.tail.frames(sent, epoch, upto, APPEND_BYTES);
        let Some(frames) = frames.await.map_err(must_be_readable)? else {
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
        let Some(Snapshot::Open { mut source, first }) = self
            .snapshot
            .take_if(|it| matches!(it, Snapshot::Open { .. }))
        else {
            return Ok(false);
        };
        // Reads the disk, and may wait for it.
        let reading = tokio::task::spawn_blocking(move || (source.next_chunk(), source));
        let (chunk, source) = reading.await?;
        let bytes = if let Some(chunk) = chunk? {
            self.snapshot = Some(Snapshot::Open {
                source,
                first: false,
            });
            wire::encode_chunk(first, chunk)
        } else {
            wire::encode_snapshot_end(source.position())
        };
        self.sink.send(bytes).await?;
        Ok(true)
    }
}
