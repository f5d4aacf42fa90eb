//! A history in memory and a stream over it, for tests of the core: what comes is written in short
//! lines.

use std::sync::Arc;

use bytes::Bytes;

use super::core::WatchCore;
use super::history::{HistoryChunk, HistoryError, RevisionEvents, Want};
use super::queue::{Item, Said};
use super::stream::StreamId;
use crate::pb::etcdserverpb::{WatchCreateRequest, WatchResponse};
use crate::pb::mvccpb::event::EventType;
use crate::pb::mvccpb::{Event, KeyValue};

/// A put of `key` at `revision` over an older version.
pub fn put(key: &str, revision: i64) -> Event {
    let kv = |mod_revision| KeyValue {
        key: Bytes::copy_from_slice(key.as_bytes()),
        create_revision: 1,
        mod_revision,
        value: Bytes::from(mod_revision.to_string()),
        ..KeyValue::default()
    };
    Event {
        r#type: EventType::Put.into(),
        kv: Some(kv(revision)),
        prev_kv: Some(kv(1)),
    }
}

/// A deletion of `key` at `revision`.
pub fn delete(key: &str, revision: i64) -> Event {
    let mut event = put(key, revision);
    event.r#type = EventType::Delete.into();
    event
}

/// The past, in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryHistory {
    pub revisions: Vec<RevisionEvents>,
    pub compacted: i64,
}

impl MemoryHistory {
    /// As [`super::History::read`], with a limit in events.
    pub fn read(
        &self,
        from: i64,
        to: i64,
        want: &dyn Fn(&Bytes) -> Want,
        limit_events: usize,
    ) -> Result<HistoryChunk, HistoryError> {
        if from < self.compacted {
            return Err(HistoryError::Compacted {
                compacted: self.compacted,
            });
        }
        let mut chunk = HistoryChunk {
            revisions: Vec::new(),
            covered: to,
        };
        let mut gathered = 0;
        for past in self
            .revisions
            .iter()
            .filter(|past| (from..=to).contains(&past.revision))
        {
            if gathered >= limit_events {
                chunk.covered = past.revision - 1;
                break;
            }
            let wanted = |event: &&Event| want(&event.kv.as_ref().unwrap().key) != Want::Skip;
            let events: Vec<Event> = past.events.iter().filter(wanted).cloned().collect();
            gathered += events.len();
            if !events.is_empty() {
                chunk.revisions.push(RevisionEvents {
                    revision: past.revision,
                    events,
                });
            }
        }
        Ok(chunk)
    }
}

/// A core with one stream over a history.
pub struct World {
    pub core: WatchCore,
    pub stream: StreamId,
    pub history: MemoryHistory,
}

impl World {
    /// At revision 1, as an empty store.
    pub fn new() -> Self {
        let mut core = WatchCore::new(1);
        let stream = core.open();
        Self {
            core,
            stream,
            history: MemoryHistory::default(),
        }
    }

    /// Applies the next revision with these keys put; `-key` deletes.
    pub fn apply(&mut self, keys: &str) {
        let applied = self.revise(keys);
        self.core.applied(&applied, &mut Vec::new());
    }

    /// The same, by somebody who had asked before whether anybody listens, and was told no.
    pub fn apply_unheard(&mut self, keys: &str) {
        let applied = self.revise(keys);
        self.core.skipped(applied.revision, &mut Vec::new());
    }

    fn revise(&mut self, keys: &str) -> RevisionEvents {
        let revision = self.core.revision() + 1;
        let events = keys
            .split_whitespace()
            .map(|key| match key.strip_prefix('-') {
                Some(key) => delete(key, revision),
                None => put(key, revision),
            })
            .collect();
        let applied = RevisionEvents { revision, events };
        self.history.revisions.push(applied.clone());
        applied
    }

    /// The revision jumps to `revision`, and everything below is compacted.
    pub fn jump(&mut self, revision: i64) {
        self.history.compacted = revision;
        self.core.jumped(revision, &mut Vec::new());
    }

    /// Asks for a watch on `key` up to `end`.
    pub fn create(&mut self, key: &'static str, end: &'static str, start: i64) {
        self.create_as(&WatchCreateRequest {
            key: key.into(),
            range_end: end.into(),
            start_revision: start,
            ..WatchCreateRequest::default()
        });
    }

    /// Asks for a watch.
    pub fn create_as(&mut self, request: &WatchCreateRequest) {
        self.core.create(self.stream, request);
    }

    /// Reads history once, if the stream wants to.
    pub fn read(&mut self, limit_events: usize) -> bool {
        let Some(plan) = self.core.plan(self.stream) else {
            return false;
        };
        let want = |key: &Bytes| plan.want(key);
        let read = self.history.read(plan.from, plan.to, &want, limit_events);
        self.core.caught_up(&plan, read);
        true
    }

    /// Everything that comes until nothing more does.
    pub fn said(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            while let Some(item) = self.core.take(self.stream) {
                said.push(line(&item));
            }
            if !self.read(2) {
                return said;
            }
        }
    }
}

fn line(item: &Item) -> String {
    let (id, at) = (item.watch_id, item.revision);
    match &item.said {
        Said::Created => format!("{id} created @{at}"),
        Said::Refused(reason) => format!("{id} refused @{at}: {reason}"),
        Said::Canceled => format!("{id} canceled @{at}"),
        Said::Compacted(compacted) => format!("{id} compacted {compacted} @{at}"),
        Said::Progress => format!("{id} progress @{at}"),
        Said::Events(_, events) => {
            let events: Vec<String> = events.iter().map(short).collect();
            format!("{id} {} @{at}", events.join(" "))
        }
    }
}

fn short(event: &Arc<Event>) -> String {
    let kv = event.kv.as_ref().unwrap();
    let sign = if event.r#type == i32::from(EventType::Delete) {
        "-"
    } else {
        ""
    };
    format!(
        "{sign}{}:{}",
        std::str::from_utf8(&kv.key).unwrap(),
        kv.mod_revision
    )
}

/// The revisions of a response's events.
pub fn revisions(response: &WatchResponse) -> Vec<i64> {
    response
        .events
        .iter()
        .map(|event| event.kv.as_ref().unwrap().mod_revision)
        .collect()
}
