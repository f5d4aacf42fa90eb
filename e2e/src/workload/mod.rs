//! Load with a memory: writers that put fresh keys as fast as they are told to, a watch that is kept
//! open, and a history of everything that was answered. The client is `etcd-client`, not ours.
//!
//! It never repeats a put whose outcome it does not know: the next key is a fresh one.

mod check;
mod client;
mod helper;
mod history;
mod watch;
mod writer;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch as signal;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use self::check::{Stored, Verdict, compare, read_back, read_back_locally};
pub use self::client::{Target, Tls};
pub use self::helper::{Helper, Place, Said};
pub use self::history::{Gap, History, Put, Seen, now_us};

use crate::command::until;
use crate::error::{Error, Result};
use crate::limits::{CHECK_TIMEOUT, FAILOVER_TIMEOUT, WATCH_SETTLE};

/// What load to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Where to.
    pub target: Target,
    /// How many writers, each with a connection of its own.
    pub writers: usize,
    /// The pause of each writer after an answer, in milliseconds; 0 is as fast as it goes.
    pub pause_ms: u64,
    /// The length of each value in bytes.
    pub value_bytes: usize,
    /// What every key begins with. Nothing else may write below it.
    pub prefix: String,
}

impl Plan {
    /// The load of the demo and of most tests.
    pub fn new(target: Target, prefix: &str) -> Self {
        Self {
            target,
            writers: 4,
            pause_ms: 2,
            value_bytes: 64,
            prefix: format!("{prefix}/"),
        }
    }
}

/// Load that is being made, and what can be asked of it meanwhile.
pub trait Load {
    /// How many writes have been acknowledged so far.
    fn acknowledged(&self) -> usize;

    /// When the last acknowledgement came, in microseconds since 1970; 0 before the first.
    fn last_acknowledged_us(&self) -> i64;

    /// The longest time without an acknowledgement that ended after `since_us`.
    fn longest_gap(&self, since_us: i64) -> Option<Gap>;

    /// Waits for that many more acknowledged writes.
    fn more(&self, count: usize) -> impl Future<Output = Result<()>> {
        let wanted = self.acknowledged() + count;
        async move {
            until(
                &format!("{count} more acknowledged writes"),
                FAILOVER_TIMEOUT,
                async || match self.acknowledged() {
                    enough if enough >= wanted => Ok(()),
                    fewer => Err(format!("{} of {count}", count - (wanted - fewer))),
                },
            )
            .await
        }
    }
}

impl Load for Workload {
    fn acknowledged(&self) -> usize {
        self.history.acknowledged()
    }

    fn last_acknowledged_us(&self) -> i64 {
        self.history.last_acknowledged_us()
    }

    fn longest_gap(&self, since_us: i64) -> Option<Gap> {
        self.history.copy().longest_gap(since_us)
    }
}

/// Load that is being made.
pub struct Workload {
    plan: Plan,
    history: Arc<history::Shared>,
    stop_writers: signal::Sender<bool>,
    stop_watch: signal::Sender<bool>,
    writers: JoinSet<()>,
    watch: JoinSet<()>,
}

impl Workload {
    /// Opens the watch, then starts the writers.
    pub async fn start(plan: Plan) -> Result<Self> {
        // Two TLS providers may be linked in; the process must say which one it means.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let history = Arc::new(history::Shared::default());
        let (stop_writers, writers_stop) = signal::channel(false);
        let (stop_watch, watch_stop) = signal::channel(false);
        let revision = client::revision(&plan.target).await?;
        let mut watch = JoinSet::new();
        watch.spawn(watch::run(
            plan.clone(),
            revision + 1,
            history.clone(),
            watch_stop,
        ));
        let mut writers = JoinSet::new();
        for number in 0..plan.writers {
            writers.spawn(writer::run(
                plan.clone(),
                number,
                history.clone(),
                writers_stop.clone(),
            ));
        }
        Ok(Self {
            plan,
            history,
            stop_writers,
            stop_watch,
            writers,
            watch,
        })
    }

    /// Stops the writers, reads everything back, lets the watch arrive at the end, and judges.
    pub async fn finish(mut self) -> Result<(History, Verdict)> {
        self.stop_writers.send_replace(true);
        while self.writers.join_next().await.is_some() {}
        let stored = timeout(
            CHECK_TIMEOUT,
            read_back(&self.plan.target, &self.plan.prefix),
        )
        .await
        .map_err(|_| Error::Timeout {
            what: "reading back what was written".to_owned(),
            waited: CHECK_TIMEOUT,
            last: String::new(),
        })??;
        let last = stored.values().map(|one| one.revision).max().unwrap_or(0);
        // Whatever is still missing then is counted as missed.
        let _ = until(
            "the watch to arrive at the end",
            WATCH_SETTLE,
            async || match self.history.last_seen() {
                seen if seen >= last => Ok(()),
                seen => Err(format!("at revision {seen} of {last}")),
            },
        )
        .await;
        self.stop_watch.send_replace(true);
        while self.watch.join_next().await.is_some() {}
        let history = self.history.copy();
        let verdict = compare(&history, &stored);
        Ok((history, verdict))
    }
}
