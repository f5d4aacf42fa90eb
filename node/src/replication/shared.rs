//! Numbers that the driver publishes and others read without asking it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use standby_core::{Epoch, Index, Micros};
use tokio::sync::{Notify, watch};

/// What the driver and the applying thread publish.
#[derive(Debug)]
pub struct Shared {
    /// Until when linearizable reads need no question (V5), by the process's clock.
    lease_until: AtomicU64,
    commit: AtomicU64,
    applied: watch::Sender<Index>,
    /// Client commands that wait.
    pub waiting: AtomicUsize,
    /// Their bytes.
    pub waiting_bytes: AtomicUsize,
    /// The disk is too full for writes.
    pub disk_full: AtomicBool,
    /// The log waits for room on the disk with what it was given already.
    pub log_waits_for_room: AtomicBool,
    /// Free and total bytes of the disk, as last seen.
    pub disk_free: AtomicU64,
    /// See `disk_free`.
    pub disk_total: AtomicU64,
    /// Asked to end; a primary waits to be relieved.
    pub wants_handover: AtomicBool,
    /// The node that clients ask to be made primary, and the epoch in which they asked.
    pub wants_switchover: Mutex<Option<(Epoch, String)>>,
    /// Entries on their way to the disk.
    pub backlog: LogBacklog,
    /// Pieces of a snapshot on their way to the state machine.
    pub restore_backlog: LogBacklog,
    /// Runs while the state machine works on entries.
    pub applying: Stopwatch,
}

impl Shared {
    /// Numbers of a node whose state is applied up to `applied`.
    #[must_use]
    pub fn new(applied: Index) -> Self {
        Self {
            lease_until: AtomicU64::new(0),
            commit: AtomicU64::new(applied.0),
            applied: watch::Sender::new(applied),
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            disk_full: AtomicBool::new(false),
            log_waits_for_room: AtomicBool::new(false),
            disk_free: AtomicU64::new(u64::MAX),
            disk_total: AtomicU64::new(u64::MAX),
            wants_handover: AtomicBool::new(false),
            wants_switchover: Mutex::new(None),
            backlog: LogBacklog::default(),
            restore_backlog: LogBacklog::default(),
            applying: Stopwatch::default(),
        }
    }

    /// Publishes the read lease. After it is withdrawn no read that begins is answered by it.
    pub fn set_lease(&self, until: Micros) {
        self.lease_until.store(until.0, Ordering::SeqCst);
    }

    /// Publishes the commit index, before anything up to it is applied or acknowledged.
    pub fn set_commit(&self, commit: Index) {
        self.commit.store(commit.0, Ordering::SeqCst);
    }

    /// Publishes what is applied.
    pub fn set_applied(&self, applied: Index) {
        self.applied.send_replace(applied);
    }

    /// What is applied.
    #[must_use]
    pub fn applied(&self) -> Index {
        *self.applied.borrow()
    }

    /// What is applied, and as it changes.
    #[must_use]
    pub fn watch_applied(&self) -> watch::Receiver<Index> {
        self.applied.subscribe()
    }

    /// The commit index.
    #[must_use]
    pub fn commit(&self) -> Index {
        Index(self.commit.load(Ordering::SeqCst))
    }

    /// The index that a linearizable read starting at `now` must have applied, if the lease holds.
    ///
    /// Everything acknowledged before `now` is covered: the commit index is published before
    /// anything is acknowledged, and read here after `now` was taken.
    #[must_use]
    pub fn leased_read(&self, now: Micros) -> Option<Index> {
        (now.0 < self.lease_until.load(Ordering::SeqCst)).then(|| self.commit())
    }
}

/// Bytes that were taken in and are not dealt with yet. A follower stops reading from its primary while
/// there are too many.
#[derive(Debug, Default)]
pub struct LogBacklog {
    bytes: AtomicU64,
    shrunk: Notify,
}

impl LogBacklog {
    /// So many bytes were taken in.
    pub fn grow(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many bytes are dealt with.
    pub fn shrink(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.shrunk.notify_waiters();
    }

    /// Resolves when at most `limit` bytes wait.
    pub async fn below(&self, limit: u64) {
        loop {
            let shrunk = self.shrunk.notified();
            if self.bytes.load(Ordering::Relaxed) <= limit {
                return;
            }
            shrunk.await;
        }
    }
}

/// For how long something has been going on, as others see it.
#[derive(Debug)]
pub struct Stopwatch {
    origin: Instant,
    /// Milliseconds from `origin`, plus one; zero while nothing goes on.
    since_ms: AtomicU64,
}

impl Default for Stopwatch {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            since_ms: AtomicU64::new(0),
        }
    }
}

impl Stopwatch {
    fn now_ms(&self) -> u64 {
        let elapsed = u64::try_from(self.origin.elapsed().as_millis());
        elapsed.unwrap_or(u64::MAX).saturating_add(1)
    }

    /// It begins.
    pub fn start(&self) {
        self.since_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// It is over.
    pub fn stop(&self) {
        self.since_ms.store(0, Ordering::Relaxed);
    }

    /// For how long it has been going on, in milliseconds; zero when nothing does.
    #[must_use]
    pub fn running_ms(&self) -> u64 {
        match self.since_ms.load(Ordering::Relaxed) {
            0 => 0,
            since => self.now_ms().saturating_sub(since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_goes_by_the_lease_only_while_it_holds() {
        let shared = Shared::new(Index(3));
        assert_eq!(shared.leased_read(Micros(10)), None);
        shared.set_commit(Index(7));
        shared.set_lease(Micros(20));
        assert_eq!(shared.leased_read(Micros(19)), Some(Index(7)));
        assert_eq!(shared.leased_read(Micros(20)), None);
        shared.set_lease(Micros(0));
        assert_eq!(shared.leased_read(Micros(19)), None);
    }
}
