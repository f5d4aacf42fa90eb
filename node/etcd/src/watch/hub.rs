//! The watch core behind a lock, with a wake-up for each stream.
//!
//! The state calls [`WatchHub::applied`] after a revision can be read and before its outcome goes to
//! the client: who has seen a write's answer and then asks for progress gets its revision. The lock is
//! held for look-ups only; responses are built by the streams' own tasks.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::core::{WatchCore, WatchCounts};
use super::history::{HistoryChunk, HistoryError, RevisionEvents};
use super::queue::Item;
use super::stream::{ReadPlan, StreamId};
use crate::pb::etcdserverpb::WatchCreateRequest;

#[derive(Debug, Default)]
struct Shared {
    core: WatchCore,
    wake: HashMap<StreamId, Arc<Notify>>,
}

/// Every watch of the node. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct WatchHub {
    shared: Arc<Mutex<Shared>>,
}

impl WatchHub {
    /// A hub without streams for a state that stands at `revision`.
    #[must_use]
    pub fn new(revision: i64) -> Self {
        let shared = Shared {
            core: WatchCore::new(revision),
            wake: HashMap::new(),
        };
        Self {
            shared: Arc::new(Mutex::new(shared)),
        }
    }

    /// Revisions were applied, in this order, and can be read from history.
    pub fn applied(&self, revisions: &[RevisionEvents]) {
        self.change(|core, woken| {
            for revision in revisions {
                core.applied(revision, woken);
            }
        });
    }

    /// Acknowledged writes were given up; the state stands at `revision`, and all below is compacted.
    pub fn jumped(&self, revision: i64) {
        self.change(|core, woken| core.jumped(revision, woken));
    }

    /// Whether a watcher waits for what is applied next.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.shared.lock().core.listens()
    }

    /// Everything up to `revision` was applied while nobody listened; see [`WatchCore::skipped`].
    pub fn skipped(&self, revision: i64) {
        self.change(|core, woken| core.skipped(revision, woken));
    }

    /// The state was replaced by a snapshot that stands at `revision`.
    pub fn restored(&self, revision: i64) {
        self.change(|core, woken| core.restored(revision, woken));
    }

    fn change(&self, change: impl FnOnce(&mut WatchCore, &mut Vec<StreamId>)) {
        let mut woken = Vec::new();
        let mut shared = self.shared.lock();
        change(&mut shared.core, &mut woken);
        woken.sort_unstable();
        woken.dedup();
        for id in &woken {
            if let Some(wake) = shared.wake.get(id) {
                wake.notify_one();
            }
        }
    }

    /// The last revision that watchers were told about.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.shared.lock().core.revision()
    }

    /// How many streams and watchers there are, for metrics.
    #[must_use]
    pub fn counts(&self) -> WatchCounts {
        self.shared.lock().core.counts()
    }

    /// Opens a stream; it is closed when the handle is dropped.
    #[must_use]
    pub fn open(&self) -> WatchStream {
        let wake = Arc::new(Notify::new());
        let mut shared = self.shared.lock();
        let id = shared.core.open();
        shared.wake.insert(id, Arc::clone(&wake));
        WatchStream {
            hub: self.clone(),
            id,
            wake,
        }
    }
}

/// One open watch stream.
#[derive(Debug)]
pub struct WatchStream {
    hub: WatchHub,
    id: StreamId,
    wake: Arc<Notify>,
}

impl WatchStream {
    /// A client's create; see [`WatchCore::create`].
    pub fn create(&self, request: &WatchCreateRequest) {
        self.hub.shared.lock().core.create(self.id, request);
    }

    /// A client's cancel; see [`WatchCore::cancel`].
    pub fn cancel(&self, watch_id: i64) {
        self.hub.shared.lock().core.cancel(self.id, watch_id);
    }

    /// A client's progress request; see [`WatchCore::progress`].
    pub fn progress(&self) {
        self.hub.shared.lock().core.progress(self.id);
    }

    /// The notification interval has passed; see [`WatchCore::tick`].
    pub fn tick(&self) {
        self.hub.shared.lock().core.tick(self.id);
    }

    /// The next item to send.
    pub fn take(&self) -> Option<Item> {
        self.hub.shared.lock().core.take(self.id)
    }

    /// Whether the client's next request may be taken in; see [`WatchCore::has_room`].
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.hub.shared.lock().core.has_room(self.id)
    }

    /// What the stream wants to read of history now; see [`WatchCore::plan`].
    pub fn plan(&self) -> Option<ReadPlan> {
        self.hub.shared.lock().core.plan(self.id)
    }

    /// The answer to a plan; see [`WatchCore::caught_up`].
    pub fn caught_up(&self, plan: &ReadPlan, read: Result<HistoryChunk, HistoryError>) {
        self.hub.shared.lock().core.caught_up(plan, read);
    }

    /// Resolves when there may be something to send again. Remembers one wake-up that came before.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        let mut shared = self.hub.shared.lock();
        shared.core.close(self.id);
        shared.wake.remove(&self.id);
    }
}
