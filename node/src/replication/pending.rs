//! Client commands in the log that wait to be committed, in the order of the log.

use std::collections::VecDeque;

use standby_core::{Index, Position};
use standby_interface::Refusal;
use tokio::sync::oneshot;

/// Where the answer to a command goes.
pub type Reply<O> = oneshot::Sender<Result<(Position, O), Refusal>>;

/// Commands that wait, by index.
#[derive(Debug)]
pub struct Pending<O> {
    waiting: VecDeque<(Index, Reply<O>)>,
}

impl<O> Default for Pending<O> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
        }
    }
}

impl<O> Pending<O> {
    /// Adds a command that stands at `index`, above every other.
    pub fn push(&mut self, index: Index, reply: Reply<O>) {
        debug_assert!(self.waiting.back().is_none_or(|(last, _)| *last < index));
        self.waiting.push_back((index, reply));
    }

    /// Takes out what stands at or below `index`.
    pub fn through(&mut self, index: Index) -> Vec<(Index, Reply<O>)> {
        let count = self.waiting.partition_point(|(at, _)| *at <= index);
        self.waiting.drain(..count).collect()
    }

    /// Answers everything with a refusal: the node lost its role, and what becomes of the commands is
    /// not known.
    pub fn refuse_all(&mut self, refusal: &Refusal) {
        for (_, reply) in self.waiting.drain(..) {
            // A client that has gone does not need the answer.
            let _ = reply.send(Err(refusal.clone()));
        }
    }
}
