//! Who goes first, by virtual time.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::*;
use crate::limits::LEASE_CALL_MS;

/// How long an API server's processor is busy with a call.
const CALL: Duration = Duration::from_millis(5);
const PROCESSORS: usize = 2;

/// An API server that everybody shares: what it has begun slows down the rest.
struct Server {
    processors: Semaphore,
    line: Line,
}

impl Server {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            processors: Semaphore::new(PROCESSORS),
            line: Line::new(),
        })
    }

    async fn call(&self, rank: Rank) {
        let _turn = self.line.turn(rank).await.expect("a turn in time");
        let _processor = self.processors.acquire().await.expect("never closed");
        sleep(CALL).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_fifty_failovers_need_is_done_before_all_else_that_their_clusters_want() {
    const CLUSTERS: usize = 50;
    const USUAL_EACH: usize = 12;
    let server = Server::new();
    let begun = Instant::now();
    let mut usual = JoinSet::new();
    let mut announced = JoinSet::new();
    for _ in 0..CLUSTERS {
        for _ in 0..USUAL_EACH {
            let server = server.clone();
            usual.spawn(async move { server.call(Rank::Usual).await });
        }
    }
    // Status, Events and labels are on their way when the first failover is decided.
    tokio::task::yield_now().await;
    for _ in 0..CLUSTERS {
        let server = server.clone();
        announced.spawn(async move {
            // The view, then the address.
            server.call(Rank::Failover).await;
            server.call(Rank::Failover).await;
        });
    }
    while announced.join_next().await.is_some() {}
    // What had begun before, and nothing else, was in the way.
    let before = u32::try_from(2 * CLUSTERS + API_USUAL_CALLS_MAX).expect("small");
    let processors = u32::try_from(PROCESSORS).expect("small");
    assert!(
        begun.elapsed() <= CALL * before.div_ceil(processors),
        "{:?}",
        begun.elapsed()
    );
    while usual.join_next().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn failovers_without_end_hold_up_the_rest_only_for_so_long() {
    let line = Line::new();
    let _failover = line.turn(Rank::Failover).await;
    for rank in [Rank::First, Rank::Usual] {
        let begun = Instant::now();
        assert!(line.turn(rank).await.is_some());
        assert_eq!(begun.elapsed(), ms(API_PASS_MS));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failover_waits_for_nobody_of_a_lower_rank() {
    let line = Line::new();
    let mut others = Vec::new();
    for _ in 0..API_USUAL_CALLS_MAX {
        others.push(line.turn(Rank::Usual).await);
    }
    for _ in 0..API_FIRST_CALLS_MAX {
        // They let nobody pass: usual calls rank below.
        others.push(line.turn(Rank::First).await);
    }
    let begun = Instant::now();
    assert!(line.turn(Rank::Failover).await.is_some());
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_given_up_while_it_waited_is_let_pass_no_more() {
    let line = Line::new();
    let mut under_way = Vec::new();
    for _ in 0..API_HOT_CALLS_MAX {
        under_way.push(line.turn(Rank::Failover).await);
    }
    let given_up = timeout(CALL, line.turn(Rank::Failover)).await;
    assert!(given_up.is_err());
    drop(under_way);
    let begun = Instant::now();
    assert!(line.turn(Rank::Usual).await.is_some());
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_gets_a_place_is_told_so() {
    let line = Line::new();
    let mut under_way = Vec::new();
    for _ in 0..API_USUAL_CALLS_MAX {
        under_way.push(line.turn(Rank::Usual).await);
    }
    let begun = Instant::now();
    assert!(line.turn(Rank::Usual).await.is_none());
    assert_eq!(begun.elapsed(), ms(API_LINE_MS));
}

/// An API server whose every call takes a processor this long.
const SLOW_CALL: Duration = Duration::from_millis(120);

#[tokio::test(start_paused = true)]
async fn a_slow_api_server_is_left_room_for_the_lease() {
    let server = Server::new();
    let mut usual = JoinSet::new();
    for _ in 0..300 {
        let server = server.clone();
        usual.spawn(async move {
            let Some(_turn) = server.line.turn(Rank::Usual).await else {
                return;
            };
            let _processor = server.processors.acquire().await.expect("never closed");
            sleep(SLOW_CALL).await;
        });
    }
    // The lease is renewed beside the line.
    let mut longest = Duration::ZERO;
    for _ in 0..10 {
        sleep(Duration::from_secs(1)).await;
        let begun = Instant::now();
        let _processor = server.processors.acquire().await.expect("never closed");
        sleep(SLOW_CALL).await;
        longest = longest.max(begun.elapsed());
    }
    assert!(longest < ms(LEASE_CALL_MS) / 2, "{longest:?}");
    usual.shutdown().await;
}

#[test]
fn places_go_with_slow_calls_and_come_back_with_quick_ones() {
    let (slow, quick) = (ms(API_SLOW_CALL_MS), Duration::from_millis(20));
    let mut usual = Allowance {
        places: API_USUAL_CALLS_MAX,
        quick: 0,
    };
    assert_eq!(usual.after(quick), Change::None);
    for _ in API_USUAL_CALLS_MIN..API_USUAL_CALLS_MAX {
        assert_eq!(usual.after(slow), Change::OneLess);
    }
    assert_eq!(usual.after(slow), Change::None);
    assert_eq!(usual.places, API_USUAL_CALLS_MIN);
    let mut calls = 0;
    while usual.places < API_USUAL_CALLS_MAX {
        usual.after(quick);
        calls += 1;
    }
    let steps = API_USUAL_CALLS_MIN..API_USUAL_CALLS_MAX;
    assert_eq!(calls, steps.sum::<usize>());
    assert_eq!(usual.after(quick), Change::None);
}

#[tokio::test(start_paused = true)]
async fn as_many_calls_are_let_go_as_there_are_places() {
    let line = Line::new();
    for _ in 0..3 {
        let mut turns = Vec::new();
        for _ in 0..API_USUAL_CALLS_MIN {
            turns.push(line.turn(Rank::Usual).await.expect("a place"));
        }
        sleep(ms(API_SLOW_CALL_MS)).await;
        drop(turns);
    }
    let under_way = 3 * API_USUAL_CALLS_MIN;
    let places = line.places[Rank::Usual as usize].available_permits();
    assert_eq!(places, API_USUAL_CALLS_MAX - under_way);
    assert_eq!(line.usual.lock().places, places);
}
