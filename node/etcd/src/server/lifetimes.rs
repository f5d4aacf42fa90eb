//! How long connections and streams may live. Never closes anything itself: it tells.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The ends of the connections that exist now. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lifetimes {
    current: Arc<Mutex<Generation>>,
}

/// Connections that end together.
#[derive(Clone, Debug, Default)]
pub(super) struct Generation {
    /// Take no new request, finish those in flight, end streams.
    pub(super) closing: CancellationToken,
    /// Go, whatever is in flight.
    pub(super) closed: CancellationToken,
    /// Those that are not gone yet.
    pub(super) connections: TaskTracker,
}

impl Lifetimes {
    /// Cancelled when what exists now is to end: a stream that would go on for ever ends itself.
    #[must_use]
    pub fn closing(&self) -> CancellationToken {
        self.current.lock().closing.clone()
    }

    /// What a new connection belongs to.
    pub(super) fn current(&self) -> Generation {
        self.current.lock().clone()
    }

    /// Begins a new generation and returns the one before, for its end.
    pub(super) fn next(&self) -> Generation {
        std::mem::take(&mut *self.current.lock())
    }
}
