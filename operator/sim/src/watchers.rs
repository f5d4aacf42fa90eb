//! Clients that watch: each on any node, through the real watch hub, and on to another node when the
//! stream ends. Every event must come once, in order, without a gap, over all streams together.

use bytes::Bytes;
use standby_etcd::limits::WATCH_HISTORY_BYTES;
use standby_etcd::pb::etcdserverpb::WatchCreateRequest;
use standby_etcd::pb::mvccpb::event::EventType;
use standby_etcd::watch::{History as _, Item, Said, WatchStream};

use crate::clients::{KEYS, key};
use crate::time::{MS, SECOND, Time};
use crate::world::{Event, ProcRef, World};

/// A watch that a node serves.
pub struct Served {
    /// Whose.
    pub watcher: usize,
    /// Of which of its streams.
    pub stream_number: u64,
    /// The node's end.
    pub stream: WatchStream,
}

/// One watching client.
#[derive(Clone, Debug)]
pub struct Watcher {
    /// The first key.
    pub key: Bytes,
    /// The end of the range; empty: one key.
    pub end: Bytes,
    /// The first revision that it has not seen everything of.
    pub next: i64,
    /// Who serves it.
    pub at: Option<ProcRef>,
    /// Counts its streams.
    pub stream_number: u64,
    arrives: Time,
}

impl Watcher {
    fn covers(&self, key: &Bytes) -> bool {
        if self.end.is_empty() {
            *key == self.key
        } else {
            *key >= self.key && *key < self.end
        }
    }
}

/// Watchers of everything, and of a single key.
#[must_use]
pub fn watchers() -> Vec<Watcher> {
    let one = |key: Bytes, end: Bytes| Watcher {
        key,
        end,
        next: 1,
        at: None,
        stream_number: 0,
        arrives: 0,
    };
    vec![
        one(key(0), Bytes::from_static(b"l")),
        one(key(KEYS - 1), Bytes::new()),
    ]
}

impl World {
    /// A watcher looks for a node, or moves on from one that it has had for long.
    pub(crate) fn watcher_acts(&mut self, which: usize) {
        let again = self.rng.between(SECOND, 20 * SECOND);
        self.schedule(again, Event::Watcher(which));
        let at = self.watchers[which]
            .at
            .filter(|proc| self.proc(*proc).is_some());
        let stays = at.is_some() && !self.rng.permille(100);
        if stays {
            return self.ask_progress(which);
        }
        let Some(to) = self.any_node() else { return };
        let (Some(host), site) = (
            self.proc(to).map(|process| process.host),
            self.client_site(),
        ) else {
            return;
        };
        if self.net.reaches(site, host) {
            self.watch(which, to);
        }
    }

    /// Opens a stream, after the latency of asking for it.
    fn watch(&mut self, which: usize, to: ProcRef) {
        let watcher = &mut self.watchers[which];
        watcher.stream_number += 1;
        watcher.at = Some(to);
        let (stream_number, next) = (watcher.stream_number, watcher.next);
        let request = WatchCreateRequest {
            key: watcher.key.clone(),
            range_end: watcher.end.clone(),
            start_revision: next,
            ..WatchCreateRequest::default()
        };
        let Some(process) = self.proc_mut(to) else {
            return;
        };
        process.watches.retain(|served| served.watcher != which);
        let stream = process.hub.open();
        stream.create(&request);
        process.watches.push(Served {
            watcher: which,
            stream_number,
            stream,
        });
        self.report.watches += 1;
        self.pump_watches(to);
    }

    fn ask_progress(&mut self, which: usize) {
        let Some(to) = self.watchers[which].at else {
            return;
        };
        let now = self.now;
        let Some(process) = self
            .proc_mut(to)
            .filter(|process| process.paused_until <= now)
        else {
            return;
        };
        if let Some(served) = process
            .watches
            .iter()
            .find(|served| served.watcher == which)
        {
            served.stream.progress();
        }
        self.pump_watches(to);
    }

    /// Sends what the hub has for each stream of a node.
    pub fn pump_watches(&mut self, proc: ProcRef) {
        let mut items = Vec::new();
        let Some(process) = self.proc(proc) else {
            return;
        };
        for served in &process.watches {
            loop {
                if let Some(item) = served.stream.take() {
                    items.push((served.watcher, served.stream_number, item));
                } else if let Some(plan) = served.stream.plan() {
                    let want = |key: &Bytes| plan.want(key);
                    let read = process
                        .view
                        .read(plan.from, plan.to, &want, WATCH_HISTORY_BYTES);
                    served.stream.caught_up(&plan, read);
                } else {
                    break;
                }
            }
        }
        let (host, site) = (process.host, self.client_site());
        for (which, stream_number, item) in items {
            let latency = self.net.latency(host, site, &mut self.rng);
            let watcher = &mut self.watchers[which];
            if watcher.stream_number != stream_number {
                continue;
            }
            if self.net.cuts(host, site) {
                // The stream breaks; the watcher goes on elsewhere.
                watcher.at = None;
                watcher.stream_number += 1;
                continue;
            }
            watcher.arrives = watcher.arrives.max(self.now + latency);
            let at = watcher.arrives;
            self.schedule_at(at, Event::Watched(which, stream_number, Box::new(item)));
        }
    }

    /// Something arrives at a watcher.
    pub(crate) fn watched(&mut self, which: usize, stream_number: u64, item: Item) {
        let watcher = self.watchers[which].clone();
        if watcher.stream_number != stream_number {
            return;
        }
        match item.said {
            Said::Created | Said::Canceled => {}
            Said::Refused(why) => self.broken("watch", format!("watcher {which}: refused: {why}")),
            Said::Compacted(at) => {
                if watcher.next >= self.history.model.compacted.max(2) {
                    let text = format!(
                        "watcher {which} at {} is told: compacted at {at}",
                        watcher.next
                    );
                    self.broken("watch", text);
                }
                self.report.watches_compacted += 1;
                let watcher = &mut self.watchers[which];
                watcher.next = watcher.next.max(at);
                watcher.at = None;
                watcher.stream_number += 1;
                self.schedule(MS, Event::Watcher(which));
            }
            Said::Progress => self.watcher_saw(which, &watcher, &[], item.revision),
            Said::Events(_, events) => {
                let seen: Vec<(i64, Bytes, bool)> = events
                    .iter()
                    .filter_map(|event| {
                        let kv = event.kv.as_ref()?;
                        let put = event.r#type == EventType::Put as i32;
                        Some((kv.mod_revision, kv.key.clone(), put))
                    })
                    .collect();
                let last = seen.last().map_or(0, |(revision, ..)| *revision);
                self.report.events_watched += seen.len() as u64;
                self.watcher_saw(which, &watcher, &seen, last);
            }
        }
    }

    /// A watcher now knows everything up to and of `through`: that must be all there was.
    fn watcher_saw(
        &mut self,
        which: usize,
        watcher: &Watcher,
        seen: &[(i64, Bytes, bool)],
        through: i64,
    ) {
        let must: Vec<(i64, Bytes, bool)> = self
            .history
            .model
            .events_between(watcher.next, through)
            .filter(|(_, key, _)| watcher.covers(key))
            .cloned()
            .collect();
        if must != seen {
            let text = format!(
                "watcher {which} from {} to {through}: there was {must:?}, it was told {seen:?}",
                watcher.next
            );
            self.broken("watch", text);
        }
        let watcher = &mut self.watchers[which];
        watcher.next = watcher.next.max(through + 1);
    }
}
