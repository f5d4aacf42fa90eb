//! The thread that owns the state machine: applies what is committed, answers those who wait for it,
//! takes and takes in snapshots.
//!
//! It applies up to the commit index it is told and never beyond (V6). Any error ends the process.

use std::iter::Peekable;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec;

use crossbeam_channel::Sender;
use standby_core::{Entry, Index, Position};
use standby_interface::{MachineError, Refusal, SnapshotSource, StateMachine};
use standby_store::log::LogReader;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::pending::Reply;
use super::{Closed, Command, Fatal, Jobs, LogJob, Shared, Told, end_process};
use crate::disk_watch::may_apply;
use crate::limits::{
    ANSWERS_TOGETHER_MIN, APPLY_BATCH_BYTES, APPLY_BATCH_ENTRIES, APPLY_GATHER_MS,
    CHECKPOINT_EVERY_BYTES, CHECKPOINT_EVERY_MS, DISK_CHECK_MS, DISK_ROOM_WAIT_MS,
};

/// Something for the state machine.
pub enum ApplyJob<O> {
    /// Apply up to this index; these clients wait for their commands' outcomes.
    Apply {
        /// The commit index.
        through: Index,
        /// Who waits, by index, ascending.
        waiters: Vec<(Index, Reply<O>)>,
    },
    /// Answer reads once everything before this job is applied.
    Reads(Vec<oneshot::Sender<Result<(), Refusal>>>),
    /// Open a snapshot for a follower.
    Snapshot(SnapshotRequest),
    /// A piece of a snapshot from the primary; the first empties the state.
    Restore {
        /// Whether it is the first.
        first: bool,
        /// The piece.
        chunk: bytes::Bytes,
    },
    /// All of the snapshot came: the state stands at this position.
    FinishRestore(Position),
    /// Make the state durable, then tell.
    Close(Sender<()>),
}

/// Who wants a snapshot.
pub struct SnapshotRequest {
    /// It must contain this index.
    pub at_least: Index,
    /// Where the open snapshot goes.
    pub reply: oneshot::Sender<Box<dyn SnapshotSource>>,
}

/// Who still waits, by index.
type Waiters<O> = Peekable<vec::IntoIter<(Index, Reply<O>)>>;

/// The thread's belongings.
pub struct ApplyThread<M: StateMachine> {
    /// The state machine.
    pub machine: M,
    /// Where entries are read.
    pub log: LogReader,
    /// Jobs.
    pub jobs: Jobs<ApplyJob<M::Outcome>>,
    /// Where news go.
    pub driver: UnboundedSender<Command>,
    /// Where the log is told to begin anew.
    pub log_jobs: UnboundedSender<LogJob>,
    /// Numbers.
    pub shared: Arc<Shared>,
    /// Where the servers run that wait for answers.
    pub servers: Handle,
}

/// What is committed and nobody waits for, as on a follower: it is applied a little later, together
/// with what comes meanwhile.
#[derive(Default)]
struct Gathered {
    through: Index,
    due: Option<Instant>,
}

impl Gathered {
    fn add(&mut self, through: Index) {
        self.through = self.through.max(through);
        let due = Instant::now() + Duration::from_millis(APPLY_GATHER_MS);
        self.due.get_or_insert(due);
    }

    /// Up to where to apply now; zero when nothing was gathered.
    fn take(&mut self) -> Index {
        self.due = None;
        std::mem::take(&mut self.through)
    }
}

impl<M: StateMachine> ApplyThread<M> {
    /// Works until the driver has gone.
    pub fn run(mut self) {
        let mut since_checkpoint = 0;
        let every = Duration::from_millis(CHECKPOINT_EVERY_MS);
        let mut checkpoint_due = Instant::now() + every;
        let mut wanted: Vec<SnapshotRequest> = Vec::new();
        let mut gathered = Gathered::default();
        loop {
            let wake = gathered.due.unwrap_or(checkpoint_due).min(checkpoint_due);
            let wait = wake.saturating_duration_since(Instant::now());
            match self.jobs.next_within(wait) {
                Ok(Some(ApplyJob::Apply { through, waiters })) if waiters.is_empty() => {
                    gathered.add(through);
                }
                Ok(Some(job)) => {
                    // Jobs are done in their order.
                    since_checkpoint += self.apply(gathered.take(), Vec::new());
                    match job {
                        ApplyJob::Snapshot(request) => wanted.push(request),
                        job => since_checkpoint += self.take(job),
                    }
                }
                Ok(None) => {}
                Err(Closed) => return,
            }
            if gathered.due.is_some_and(|due| due <= Instant::now()) {
                since_checkpoint += self.apply(gathered.take(), Vec::new());
            }
            self.open_snapshots(&mut wanted);
            let due = Instant::now() >= checkpoint_due;
            if since_checkpoint >= CHECKPOINT_EVERY_BYTES || (due && since_checkpoint > 0) {
                self.checkpoint();
                since_checkpoint = 0;
            }
            if due || since_checkpoint == 0 {
                checkpoint_due = Instant::now() + every;
            }
        }
    }

    /// Does a job; returns the bytes that were applied.
    pub(crate) fn take(&mut self, job: ApplyJob<M::Outcome>) -> u64 {
        match job {
            ApplyJob::Apply { through, waiters } => return self.apply(through, waiters),
            ApplyJob::Reads(replies) => {
                for reply in replies {
                    // A client that has gone does not need the answer.
                    let _ = reply.send(Ok(()));
                }
            }
            ApplyJob::Snapshot(_) => unreachable!("kept until it can be opened"),
            ApplyJob::Restore { first, chunk } => {
                if first {
                    self.machine
                        .begin_restore()
                        .unwrap_or_else(|e| fatal("emptying the state", &e));
                }
                let bytes = chunk.len() as u64;
                self.wait_for_room();
                let taken = self.machine.restore_chunk(chunk);
                taken.unwrap_or_else(|error| fatal("taking in a snapshot", &error));
                self.shared.restore_backlog.shrink(bytes);
            }
            ApplyJob::FinishRestore(position) => {
                let finished = self.machine.finish_restore(position);
                finished.unwrap_or_else(|error| fatal("finishing a snapshot", &error));
                self.shared.set_applied(position.index);
                // The driver is gone only when the process ends; likewise below.
                let _ = self.log_jobs.send(LogJob::Reset(position));
            }
            ApplyJob::Close(done) => {
                self.checkpoint();
                let _ = done.send(());
            }
        }
        0
    }

    fn apply(&mut self, through: Index, waiters: Vec<(Index, Reply<M::Outcome>)>) -> u64 {
        let mut waiters = waiters.into_iter().peekable();
        let mut bytes = 0;
        while self.machine.applied().index < through {
            let from = self.machine.applied().index.next();
            self.shared.applying.start();
            let read = self.log.read(from, APPLY_BATCH_BYTES);
            let mut entries = read.unwrap_or_else(|error| fatal("reading the log", &error));
            entries.retain(|entry| entry.position.index <= through);
            entries.truncate(APPLY_BATCH_ENTRIES);
            assert!(
                entries
                    .first()
                    .is_some_and(|entry| entry.position.index == from),
                "the log holds {from}, which is committed and not applied"
            );
            bytes += super::log_thread_bytes(&entries);
            self.wait_for_room();
            let outcomes = self.machine.apply(&entries);
            self.shared.applying.stop();
            let outcomes = outcomes.unwrap_or_else(|error| fatal("applying", &error));
            assert_eq!(outcomes.len(), entries.len(), "one outcome for each entry");
            self.shared.set_applied(self.machine.applied().index);
            self.answer(&mut waiters, &entries, outcomes);
        }
        bytes
    }

    /// An engine that runs out of space can only end the process, and the next one would meet the same
    /// disk. So nothing is given to it while there is little left; reads of what is applied go on.
    fn wait_for_room(&self) {
        let mut waited_ms = 0;
        while !may_apply(&self.shared) && waited_ms < DISK_ROOM_WAIT_MS {
            if waited_ms == 0 {
                tracing::error!("the state waits for room on the disk");
            }
            std::thread::sleep(Duration::from_millis(DISK_CHECK_MS));
            waited_ms += DISK_CHECK_MS;
        }
        if waited_ms > 0 {
            tracing::info!(waited_ms, "the state goes on");
        }
    }

    /// Answers those whose commands were applied.
    fn answer(
        &self,
        waiters: &mut Waiters<M::Outcome>,
        entries: &[Entry],
        outcomes: Vec<M::Outcome>,
    ) {
        let mut answers = Vec::new();
        for (entry, outcome) in entries.iter().zip(outcomes) {
            let index = entry.position.index;
            while waiters.next_if(|(at, _)| *at < index).is_some() {}
            if let Some((_, reply)) = waiters.next_if(|(at, _)| *at == index) {
                answers.push((reply, Ok((entry.position, outcome))));
            }
        }
        let send = |answers: Vec<_>| {
            for (reply, answer) in answers {
                let reply: Reply<M::Outcome> = reply;
                // A client that has gone does not need the answer.
                let _ = reply.send(answer);
            }
        };
        if answers.len() < ANSWERS_TOGETHER_MIN {
            send(answers);
        } else {
            // Woken from one of their own threads, servers need not be woken one by one.
            self.servers.spawn(async move { send(answers) });
        }
    }

    pub(crate) fn open_snapshots(&mut self, wanted: &mut Vec<SnapshotRequest>) {
        let applied = self.machine.applied().index;
        while let Some(at) = wanted
            .iter()
            .position(|request| request.at_least <= applied)
        {
            let request = wanted.swap_remove(at);
            let source = self.machine.snapshot();
            let source = source.unwrap_or_else(|error| fatal("opening a snapshot", &error));
            // The follower may have gone meanwhile.
            let _ = request.reply.send(source);
        }
    }

    pub(crate) fn checkpoint(&mut self) {
        let position = self.machine.checkpoint();
        let position = position.unwrap_or_else(|error| fatal("making the state durable", &error));
        let _ = self
            .driver
            .send(Command::Told(Told::Checkpoint(position.index)));
    }
}

fn fatal(what: &'static str, error: &dyn std::error::Error) -> ! {
    end_process(&Fatal {
        what,
        error: describe(error),
    })
}

fn describe(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", describe(source)),
        None => error.to_string(),
    }
}

/// For `fatal`: machine errors are ordinary errors.
const _: fn(&MachineError) -> &dyn std::error::Error = |error| error;
