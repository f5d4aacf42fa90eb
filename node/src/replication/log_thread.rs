//! The thread that owns the commit log and the stored view: the only one that writes or syncs either.
//!
//! Jobs are done in the order given; appends that wait together share one sync (group commit). Any
//! error ends the process.

use std::time::Duration;

use crossbeam_channel::Sender;
use standby_core::replica::Input;
use standby_core::{Entry, Index, Position};
use standby_store::engine::FjallEngine;
use standby_store::log::{LogError, LogWriter};
use standby_store::volume::{PeerAddress, StoredView, Volume};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc::UnboundedSender;

use super::{Closed, Command, Fatal, Jobs, Shared, Told, end_process};
use crate::disk_watch::is_disk_full;
use crate::limits::{DISK_CHECK_MS, DISK_ROOM_WAIT_MS, LOG_MARK_AFTER_MS};

/// Something for the log.
#[derive(Debug)]
pub enum LogJob {
    /// Append, and tell when durable.
    Append(Vec<Entry>),
    /// Cut after this index, and tell when durable.
    Truncate(Index),
    /// Begin anew after a snapshot at this position, and tell when durable.
    Reset(Position),
    /// Store a view with its addresses, and tell when durable.
    StoreView(StoredView),
    /// Store new addresses beside the view that is stored by then.
    StoreAddresses {
        /// The peers.
        peers: Vec<PeerAddress>,
        /// The address that follows the primary.
        client_url: String,
    },
    /// The state is durable up to this index, and connected followers have the log up to `peers`:
    /// give up what is not worth keeping.
    Release {
        /// The state's durable index.
        checkpoint: Index,
        /// What every connected follower has.
        peers: Index,
        /// Bytes of log to keep all the same, for nodes that come back.
        retain_bytes: u64,
    },
    /// Give up identity, log and state: the volume lost what it had acknowledged (V11). Ends the
    /// process.
    Discard,
    /// Note on disk how far the log is durable, then tell.
    Close(Sender<()>),
}

/// The thread's belongings.
pub struct LogThread {
    /// The log.
    pub log: LogWriter,
    /// The volume.
    pub volume: Volume,
    /// What stands on it; nothing before the first view.
    pub stored: Option<StoredView>,
    /// Jobs.
    pub jobs: Jobs<LogJob>,
    /// Where completions go.
    pub driver: UnboundedSender<Command>,
    /// Numbers.
    pub shared: Arc<Shared>,
}

impl LogThread {
    /// Works until the driver has gone.
    pub fn run(mut self) {
        let quiet = Duration::from_millis(LOG_MARK_AFTER_MS);
        loop {
            match self.jobs.next_within(quiet) {
                Ok(Some(job)) => self.take(job),
                Ok(None) => self.mark(),
                Err(Closed) => return,
            }
        }
    }

    /// Does a job, and with an append every append that waits directly behind it.
    pub(crate) fn take(&mut self, job: LogJob) {
        let mut next = Some(job);
        while let Some(job) = next.take() {
            match job {
                LogJob::Append(entries) => next = self.append(entries),
                other => self.one(other),
            }
        }
    }

    fn append(&mut self, first: Vec<Entry>) -> Option<LogJob> {
        let mut bytes = 0;
        let mut following = None;
        let mut entries = Some(first);
        while let Some(batch) = entries.take() {
            bytes += bytes_of(&batch);
            self.with_room("appending to the log", |log| log.append(&batch));
            match self.jobs.take() {
                Some(LogJob::Append(more)) => entries = Some(more),
                other => following = other,
            }
        }
        self.sync();
        self.shared.backlog.shrink(bytes);
        following
    }

    fn sync(&mut self) {
        self.log
            .sync()
            .unwrap_or_else(|error| fatal("syncing the log", &error));
        self.tell(Input::Durable(self.log.last()));
    }

    /// Does what may need another file. A log without room for one is as it was before, so what it was
    /// given waits, and this node says that its disk is full: a primary's writes stall visibly, a
    /// standby can be replaced, and both go on once there is room. Ending the process would change
    /// nothing but hide it.
    fn with_room(
        &mut self,
        doing: &'static str,
        mut act: impl FnMut(&mut LogWriter) -> Result<(), LogError>,
    ) {
        let mut waited_ms = 0;
        loop {
            match act(&mut self.log) {
                Ok(()) => break,
                Err(error @ LogError::NoSpace { .. }) if waited_ms < DISK_ROOM_WAIT_MS => {
                    if waited_ms == 0 {
                        self.begin_waiting(doing, &error);
                        // What came before it needs no room.
                        self.sync();
                    }
                    std::thread::sleep(Duration::from_millis(DISK_CHECK_MS));
                    waited_ms += DISK_CHECK_MS;
                }
                Err(error) => fatal(doing, &error),
            }
        }
        self.end_waiting(doing, waited_ms);
    }

    /// Writes the file with view and addresses. It is a new file each time, so one that did not fit
    /// can be written again.
    fn write_state(&mut self, doing: &'static str, stored: &StoredView) {
        let mut waited_ms = 0;
        while let Err(error) = self.volume.store_view(stored) {
            if !is_disk_full(&error) || waited_ms >= DISK_ROOM_WAIT_MS {
                fatal(doing, &error);
            }
            if waited_ms == 0 {
                self.begin_waiting(doing, &error);
            }
            std::thread::sleep(Duration::from_millis(DISK_CHECK_MS));
            waited_ms += DISK_CHECK_MS;
        }
        self.end_waiting(doing, waited_ms);
    }

    fn begin_waiting(&self, doing: &'static str, error: &dyn std::error::Error) {
        tracing::error!(doing, %error, "the log's thread waits for room on the disk");
        let shared = &self.shared;
        shared.log_waits_for_room.store(true, Ordering::Relaxed);
        shared.disk_full.store(true, Ordering::Relaxed);
        // The driver is gone only when the process ends.
        let _ = self.driver.send(Command::Told(Told::News));
    }

    fn end_waiting(&self, doing: &'static str, waited_ms: u64) {
        if waited_ms > 0 {
            tracing::info!(doing, waited_ms, "the log has room again");
            self.shared
                .log_waits_for_room
                .store(false, Ordering::Relaxed);
        }
    }

    /// Notes on disk how far the log is durable. A damaged log says so by itself, and its node waits to
    /// be told what becomes of it.
    fn mark(&mut self) {
        self.settle_view();
        match self.log.mark() {
            Ok(()) | Err(LogError::Damaged(_)) => {}
            Err(error) => fatal("marking the log", &error),
        }
    }

    /// Nobody waits for the second copy of the view.
    fn settle_view(&mut self) {
        let settled = self.volume.settle_view();
        settled.unwrap_or_else(|error| fatal("storing the view a second time", &error));
    }

    fn one(&mut self, job: LogJob) {
        match job {
            LogJob::Append(_) => unreachable!("appends are taken together"),
            LogJob::Truncate(index) => {
                self.with_room("cutting the log", |log| log.truncate_after(index));
                self.tell(Input::Durable(self.log.last()));
            }
            LogJob::Reset(position) => {
                self.with_room("resetting the log", |log| log.reset(position));
                self.tell(Input::SnapshotInstalled(position));
            }
            LogJob::StoreView(stored) => self.store_view(stored),
            LogJob::StoreAddresses { peers, client_url } => {
                // The view is the one on disk, never one that the asker knew: a later one may have been
                // stored since it asked (V2).
                if let Some(mut stored) = self.stored.take() {
                    (stored.peers, stored.client_url) = (peers, client_url);
                    self.write_state("storing addresses", &stored);
                    self.stored = Some(stored);
                }
            }
            LogJob::Release {
                checkpoint,
                peers,
                retain_bytes,
            } => {
                self.release(checkpoint, peers, retain_bytes);
            }
            LogJob::Discard => self.discard(),
            LogJob::Close(done) => {
                self.mark();
                // Whoever waited may have given up.
                let _ = done.send(());
            }
        }
    }

    fn store_view(&mut self, stored: StoredView) {
        let epoch = stored.view.epoch;
        let before = self.stored.as_ref().map(|stored| stored.view.epoch);
        assert!(
            before < Some(epoch),
            "a stored view never gives way to an earlier one (V2): {before:?}, then {epoch}"
        );
        self.write_state("storing the view", &stored);
        self.stored = Some(stored);
        self.tell(Input::ViewStored(epoch));
    }

    fn release(&mut self, checkpoint: Index, peers: Index, retain_bytes: u64) {
        self.settle_view();
        if self.log.disk_bytes() <= retain_bytes {
            return;
        }
        // Far beyond what is kept for them, followers that lag are filled by a snapshot instead.
        let lag_allowed = self.log.disk_bytes() <= retain_bytes.saturating_mul(2);
        let through = if lag_allowed {
            checkpoint.min(peers)
        } else {
            checkpoint
        };
        match self.log.release_below(through) {
            Ok(()) | Err(LogError::Damaged(_)) => {}
            Err(error) => fatal("releasing the log", &error),
        }
        self.tell(Input::Released(self.log.base().index));
    }

    fn discard(&mut self) -> ! {
        let renewed = self.volume.renew_identity();
        let volume = renewed.unwrap_or_else(|error| fatal("giving up the volume", &error));
        // The state too: it would come back as the beginning of the new log. The engine is still open,
        // and may fail because of it; whichever thread ends the process, the next start finds no state
        // and goes on from there.
        let destroyed = FjallEngine::destroy(&self.volume.engine_dir());
        destroyed.unwrap_or_else(|error| fatal("giving up the state", &error));
        let reset = self.log.reset(Position::START);
        reset.unwrap_or_else(|error| fatal("giving up the log", &error));
        tracing::warn!(%volume, "the volume begins anew, empty and under a new identity (V11)");
        end_process(&Fatal {
            what: "the volume had lost what it acknowledged",
            error: "it was given up; the process starts again as a new, empty node".into(),
        })
    }

    fn tell(&self, input: Input) {
        // The driver is gone only when the process ends.
        let _ = self.driver.send(Command::Input(input));
    }
}

/// What entries count as in the backlog.
pub fn bytes_of(entries: &[Entry]) -> u64 {
    entries
        .iter()
        .map(|entry| entry.payload.len() as u64 + 64)
        .sum()
}

fn fatal(what: &'static str, error: &dyn std::error::Error) -> ! {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    end_process(&Fatal { what, error: text })
}

#[cfg(test)]
#[path = "log_thread_tests.rs"]
mod tests;
