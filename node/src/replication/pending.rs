//! Client commands in the log that wait to be committed, in the order of the log.

use std::collections::VecDeque;

use standby_core::{Index, Position};
use standby_interface::Refusal;
use tokio::sync::oneshot;

use crate::limits::{UNCOMMITTED_BYTES, UNCOMMITTED_MAX};

/// Where the answer to a command goes.
pub type Reply<O> = oneshot::Sender<Result<(Position, O), Refusal>>;

/// A command that waits.
#[derive(Debug)]
struct Waiting<O> {
    index: Index,
    bytes: usize,
    reply: Reply<O>,
}

/// Commands that wait, by index.
#[derive(Debug)]
pub struct Pending<O> {
    waiting: VecDeque<Waiting<O>>,
    bytes: usize,
}

impl<O> Default for Pending<O> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl<O> Pending<O> {
    /// Whether more may be added. While nothing can be committed, clients give up and come again, and
    /// each time the log would grow.
    pub fn has_room(&self) -> bool {
        self.waiting.len() < UNCOMMITTED_MAX && self.bytes < UNCOMMITTED_BYTES
    }

    /// Adds a command of `bytes` that stands at `index`, above every other.
    pub fn push(&mut self, index: Index, bytes: usize, reply: Reply<O>) {
        debug_assert!(self.waiting.back().is_none_or(|last| last.index < index));
        self.bytes += bytes;
        self.waiting.push_back(Waiting {
            index,
            bytes,
            reply,
        });
    }

    /// Takes out what stands at or below `index`.
    pub fn through(&mut self, index: Index) -> Vec<(Index, Reply<O>)> {
        let count = self.waiting.partition_point(|it| it.index <= index);
        let taken: Vec<_> = self.waiting.drain(..count).collect();
        self.bytes -= taken.iter().map(|it| it.bytes).sum::<usize>();
        taken.into_iter().map(|it| (it.index, it.reply)).collect()
    }

    /// Answers everything with a refusal: the node lost its role, and what becomes of the commands is
    /// not known.
    pub fn refuse_all(&mut self, refusal: &Refusal) {
        self.bytes = 0;
        for Waiting { reply, .. } in self.waiting.drain(..) {
            // A client that has gone does not need the answer.
            let _ = reply.send(Err(refusal.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_makes_room_for_more() {
        let mut pending = Pending::<()>::default();
        for index in 1..=2 {
            assert!(pending.has_room());
            let (reply, _gave_up) = oneshot::channel();
            pending.push(Index(index), UNCOMMITTED_BYTES / 2, reply);
        }
        assert!(!pending.has_room());
        assert_eq!(pending.through(Index(1)).len(), 1);
        assert!(pending.has_room());
        pending.refuse_all(&Refusal::RoleLost);
        assert!(pending.through(Index(2)).is_empty());
    }
}
