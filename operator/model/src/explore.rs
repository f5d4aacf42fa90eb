//! Breadth-first search through every moment that can be reached: a violation that is found is one with
//! the fewest steps.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::check::{Breach, Violation};
use crate::state::State;
use crate::steps::Rules;
use crate::table::{Inserted, Table};
use crate::words;

/// How many moments a thread takes at a time.
const CHUNK: usize = 512;
/// How many new moments one moment leads to at most, on average over a level: more than was ever seen.
const GROWTH: usize = 5;
/// How far a search may go unless it is told otherwise.
const STATES_MAX: usize = 180_000_000;

/// How far a search may go.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Moments, at most.
    pub states: usize,
    /// Time, at most.
    pub time: Duration,
    /// Threads.
    pub threads: usize,
    /// Tells each level on standard error.
    pub talk: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            states: STATES_MAX,
            time: Duration::from_hours(1),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            talk: false,
        }
    }
}

/// What a search found.
#[derive(Debug)]
pub struct Explored {
    /// Moments, each counted once.
    pub states: usize,
    /// Steps from one to another, also to known ones.
    pub transitions: usize,
    /// The most steps from the beginning.
    pub depth: usize,
    /// Everything within the bounds was seen.
    pub complete: bool,
    /// How long it took.
    pub time: Duration,
    /// The first rule that was broken.
    pub violation: Option<Violation>,
}

/// A breach, and the moment it was found at.
type Found = (u64, Breach);

struct Level<'a> {
    rules: &'a Rules,
    table: &'a Table,
    frontier: &'a [State],
    next_chunk: AtomicUsize,
    transitions: AtomicUsize,
    found: Mutex<Option<Found>>,
    stop: AtomicBool,
    until: Instant,
}

impl Level<'_> {
    fn work(&self) -> Vec<State> {
        let mut new = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            let at = self.next_chunk.fetch_add(CHUNK, Ordering::Relaxed);
            let Some(rest) = self.frontier.get(at..) else {
                break;
            };
            if rest.is_empty() {
                break;
            }
            for state in rest.iter().take(CHUNK) {
                self.one(state, &mut new);
            }
            if Instant::now() >= self.until {
                self.stop.store(true, Ordering::Relaxed);
            }
        }
        new
    }

    fn one(&self, state: &State, new: &mut Vec<State>) {
        let from = state.fingerprint();
        let steps = self.rules.steps(state);
        self.transitions.fetch_add(steps.len(), Ordering::Relaxed);
        for (_, outcome) in steps {
            match outcome {
                Ok(next) => {
                    let next = self.rules.canonical(&next);
                    if self.table.insert(next.fingerprint(), from) == Inserted::New {
                        new.push(next);
                    }
                }
                Err(breach) => {
                    let mut found = self
                        .found
                        .lock()
                        .expect("no thread panics while it holds it");
                    found.get_or_insert((from, breach));
                    self.stop.store(true, Ordering::Relaxed);
                    return;
                }
            }
        }
    }
}

/// Sees everything that can be reached by `rules`, unless a rule is broken or a limit reached first.
///
/// # Panics
/// When a thread of the search does.
#[must_use]
pub fn explore(rules: &Rules, limits: &Limits) -> Explored {
    let began = Instant::now();
    let mut table = Table::default();
    let start = rules.canonical(&rules.start());
    table.insert(start.fingerprint(), 0);
    let mut frontier = vec![start];
    let mut done = Explored {
        states: 1,
        transitions: 0,
        depth: 0,
        complete: false,
        time: Duration::ZERO,
        violation: None,
    };
    loop {
        table.reserve(frontier.len() * GROWTH);
        let level = Level {
            rules,
            table: &table,
            frontier: &frontier,
            next_chunk: AtomicUsize::new(0),
            transitions: AtomicUsize::new(0),
            found: Mutex::new(None),
            stop: AtomicBool::new(false),
            until: began + limits.time,
        };
        let parts: Vec<Vec<State>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..limits.threads)
                .map(|_| scope.spawn(|| level.work()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("a thread of the search panicked"))
                .collect()
        });
        done.transitions += level.transitions.load(Ordering::Relaxed);
        let stopped = level.stop.load(Ordering::Relaxed);
        let found = level.found.into_inner().expect("no thread panicked");
        let next = parts.concat();
        done.states = table.len();
        if let Some((at, breach)) = found {
            done.depth += 1;
            done.violation = Some(explain(rules, &table, at, breach));
            break;
        }
        if limits.talk {
            eprintln!(
                "  {} steps: {} states, {} of them new, {:.0} s",
                done.depth + 1,
                done.states,
                next.len(),
                began.elapsed().as_secs_f64()
            );
        }
        if next.is_empty() && !stopped {
            done.complete = true;
            break;
        }
        done.depth += 1;
        if stopped || done.states >= limits.states {
            break;
        }
        frontier = next;
    }
    done.time = began.elapsed();
    done
}

/// The way to a breach, in words, with the same names from the first step to the last.
fn explain(rules: &Rules, table: &Table, at: u64, breach: Breach) -> Violation {
    let mut way = vec![at];
    let mut key = at;
    while let Some(parent) = table.parent(key).filter(|parent| *parent != 0) {
        way.push(parent);
        key = parent;
    }
    let mut state = rules.start();
    let mut steps = Vec::new();
    for key in way.iter().rev().skip(1) {
        let step = rules.steps(&state).into_iter().find_map(|(action, next)| {
            let next = next.ok()?;
            (rules.canonical(&next).fingerprint() == *key).then_some((action, next))
        });
        let (action, next) = step.expect("it was reached by a step before");
        steps.push(words::step(&state, action, &next));
        state = next;
    }
    let last = rules
        .steps(&state)
        .into_iter()
        .find(|(_, next)| next.is_err());
    let (action, outcome) = last.expect("the last step broke a rule before");
    steps.push(words::last(action, &state));
    Violation {
        breach: outcome.err().unwrap_or(breach),
        steps,
    }
}
