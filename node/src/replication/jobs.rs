//! A queue of jobs for a thread that blocks: it sleeps until there is one, or until its patience ends.
//!
//! It never spins: on a machine whose processors all have work, every turn spent waiting is taken from
//! the one who is waited for.

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Nobody can add a job any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

/// The receiving end.
#[derive(Debug)]
pub struct Jobs<T> {
    inbox: UnboundedReceiver<T>,
    /// Waits and counts time, and runs nothing else.
    runtime: Runtime,
}

/// A queue without a bound: what may be under way is bounded where it enters.
///
/// # Errors
/// When the system refuses what waiting needs.
pub fn jobs<T>() -> std::io::Result<(UnboundedSender<T>, Jobs<T>)> {
    let (sender, inbox) = unbounded_channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    Ok((sender, Jobs { inbox, runtime }))
}

impl<T> Jobs<T> {
    /// The next job; `None` when none came in time.
    pub fn next_within(&mut self, limit: Duration) -> Result<Option<T>, Closed> {
        if let Some(job) = self.take() {
            return Ok(Some(job));
        }
        let inbox = &mut self.inbox;
        let waited = self
            .runtime
            .block_on(async { tokio::time::timeout(limit, inbox.recv()).await });
        match waited {
            Ok(Some(job)) => Ok(Some(job)),
            Ok(None) => Err(Closed),
            Err(_) => Ok(None),
        }
    }

    /// A job that waits already.
    pub fn take(&mut self) -> Option<T> {
        self.inbox.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_come_in_order_and_then_the_end_is_told() {
        let (sender, mut jobs) = jobs().expect("a queue");
        sender.send(1).expect("somebody listens");
        sender.send(2).expect("somebody listens");
        let patience = Duration::from_mins(1);
        assert_eq!(jobs.next_within(patience), Ok(Some(1)));
        assert_eq!(jobs.take(), Some(2));
        assert_eq!(jobs.take(), None);
        assert_eq!(jobs.next_within(Duration::ZERO), Ok(None));
        drop(sender);
        assert_eq!(jobs.next_within(patience), Err(Closed));
    }
}
