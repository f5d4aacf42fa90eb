//! The rules of watching, without IO: who gets which event, when, and in which order.
//!
//! A watcher is *synced* when everything up to the last applied revision was queued for it: it then
//! stands in the index and gets new events as they are applied. Otherwise it is *lagging* and reads
//! history, the stream's lagging watchers together, whenever the stream's queue has room. A synced
//! watcher whose stream is slow becomes a lagging one, so that a stream never holds much memory.
//!
//! Given applied events only, which are committed (V6): nothing is seen that could be undone. Never
//! reads the state, waits or sends.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::history::{HistoryChunk, HistoryError, RevisionEvents};
use super::queue::{Item, NO_WATCH, Said, Shape, size_of_events};
use super::range::{KeyRange, RangeIndex};
use super::stream::{ReadPlan, Serial, SharedEvents, Standing, Stream, StreamId, Watcher, reason};
use crate::limits::{WATCH_QUEUE_LOW_BYTES, WATCHERS_MAX};
use crate::pb::etcdserverpb::WatchCreateRequest;
use crate::pb::etcdserverpb::watch_create_request::FilterType;
use crate::pb::mvccpb::Event;

/// How many there are, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchCounts {
    /// Open streams.
    pub streams: usize,
    /// Watchers that are not over.
    pub watchers: usize,
    /// Those of them that read history.
    pub lagging: usize,
}

/// Every stream and watcher of the node.
#[derive(Debug, Default)]
pub struct WatchCore {
    revision: i64,
    index: RangeIndex<(StreamId, i64)>,
    streams: HashMap<StreamId, Stream>,
    next_stream: u64,
    next_serial: Serial,
    watchers: usize,
}

impl WatchCore {
    /// No stream yet; everything up to `revision` was applied.
    #[must_use]
    pub fn new(revision: i64) -> Self {
        Self {
            revision,
            ..Self::default()
        }
    }

    /// The last applied revision.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// How many there are.
    #[must_use]
    pub fn counts(&self) -> WatchCounts {
        WatchCounts {
            streams: self.streams.len(),
            watchers: self.watchers,
            lagging: self
                .streams
                .values()
                .map(|stream| stream.lagging.len())
                .sum(),
        }
    }

    /// A new stream without watchers.
    pub fn open(&mut self) -> StreamId {
        let id = StreamId(self.next_stream);
        self.next_stream += 1;
        self.streams.insert(id, Stream::default());
        id
    }

    /// Forgets a stream and its watchers.
    pub fn close(&mut self, id: StreamId) {
        let Some(stream) = self.streams.remove(&id) else {
            return;
        };
        self.watchers -= stream.watchers.len();
        for (watch_id, watcher) in &stream.watchers {
            if watcher.standing == Standing::Synced {
                self.index.remove(&watcher.range, (id, *watch_id));
            }
        }
    }

    /// A client's create. The answer is queued.
    pub fn create(&mut self, id: StreamId, request: &WatchCreateRequest) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let checked = if request.start_revision < 0 {
            Err(reason::COMPACTED)
        } else if self.watchers >= WATCHERS_MAX {
            Err(reason::TOO_MANY)
        } else {
            KeyRange::of_request(&request.key, &request.range_end)
                .map_err(|_| reason::EMPTY_RANGE)
                .and_then(|range| Ok((range, stream.claim(request.watch_id)?)))
        };
        let (range, watch_id) = match checked {
            Ok(checked) => checked,
            Err(refusal) => {
                stream
                    .queue
                    .push(Item::plain(NO_WATCH, self.revision, Said::Refused(refusal)));
                return;
            }
        };
        stream
            .queue
            .push(Item::plain(watch_id, self.revision, Said::Created));
        let start = request.start_revision;
        let serial = self.next_serial;
        self.next_serial += 1;
        let standing = if start == 0 || start > self.revision {
            self.index.insert(&range, (id, watch_id));
            Standing::Synced
        } else {
            stream.lagging.insert(serial, watch_id);
            Standing::Lagging(start)
        };
        let has = |filter: FilterType| request.filters.contains(&(filter as i32));
        let watcher = Watcher {
            serial,
            range,
            shape: Shape {
                prev_kv: request.prev_kv,
                fragment: request.fragment,
            },
            no_put: has(FilterType::Noput),
            no_delete: has(FilterType::Nodelete),
            start,
            standing,
            progress: request.progress_notify.then_some(true),
        };
        stream.watchers.insert(watch_id, watcher);
        self.watchers += 1;
    }

    /// A client's cancel. The answer is queued; an unknown watch is passed over.
    pub fn cancel(&mut self, id: StreamId, watch_id: i64) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let Some(watcher) = stream.watchers.remove(&watch_id) else {
            return;
        };
        self.watchers -= 1;
        match watcher.standing {
            Standing::Synced => self.index.remove(&watcher.range, (id, watch_id)),
            Standing::Lagging(_) => drop(stream.lagging.remove(&watcher.serial)),
            Standing::Ended => {}
        }
        stream
            .queue
            .push(Item::plain(watch_id, self.revision, Said::Canceled));
    }

    /// A client's request for progress of the whole stream: answered if every watch of it is synced
    /// and has begun, else passed over. The client asks again.
    pub fn progress(&mut self, id: StreamId) {
        let revision = self.revision;
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let mut live = stream
            .watchers
            .values()
            .filter(|watcher| watcher.standing != Standing::Ended)
            .peekable();
        if live.peek().is_some() && live.all(|watcher| watcher.is_current(revision)) {
            stream
                .queue
                .push(Item::plain(NO_WATCH, revision, Said::Progress));
        }
    }

    /// The notification interval has passed: tells the watchers that want it, and got no event since
    /// the last time, how far they are.
    pub fn tick(&mut self, id: StreamId) {
        let revision = self.revision;
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if !stream.queue.has_room(0) {
            return;
        }
        for (watch_id, watcher) in &mut stream.watchers {
            if watcher.progress == Some(true) && watcher.is_current(revision) {
                stream
                    .queue
                    .push(Item::plain(*watch_id, revision, Said::Progress));
            }
            watcher.progress = watcher.progress.map(|_| true);
        }
    }

    /// A revision was applied; history can read it. Adds the streams that now have something to send
    /// to `woken`.
    ///
    /// # Panics
    /// When the revision does not follow the last one: watchers would miss events.
    pub fn applied(&mut self, applied: &RevisionEvents, woken: &mut Vec<StreamId>) {
        assert!(
            applied.revision > self.revision,
            "revision {} was applied after {}",
            applied.revision,
            self.revision
        );
        let revision = applied.revision;
        self.revision = revision;
        if self.index.is_empty() {
            return;
        }
        let mut hits: Vec<((StreamId, i64), usize)> = Vec::new();
        for (at, event) in applied.events.iter().enumerate() {
            let Some(kv) = &event.kv else { continue };
            hits.extend(self.index.matching(&kv.key).map(|watcher| (watcher, at)));
        }
        // Each watcher's events together, in their order; a stream's watchers in the order of ids.
        hits.sort_unstable();
        let mut shared = SharedEvents::default();
        for group in hits.chunk_by(|one, next| one.0 == next.0) {
            let (stream_id, watch_id) = group[0].0;
            let Some(stream) = self.streams.get_mut(&stream_id) else {
                continue;
            };
            let Some(watcher) = stream.watchers.get_mut(&watch_id) else {
                continue;
            };
            if revision < watcher.start {
                continue;
            }
            let events: Vec<Arc<Event>> = group
                .iter()
                .filter(|(_, at)| watcher.wants(&applied.events[*at]))
                .map(|(_, at)| shared.of(&applied.events, *at))
                .collect();
            if events.is_empty() {
                continue;
            }
            if stream.queue.has_room(size_of_events(&events)) {
                watcher.note_events();
                stream
                    .queue
                    .push_events(watch_id, revision, watcher.shape, events);
            } else {
                watcher.standing = Standing::Lagging(revision);
                stream.lagging.insert(watcher.serial, watch_id);
                self.index.remove(&watcher.range, (stream_id, watch_id));
            }
            if woken.last() != Some(&stream_id) {
                woken.push(stream_id);
            }
        }
    }

    /// The revision jumped to `revision` above what was given up, and all below is compacted. A watcher
    /// that has everything so far goes on. One that waits for a revision in between has seen what was
    /// given up: it turns to history, and is told there that this was compacted. Adds the streams of
    /// such watchers to `woken`.
    pub fn jumped(&mut self, revision: i64, woken: &mut Vec<StreamId>) {
        let next = self.revision + 1;
        self.revision = revision;
        for (id, stream) in &mut self.streams {
            for (watch_id, watcher) in &mut stream.watchers {
                let lost = watcher.start > next && watcher.start <= revision;
                if lost && watcher.standing == Standing::Synced {
                    self.index.remove(&watcher.range, (*id, *watch_id));
                    watcher.standing = Standing::Lagging(watcher.start);
                    stream.lagging.insert(watcher.serial, *watch_id);
                    woken.push(*id);
                }
            }
        }
    }

    /// Whether a watcher waits for what is applied next. Those that lag read it from history anyway.
    #[must_use]
    pub fn listens(&self) -> bool {
        !self.index.is_empty()
    }

    /// Everything up to `revision` was applied and not told, because nobody listened when it was.
    /// Whoever began to meanwhile reads it from history. Adds their streams to `woken`.
    ///
    /// # Panics
    /// When revisions do not ascend.
    pub fn skipped(&mut self, revision: i64, woken: &mut Vec<StreamId>) {
        assert!(
            revision > self.revision,
            "revision {revision} was applied after {}",
            self.revision
        );
        if self.listens() {
            self.restored(revision, woken);
        } else {
            self.revision = revision;
        }
    }

    /// The state was replaced by a snapshot at `revision`: what lies between is read from history, or
    /// was compacted. Adds every stream to `woken`.
    pub fn restored(&mut self, revision: i64, woken: &mut Vec<StreamId>) {
        let next = self.revision + 1;
        self.index = RangeIndex::default();
        self.revision = revision;
        for (id, stream) in &mut self.streams {
            woken.push(*id);
            for (watch_id, watcher) in &mut stream.watchers {
                if watcher.standing != Standing::Synced {
                    continue;
                }
                let next = next.max(watcher.start);
                if next > revision {
                    self.index.insert(&watcher.range, (*id, *watch_id));
                } else {
                    watcher.standing = Standing::Lagging(next);
                    stream.lagging.insert(watcher.serial, *watch_id);
                }
            }
        }
    }

    /// The next item to send on the stream.
    pub fn take(&mut self, id: StreamId) -> Option<Item> {
        self.streams.get_mut(&id)?.queue.pop()
    }

    /// Whether so little waits on the stream that the client may ask for more.
    #[must_use]
    pub fn has_room(&self, id: StreamId) -> bool {
        self.streams
            .get(&id)
            .is_some_and(|stream| stream.queue.has_room(0))
    }

    /// What the stream wants to read, if it lags and its queue is nearly empty. At most one plan of a
    /// stream is out at a time.
    pub fn plan(&mut self, id: StreamId) -> Option<ReadPlan> {
        let to = self.revision;
        let stream = self.streams.get_mut(&id)?;
        if stream.reading || stream.lagging.is_empty() {
            return None;
        }
        if stream.queue.bytes() > WATCH_QUEUE_LOW_BYTES {
            return None;
        }
        let mut from = i64::MAX;
        let mut index = RangeIndex::default();
        let mut readers = BTreeMap::new();
        for (serial, watch_id) in &stream.lagging {
            let watcher = &stream.watchers[watch_id];
            let Standing::Lagging(next) = watcher.standing else {
                continue;
            };
            from = from.min(next);
            index.insert(&watcher.range, *serial);
            readers.insert(*serial, watcher.shape.prev_kv);
        }
        stream.reading = true;
        Some(ReadPlan {
            stream: id,
            from,
            to,
            index,
            readers,
        })
    }

    /// Takes in what history said to a plan. A storage failure is left to the caller; the plan is then
    /// made again.
    pub fn caught_up(&mut self, plan: &ReadPlan, read: Result<HistoryChunk, HistoryError>) {
        let Some(stream) = self.streams.get_mut(&plan.stream) else {
            return;
        };
        stream.reading = false;
        match read {
            Ok(chunk) => {
                stream.take_in(plan, &chunk);
                self.sync(plan, chunk.covered);
            }
            Err(HistoryError::Compacted { compacted }) => stream.end_below(compacted),
            Err(HistoryError::Storage(_)) => {}
        }
    }

    /// Moves the plan's watchers on to after `covered`, into the index if nothing is missing.
    fn sync(&mut self, plan: &ReadPlan, covered: i64) {
        let revision = self.revision;
        let Some(stream) = self.streams.get_mut(&plan.stream) else {
            return;
        };
        let lagging = std::mem::take(&mut stream.lagging);
        for (serial, watch_id) in lagging {
            let Some(watcher) = stream.watchers.get_mut(&watch_id) else {
                continue;
            };
            let Standing::Lagging(next) = watcher.standing else {
                continue;
            };
            // A watcher that came after the plan was made is not older than what it asked for.
            let next = if plan.knows(serial) {
                next.max(covered + 1)
            } else {
                next
            };
            if next > revision {
                watcher.standing = Standing::Synced;
                self.index.insert(&watcher.range, (plan.stream, watch_id));
            } else {
                watcher.standing = Standing::Lagging(next);
                stream.lagging.insert(serial, watch_id);
            }
        }
    }
}
