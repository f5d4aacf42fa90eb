//! The line in which calls of the Kubernetes API wait for their turn. What a failover needs goes before
//! everything else: it has places of its own, and while any such call is under way or waits, others let it
//! pass, so that it does not share the API server with them either. Never makes a call itself.

#[cfg(test)]
mod tests;

use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::timeout;

use crate::limits::{
    API_FIRST_CALLS_MAX, API_HOT_CALLS_MAX, API_LINE_MS, API_PASS_MS, API_USUAL_CALLS_MAX, ms,
};

/// How urgent a call is, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// A failover waits for it: the view and the read-write address.
    Failover,
    /// What a new leader has to know and to say of every cluster before it can fail any over.
    First,
    /// Everything else.
    Usual,
}

impl Rank {
    /// As metrics call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Failover => "failover",
            Self::First => "first",
            Self::Usual => "usual",
        }
    }
}

const RANKS: usize = 3;

/// The places at the API server, and who wants one.
pub struct Line {
    places: [Semaphore; RANKS],
    /// Calls of each rank that are under way or wait.
    wanted: watch::Sender<[usize; RANKS]>,
}

impl Line {
    /// With nobody in it.
    #[must_use]
    pub fn new() -> Self {
        let places = [API_HOT_CALLS_MAX, API_FIRST_CALLS_MAX, API_USUAL_CALLS_MAX];
        Self {
            places: places.map(Semaphore::new),
            wanted: watch::Sender::new([0; RANKS]),
        }
    }

    /// Waits until a call may be made; it is under way until the turn is dropped. None: it waited too long.
    pub async fn turn(&self, rank: Rank) -> Option<Turn<'_>> {
        let wanted = Wanted::new(&self.wanted, rank);
        let place = self.places[rank as usize].acquire();
        let place = timeout(ms(API_LINE_MS), place).await.ok()?;
        let place = place.expect("these are never closed");
        let mut others = self.wanted.subscribe();
        let passed = others.wait_for(|wanted| wanted[..rank as usize].iter().all(|one| *one == 0));
        // Whoever has let others pass for so long goes too: nobody waits for ever behind failovers that
        // follow each other, or that the API server does not answer.
        let _ = timeout(ms(API_PASS_MS), passed).await;
        Some(Turn {
            _place: place,
            _wanted: wanted,
        })
    }
}

/// The right to make one call.
pub struct Turn<'a> {
    _place: SemaphorePermit<'a>,
    _wanted: Wanted<'a>,
}

/// One call that is under way or waits.
struct Wanted<'a> {
    all: &'a watch::Sender<[usize; RANKS]>,
    rank: Rank,
}

impl<'a> Wanted<'a> {
    fn new(all: &'a watch::Sender<[usize; RANKS]>, rank: Rank) -> Self {
        // Nobody waits for there to be more.
        all.send_if_modified(|wanted| {
            wanted[rank as usize] += 1;
            false
        });
        Self { all, rank }
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.all.send_if_modified(|wanted| {
            let count = &mut wanted[self.rank as usize];
            *count -= 1;
            *count == 0
        });
    }
}
