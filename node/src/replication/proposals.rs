//! Commands of clients on their way to the driver. They gather here while earlier ones are on their
//! way to the disk: then many travel as one, and the driver is woken once for all of them.

use bytes::Bytes;
use parking_lot::Mutex;

use super::pending::Reply;

/// A command, and where its outcome goes.
pub type Proposal<O> = (Bytes, Reply<O>);

/// Commands that wait. Bounded where they enter, by the limits on waiting commands.
#[derive(Debug)]
pub struct Proposals<O> {
    waiting: Mutex<Vec<Proposal<O>>>,
}

impl<O> Default for Proposals<O> {
    fn default() -> Self {
        Self {
            waiting: Mutex::new(Vec::new()),
        }
    }
}

impl<O> Proposals<O> {
    /// Adds a command; returns whether the driver must be told, which is when it is the first.
    #[must_use]
    pub fn add(&self, proposal: Proposal<O>) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.push(proposal);
        waiting.len() == 1
    }

    /// Takes out all of them, in the order they came.
    pub fn take(&self) -> Vec<Proposal<O>> {
        std::mem::take(&mut *self.waiting.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_that_waits_is_told() {
        let proposals = Proposals::<()>::default();
        let proposal = || (Bytes::new(), tokio::sync::oneshot::channel().0);
        assert!(proposals.add(proposal()));
        assert!(!proposals.add(proposal()));
        assert_eq!(proposals.take().len(), 2);
        assert!(proposals.add(proposal()));
    }
}
