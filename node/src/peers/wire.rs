//! Messages between nodes as bytes: protobuf for what is small, log frames as the log writes them for
//! entries. Every frame's checksum is checked on the way in.

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use standby_control::v1;
use standby_core::ClusterId;
use standby_core::{
    Entry, Epoch, Hello, Index, LogOutline, Message, Micros, NodeId, Position, RejectReason, View,
};
use standby_store::log::{Seal, decode_frame, encode_frame, frame_bytes};

/// What comes over a connection.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "moved once and taken apart at once"
)]
pub enum Packet {
    /// For the core.
    Core(Message),
    /// A piece of a snapshot.
    SnapshotChunk {
        /// Whether it is the first.
        first: bool,
        /// The piece.
        chunk: Bytes,
    },
    /// All pieces came.
    SnapshotEnd(Position),
}

/// Bytes that are no message.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Not protobuf of the expected form.
    #[error("peer message cannot be decoded: {0}")]
    Decode(#[from] prost::DecodeError),
    /// A part is missing or out of range.
    #[error("peer message: {0}")]
    Content(String),
}

fn missing(field: &str) -> WireError {
    WireError::Content(format!("{field} is missing"))
}

#[derive(Clone, PartialEq, prost::Message)]
struct WirePosition {
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(uint64, tag = "2")]
    index: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireHello {
    #[prost(string, tag = "1")]
    cluster_id: String,
    #[prost(message, optional, tag = "2")]
    node: Option<v1::NodeId>,
    #[prost(message, optional, tag = "3")]
    view: Option<v1::View>,
    #[prost(message, optional, tag = "4")]
    base: Option<WirePosition>,
    #[prost(message, repeated, tag = "5")]
    epochs: Vec<WirePosition>,
    #[prost(message, optional, tag = "6")]
    last: Option<WirePosition>,
    #[prost(uint64, tag = "7")]
    commit: u64,
    #[prost(bool, tag = "8")]
    damaged: bool,
    #[prost(uint64, tag = "9")]
    attempt: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireWelcome {
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(message, optional, tag = "2")]
    start: Option<WirePosition>,
    #[prost(uint64, tag = "3")]
    attempt: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireAppend {
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(message, optional, tag = "2")]
    previous: Option<WirePosition>,
    #[prost(uint64, tag = "3")]
    commit: u64,
    #[prost(bytes = "bytes", tag = "4")]
    frames: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireBeat {
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(uint64, tag = "2")]
    sequence: u64,
    #[prost(uint64, tag = "3")]
    index: u64,
    #[prost(uint64, tag = "4")]
    stuck_us: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireChunk {
    #[prost(bool, tag = "1")]
    first: bool,
    #[prost(bytes = "bytes", tag = "2")]
    chunk: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WirePacket {
    #[prost(oneof = "WireKind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11")]
    kind: Option<WireKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum WireKind {
    #[prost(message, tag = "1")]
    Hello(WireHello),
    #[prost(message, tag = "2")]
    Welcome(WireWelcome),
    #[prost(message, tag = "3")]
    SnapshotFollows(WireWelcome),
    #[prost(message, tag = "4")]
    ViewIs(v1::View),
    #[prost(uint32, tag = "5")]
    Reject(u32),
    #[prost(message, tag = "6")]
    Append(WireAppend),
    #[prost(message, tag = "7")]
    Ack(WireBeat),
    #[prost(message, tag = "8")]
    Heartbeat(WireBeat),
    #[prost(message, tag = "9")]
    HeartbeatReply(WireBeat),
    #[prost(message, tag = "10")]
    SnapshotChunk(WireChunk),
    #[prost(message, tag = "11")]
    SnapshotEnd(WirePosition),
}

impl From<Position> for WirePosition {
    fn from(position: Position) -> Self {
        Self {
            epoch: position.epoch.0,
            index: position.index.0,
        }
    }
}

impl From<WirePosition> for Position {
    fn from(position: WirePosition) -> Self {
        Self::new(Epoch(position.epoch), Index(position.index))
    }
}

const REJECT_FOREIGN: u32 = 1;
const REJECT_ROLLED_BACK: u32 = 2;
const REJECT_LACKS_COMMITTED: u32 = 3;

/// The bytes of a message.
#[must_use]
pub fn encode(message: &Message) -> Bytes {
    finish(match message {
        Message::Hello(hello) => WireKind::Hello(WireHello {
            cluster_id: hello.cluster_id.0.clone(),
            node: Some((&hello.node).into()),
            view: hello.view.as_ref().map(Into::into),
            base: Some(hello.log.base.into()),
            epochs: hello
                .log
                .epochs
                .iter()
                .map(|(e, i)| Position::new(*e, *i).into())
                .collect(),
            last: Some(hello.log.last.into()),
            commit: hello.commit.0,
            damaged: hello.damaged,
            attempt: hello.attempt,
        }),
        Message::Welcome {
            epoch,
            start,
            attempt,
        } => WireKind::Welcome(WireWelcome {
            epoch: epoch.0,
            start: Some((*start).into()),
            attempt: *attempt,
        }),
        Message::SnapshotFollows { epoch, attempt } => WireKind::SnapshotFollows(WireWelcome {
            epoch: epoch.0,
            start: None,
            attempt: *attempt,
        }),
        Message::ViewIs(view) => WireKind::ViewIs(view.into()),
        Message::Reject(RejectReason::ForeignCluster) => WireKind::Reject(REJECT_FOREIGN),
        Message::Reject(RejectReason::RolledBack) => WireKind::Reject(REJECT_ROLLED_BACK),
        Message::Reject(RejectReason::LacksCommitted) => WireKind::Reject(REJECT_LACKS_COMMITTED),
        Message::Append {
            epoch,
            previous,
            entries,
            commit,
        } => {
            let size = entries
                .iter()
                .map(|entry| frame_bytes(entry.payload.len()))
                .sum();
            let mut frames = BytesMut::with_capacity(size);
            for entry in entries {
                encode_frame(Seal::WIRE, 0, entry, &mut frames);
            }
            return encode_append(*epoch, *previous, *commit, frames.freeze());
        }
        Message::Ack { epoch, durable } => WireKind::Ack(beat(*epoch, 0, *durable, Micros(0))),
        Message::Heartbeat {
            epoch,
            sequence,
            commit,
            stuck,
        } => WireKind::Heartbeat(beat(*epoch, *sequence, *commit, *stuck)),
        Message::HeartbeatReply {
            epoch,
            sequence,
            durable,
        } => WireKind::HeartbeatReply(beat(*epoch, *sequence, *durable, Micros(0))),
    })
}

/// The bytes of an append whose entries are frames already.
#[must_use]
pub fn encode_append(epoch: Epoch, previous: Position, commit: Index, frames: Bytes) -> Bytes {
    finish(WireKind::Append(WireAppend {
        epoch: epoch.0,
        previous: Some(previous.into()),
        commit: commit.0,
        frames,
    }))
}

/// The bytes of a piece of a snapshot.
#[must_use]
pub fn encode_chunk(first: bool, chunk: Bytes) -> Bytes {
    finish(WireKind::SnapshotChunk(WireChunk { first, chunk }))
}

/// The bytes of a snapshot's end.
#[must_use]
pub fn encode_snapshot_end(position: Position) -> Bytes {
    finish(WireKind::SnapshotEnd(position.into()))
}

fn finish(kind: WireKind) -> Bytes {
    WirePacket { kind: Some(kind) }.encode_to_vec().into()
}

fn beat(epoch: Epoch, sequence: u64, index: Index, stuck: Micros) -> WireBeat {
    WireBeat {
        epoch: epoch.0,
        sequence,
        index: index.0,
        stuck_us: stuck.0,
    }
}

/// The message in `bytes`.
pub fn decode(bytes: Bytes) -> Result<Packet, WireError> {
    let kind = WirePacket::decode(bytes)?
        .kind
        .ok_or_else(|| missing("kind"))?;
    Ok(Packet::Core(match kind {
        WireKind::Hello(hello) => Message::Hello(decode_hello(hello)?),
        WireKind::Welcome(welcome) => Message::Welcome {
            epoch: Epoch(welcome.epoch),
            start: welcome
                .start
                .ok_or_else(|| missing("welcome.start"))?
                .into(),
            attempt: welcome.attempt,
        },
        WireKind::SnapshotFollows(follows) => Message::SnapshotFollows {
            epoch: Epoch(follows.epoch),
            attempt: follows.attempt,
        },
        WireKind::ViewIs(view) => Message::ViewIs(decode_view(view)?),
        WireKind::Reject(REJECT_FOREIGN) => Message::Reject(RejectReason::ForeignCluster),
        WireKind::Reject(REJECT_ROLLED_BACK) => Message::Reject(RejectReason::RolledBack),
        WireKind::Reject(REJECT_LACKS_COMMITTED) => Message::Reject(RejectReason::LacksCommitted),
        WireKind::Reject(other) => {
            return Err(WireError::Content(format!(
                "reject reason {other} is not known"
            )));
        }
        WireKind::Append(append) => decode_append(append)?,
        WireKind::Ack(ack) => Message::Ack {
            epoch: Epoch(ack.epoch),
            durable: Index(ack.index),
        },
        WireKind::Heartbeat(beat) => Message::Heartbeat {
            epoch: Epoch(beat.epoch),
            sequence: beat.sequence,
            commit: Index(beat.index),
            stuck: Micros(beat.stuck_us),
        },
        WireKind::HeartbeatReply(beat) => Message::HeartbeatReply {
            epoch: Epoch(beat.epoch),
            sequence: beat.sequence,
            durable: Index(beat.index),
        },
        WireKind::SnapshotChunk(WireChunk { first, chunk }) => {
            return Ok(Packet::SnapshotChunk { first, chunk });
        }
        WireKind::SnapshotEnd(position) => return Ok(Packet::SnapshotEnd(position.into())),
    }))
}

fn decode_view(view: v1::View) -> Result<View, WireError> {
    View::try_from(view).map_err(|error| WireError::Content(error.to_string()))
}

fn decode_hello(hello: WireHello) -> Result<Hello, WireError> {
    let node = hello.node.ok_or_else(|| missing("hello.node"))?;
    let node = NodeId::try_from(node).map_err(|error| WireError::Content(error.to_string()))?;
    let epochs: Vec<_> = hello
        .epochs
        .iter()
        .map(|at| (Epoch(at.epoch), Index(at.index)))
        .collect();
    if !epochs.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1) {
        return Err(WireError::Content("hello.epochs is not ascending".into()));
    }
    Ok(Hello {
        cluster_id: ClusterId(hello.cluster_id),
        node,
        view: hello.view.map(decode_view).transpose()?,
        log: LogOutline {
            base: hello.base.ok_or_else(|| missing("hello.base"))?.into(),
            epochs,
            last: hello.last.ok_or_else(|| missing("hello.last"))?.into(),
        },
        commit: Index(hello.commit),
        damaged: hello.damaged,
        attempt: hello.attempt,
    })
}

fn decode_append(append: WireAppend) -> Result<Message, WireError> {
    let previous: Position = append
        .previous
        .ok_or_else(|| missing("append.previous"))?
        .into();
    let mut entries: Vec<Entry> = Vec::new();
    let mut rest = append.frames;
    let mut before = previous;
    while !rest.is_empty() {
        let frame = decode_frame(Seal::WIRE, &rest)
            .map_err(|error| WireError::Content(format!("append.frames: {error}")))?;
        let position = frame.entry.position;
        // Checked: a peer may claim the last index there is.
        let next = before.index.0.checked_add(1);
        if next != Some(position.index.0) || position.epoch < before.epoch {
            let text = format!("append.frames: {position} cannot follow {before}");
            return Err(WireError::Content(text));
        }
        before = position;
        rest = rest.slice(frame.bytes.min(rest.len())..);
        entries.push(frame.entry);
    }
    Ok(Message::Append {
        epoch: Epoch(append.epoch),
        previous,
        entries,
        commit: Index(append.commit),
    })
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
