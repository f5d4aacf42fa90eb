//! One watch stream and its watchers: where each one stands, and what a stretch of history brings them.
//!
//! Never decides when a watcher is told: that is [`super::WatchCore`].

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::history::{HistoryChunk, Want};
use super::queue::{Item, Queue, Said, Shape};
use super::range::{KeyRange, RangeIndex};
use crate::pb::mvccpb::Event;
use crate::pb::mvccpb::event::EventType;

/// Names one open watch stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub(super) u64);

/// Names one watcher of one stream: its watch id may be used again after a cancel, this may not.
pub(super) type Serial = u64;

/// Why a create was refused, in etcd's words: clients compare them.
pub(super) mod reason {
    pub const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
    pub const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
    pub const DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";
    pub const TOO_MANY: &str = "standby: too many watchers on this node";
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// In the index.
    Synced,
    /// Everything before this revision was queued.
    Lagging(i64),
    /// Ended by a compaction. Its id stays taken, and a cancel is answered, until the cancel.
    Ended,
}

#[derive(Debug)]
pub(super) struct Watcher {
    pub serial: Serial,
    pub range: KeyRange,
    pub shape: Shape,
    pub no_put: bool,
    pub no_delete: bool,
    /// Nothing below this revision is for it.
    pub start: i64,
    pub standing: Standing,
    /// Whether it wants notifications, and whether it got no event since the last tick.
    pub progress: Option<bool>,
}

/// One revision's events as they are handed to watchers: made when the first one takes it, then
/// shared by all.
#[derive(Default)]
pub(super) struct SharedEvents(Vec<Option<Arc<Event>>>);

impl SharedEvents {
    /// The event at this place.
    pub fn of(&mut self, events: &[Event], at: usize) -> Arc<Event> {
        self.0.resize(events.len(), None);
        Arc::clone(self.0[at].get_or_insert_with(|| Arc::new(events[at].clone())))
    }
}

#[derive(Debug, Default)]
pub(super) struct Stream {
    pub watchers: BTreeMap<i64, Watcher>,
    /// Serials of lagging watchers and their watch ids.
    pub lagging: BTreeMap<Serial, i64>,
    pub next_id: i64,
    pub queue: Queue,
    /// A plan is out and not yet answered.
    pub reading: bool,
}

/// What a stream wants to read of history. Answered by [`super::WatchCore::caught_up`].
#[derive(Debug)]
pub struct ReadPlan {
    pub(super) stream: StreamId,
    /// First revision to read.
    pub from: i64,
    /// Last revision to read.
    pub to: i64,
    pub(super) index: RangeIndex<Serial>,
    /// Everybody the plan is for, and whether they want `prev_kv`.
    pub(super) readers: BTreeMap<Serial, bool>,
}

impl ReadPlan {
    /// What the plan's watchers want of `key`.
    #[must_use]
    pub fn want(&self, key: &Bytes) -> Want {
        let wants = self.index.matching(key).map(|serial| {
            if self.readers[&serial] {
                Want::WithPrevious
            } else {
                Want::Events
            }
        });
        wants.max().unwrap_or(Want::Skip)
    }

    pub(super) fn knows(&self, serial: Serial) -> bool {
        self.readers.contains_key(&serial)
    }
}

impl Watcher {
    /// Whether its filters let the event through.
    pub fn wants(&self, event: &Event) -> bool {
        let is_put = event.r#type == EventType::Put as i32;
        !(is_put && self.no_put || !is_put && self.no_delete)
    }

    /// Whether everything up to `revision` was queued for it, and it has begun.
    pub fn is_current(&self, revision: i64) -> bool {
        self.standing == Standing::Synced && revision >= self.start
    }

    /// The next notification can be left out.
    pub fn note_events(&mut self) {
        self.progress = self.progress.map(|_| false);
    }
}

impl Stream {
    /// The watch id for a create that asks for `asked`; 0 leaves the choice to us.
    pub fn claim(&mut self, asked: i64) -> Result<i64, &'static str> {
        if asked != 0 {
            let taken = self.watchers.contains_key(&asked);
            return if taken {
                Err(reason::DUPLICATE_ID)
            } else {
                Ok(asked)
            };
        }
        while self.watchers.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Ok(self.next_id - 1)
    }

    /// Queues a chunk's events for the plan's watchers: one response for each.
    pub fn take_in(&mut self, plan: &ReadPlan, chunk: &HistoryChunk) {
        let mut found: BTreeMap<Serial, Vec<Arc<Event>>> = BTreeMap::new();
        for of_revision in &chunk.revisions {
            let mut shared = SharedEvents::default();
            for (at, event) in of_revision.events.iter().enumerate() {
                let Some(kv) = &event.kv else { continue };
                for serial in plan.index.matching(&kv.key) {
                    let Some(watch_id) = self.lagging.get(&serial) else {
                        continue;
                    };
                    let watcher = &self.watchers[watch_id];
                    let Standing::Lagging(next) = watcher.standing else {
                        continue;
                    };
                    if of_revision.revision >= next && watcher.wants(event) {
                        let event = shared.of(&of_revision.events, at);
                        found.entry(serial).or_default().push(event);
                    }
                }
            }
        }
        for (serial, events) in found {
            let watch_id = self.lagging[&serial];
            if let Some(watcher) = self.watchers.get_mut(&watch_id) {
                watcher.note_events();
                self.queue
                    .push_events(watch_id, chunk.covered, watcher.shape, events);
            }
        }
    }

    /// Ends the lagging watchers that need what was compacted.
    pub fn end_below(&mut self, compacted: i64) {
        let watchers = &mut self.watchers;
        let queue = &mut self.queue;
        self.lagging.retain(|_, watch_id| {
            let Some(watcher) = watchers.get_mut(watch_id) else {
                return false;
            };
            match watcher.standing {
                Standing::Lagging(next) if next < compacted => {
                    watcher.standing = Standing::Ended;
                    // etcd leaves the header's revision at 0 here.
                    queue.push(Item::plain(*watch_id, 0, Said::Compacted(compacted)));
                    false
                }
                _ => true,
            }
        });
    }
}
