//! What waits to be sent on one watch stream: one ordered queue for events, progress and the answers
//! to creates and cancels, so that a progress notification can never overtake an event.
//!
//! Never decides what is sent, and never splits what happened at one revision over two responses
//! (unless the client asked for fragments).

use std::collections::VecDeque;
use std::sync::Arc;

use prost::Message as _;

use crate::limits::{WATCH_FRAGMENT_BYTES, WATCH_QUEUE_BYTES, WATCH_RESPONSE_BYTES};
use crate::pb::etcdserverpb::{ResponseHeader, WatchResponse};
use crate::pb::mvccpb::Event;
use crate::pb::mvccpb::event::EventType;

/// The watch id of a response that belongs to no watch: a refused create, or progress of all.
pub const NO_WATCH: i64 = -1;

/// How a watcher wants its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// With the version before each change.
    pub prev_kv: bool,
    /// Large responses cut into pieces.
    pub fragment: bool,
}

/// What a queued item says.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// The watch exists from here on.
    Created,
    /// A create was refused.
    Refused(&'static str),
    /// The client's cancel was done.
    Canceled,
    /// The watch is over: what it still needed was compacted at this revision.
    Compacted(i64),
    /// Everything up to the item's revision was sent.
    Progress,
    /// Events of one or more whole revisions.
    Events(Shape, Vec<Arc<Event>>),
}

/// One response in waiting.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Whose it is.
    pub watch_id: i64,
    /// The header's revision.
    pub revision: i64,
    /// What it says.
    pub said: Said,
    /// About how much memory it holds.
    bytes: usize,
}

/// The memory an item takes beside its events.
const ITEM_BYTES: usize = 128;
/// The memory an event takes beside its keys and values.
const EVENT_BYTES: usize = 128;

/// About the memory that events hold.
#[must_use]
pub fn size_of_events(events: &[Arc<Event>]) -> usize {
    events.iter().map(|event| size_of_event(event)).sum()
}

/// About the memory that an event holds.
#[must_use]
pub fn size_of_event(event: &Event) -> usize {
    let pair = |kv: &crate::pb::mvccpb::KeyValue| kv.key.len() + kv.value.len();
    EVENT_BYTES + event.kv.as_ref().map_or(0, pair) + event.prev_kv.as_ref().map_or(0, pair)
}

impl Item {
    /// An item without events.
    #[must_use]
    pub fn plain(watch_id: i64, revision: i64, said: Said) -> Self {
        Self {
            watch_id,
            revision,
            said,
            bytes: ITEM_BYTES,
        }
    }

    /// The response on the wire. `header` is complete but for the revision.
    #[must_use]
    pub fn into_response(self, header: ResponseHeader) -> WatchResponse {
        let mut response = WatchResponse {
            header: Some(ResponseHeader {
                revision: self.revision,
                ..header
            }),
            watch_id: self.watch_id,
            ..WatchResponse::default()
        };
        match self.said {
            Said::Created => response.created = true,
            Said::Refused(reason) => {
                response.created = true;
                response.canceled = true;
                reason.clone_into(&mut response.cancel_reason);
            }
            Said::Canceled => response.canceled = true,
            Said::Compacted(at) => {
                response.canceled = true;
                response.compact_revision = at;
            }
            Said::Progress => {}
            Said::Events(shape, events) => {
                response.events = events.iter().map(|event| shaped(event, shape)).collect();
            }
        }
        response
    }

    /// Whether the watcher asked for large responses in pieces.
    #[must_use]
    pub fn fragments(&self) -> bool {
        matches!(self.said, Said::Events(Shape { fragment: true, .. }, _))
    }
}

fn shaped(event: &Event, shape: Shape) -> Event {
    // A transaction may delete a key and put it again (etcd does not see that they meet when the
    // deletion has no upper end): that put creates, whatever was there before the revision.
    let creates = event.r#type == EventType::Put as i32
        && event
            .kv
            .as_ref()
            .is_some_and(|kv| kv.create_revision == kv.mod_revision);
    let prev_kv = event
        .prev_kv
        .as_ref()
        .filter(|_| shape.prev_kv && !creates)
        .cloned();
    Event {
        r#type: event.r#type,
        kv: event.kv.clone(),
        prev_kv,
    }
}

/// Cuts a response into pieces below `limit_bytes` where it can be cut: between events. Every piece
/// but the last has `fragment` set.
#[must_use]
pub fn fragments(mut response: WatchResponse, limit_bytes: usize) -> Vec<WatchResponse> {
    if response.events.len() < 2 || response.encoded_len() < limit_bytes {
        return vec![response];
    }
    let events = std::mem::take(&mut response.events);
    let empty_bytes = response.encoded_len();
    let mut pieces = Vec::new();
    let mut piece = WatchResponse {
        fragment: true,
        ..response.clone()
    };
    let mut piece_bytes = empty_bytes;
    for event in events {
        let event_bytes = event.encoded_len() + EVENT_FRAME_BYTES;
        if !piece.events.is_empty() && piece_bytes + event_bytes >= limit_bytes {
            pieces.push(piece);
            piece = WatchResponse {
                fragment: true,
                ..response.clone()
            };
            piece_bytes = empty_bytes;
        }
        piece_bytes += event_bytes;
        piece.events.push(event);
    }
    piece.fragment = false;
    pieces.push(piece);
    pieces
}

/// The most that stands before an event in a response: its tag and its length.
const EVENT_FRAME_BYTES: usize = 6;

/// The queue of one stream.
#[derive(Debug, Default)]
pub struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
}

impl Queue {
    /// Appends an item.
    pub fn push(&mut self, item: Item) {
        self.bytes += item.bytes;
        self.items.push_back(item);
    }

    /// Appends one watcher's events up to and of `revision`. They join the item before them if that
    /// is the same watcher's and small: a client that lags a little gets fewer, larger responses.
    pub fn push_events(
        &mut self,
        watch_id: i64,
        revision: i64,
        shape: Shape,
        events: Vec<Arc<Event>>,
    ) {
        let bytes = size_of_events(&events);
        self.bytes += bytes;
        if let Some(Item {
            watch_id: last,
            revision: at,
            said: Said::Events(of, queued),
            bytes: held,
        }) = self.items.back_mut()
            && *last == watch_id
            && *of == shape
            && *held + bytes <= WATCH_RESPONSE_BYTES
        {
            *at = revision;
            *held += bytes;
            queued.extend(events);
            return;
        }
        self.bytes += ITEM_BYTES;
        let bytes = bytes + ITEM_BYTES;
        self.items.push_back(Item {
            watch_id,
            revision,
            said: Said::Events(shape, events),
            bytes,
        });
    }

    /// The next item to send.
    pub fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.bytes -= item.bytes;
        Some(item)
    }

    /// About how much memory waits here.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether so many bytes more may wait. An empty queue takes anything.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.items.is_empty() || self.bytes + bytes <= WATCH_QUEUE_BYTES
    }
}

/// The responses an item becomes: one, or pieces if its watcher asked for them.
#[must_use]
pub fn responses(item: Item, header: ResponseHeader) -> Vec<WatchResponse> {
    let cut = item.fragments();
    let response = item.into_response(header);
    if cut {
        fragments(response, WATCH_FRAGMENT_BYTES)
    } else {
        vec![response]
    }
}
