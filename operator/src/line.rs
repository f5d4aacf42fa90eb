//! The line in which calls of the Kubernetes API wait for their turn. What a failover needs goes before
//! everything else: it has places of its own, and while any such call is under way or waits, others let it
//! pass, so that it does not share the API server with them either. Calls that nothing urgent waits for are
//! fewer at once while the API server is slow: it also renews this operator's lease, and losing that over
//! work that could have waited would stop every failover. Never makes a call itself.

#[cfg(test)]
mod tests;

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, timeout};

use crate::limits::{
    API_FIRST_CALLS_MAX, API_HOT_CALLS_MAX, API_LINE_MS, API_PASS_MS, API_SLOW_CALL_MS,
    API_USUAL_CALLS_MAX, API_USUAL_CALLS_MIN, ms,
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
    usual: Mutex<Allowance>,
}

/// How many usual calls may be under way, by how long they take: a slow one takes its place away, and as
/// many quick ones as there are places bring one back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Allowance {
    places: usize,
    quick: usize,
}

/// What becomes of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    OneMore,
    OneLess,
}

impl Allowance {
    fn after(&mut self, call: Duration) -> Change {
        if call >= ms(API_SLOW_CALL_MS) {
            self.quick = 0;
            if self.places > API_USUAL_CALLS_MIN {
                self.places -= 1;
                return Change::OneLess;
            }
        } else if self.places < API_USUAL_CALLS_MAX {
            self.quick += 1;
            if self.quick >= self.places {
                self.quick = 0;
                self.places += 1;
                return Change::OneMore;
            }
        }
        Change::None
    }
}

impl Line {
    /// With nobody in it.
    #[must_use]
    pub fn new() -> Self {
        let places = [API_HOT_CALLS_MAX, API_FIRST_CALLS_MAX, API_USUAL_CALLS_MAX];
        Self {
            places: places.map(Semaphore::new),
            wanted: watch::Sender::new([0; RANKS]),
            usual: Mutex::new(Allowance {
                places: API_USUAL_CALLS_MAX,
                quick: 0,
            }),
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
            line: self,
            place: Some(place),
            wanted,
            begun: Instant::now(),
        })
    }
}

/// The right to make one call.
pub struct Turn<'a> {
    line: &'a Line,
    place: Option<SemaphorePermit<'a>>,
    wanted: Wanted<'a>,
    begun: Instant,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else {
            return;
        };
        if self.wanted.rank != Rank::Usual {
            return;
        }
        let change = self.line.usual.lock().after(self.begun.elapsed());
        match change {
            Change::None => {}
            Change::OneMore => self.line.places[Rank::Usual as usize].add_permits(1),
            Change::OneLess => place.forget(),
        }
    }
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
