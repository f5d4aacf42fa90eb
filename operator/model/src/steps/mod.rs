//! Every step the system can take from a moment, one at a time.
//!
//! Nothing is in flight between steps, and yet every message may come late, twice or never:
//!
//! - a view that was recorded may reach any node at any later time, or not at all;
//! - an acknowledgement is noted when it is given; the primary may act on it at any later time, also
//!   when the follower has long gone on to another epoch;
//! - entries that arrive late arrive at a node that was matched before, so that taking them at once is
//!   the same, and a node that has gone on refuses them (V2);
//! - what a primary reported may be acted on by any operator at any later time, until the recorded view
//!   changes; an operator that decided on something else fails its compare-and-swap. So it makes no
//!   difference how many operators there are, nor how old what they know is;
//! - a node that is down is one that takes no step. A crash loses what is in memory and what is not on
//!   disk yet.

pub mod misfortune;
pub mod node;
pub mod operator;
pub mod time;

use std::fmt;

use crate::check::{self, Breach};
use crate::fault::Fault;
use crate::log::Log;
use crate::state::{Epoch, Id, Left, Node, Place, Set, State};
use crate::symmetry;
use crate::views::{Code, Views, Wish};

/// How large a world is explored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// In words.
    pub name: &'static str,
    /// How many nodes there are at the beginning: three, or four.
    pub nodes: u8,
    /// The highest epoch that is recorded.
    pub epochs: Epoch,
    /// What may happen how often.
    pub left: Left,
    /// Whether it begins with a pair in epoch 2 instead of without any view.
    pub paired: bool,
    /// Whether leases and reads are part of it (V5).
    pub reads: bool,
    /// Whether operators may act on a restored view object without a node telling that it is old.
    pub blind: bool,
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begin = if self.paired {
            "from a pair in epoch 2"
        } else {
            "from no view"
        };
        let left = self.left;
        write!(
            f,
            "{} nodes, {begin} up to epoch {}, writes {}, volumes lost {}, view object lost or put back {}, \
             alone {}",
            self.nodes, self.epochs, left.writes, left.losses, left.restores, left.alone
        )?;
        if left.put_back > 0 {
            write!(f, ", volumes put back {}", left.put_back)?;
        }
        if self.reads {
            f.write_str(", leases and reads")?;
        }
        Ok(())
    }
}

/// What the steps follow.
#[derive(Debug)]
pub struct Rules {
    /// How large the world is.
    pub bounds: Bounds,
    /// The rule that is broken on purpose.
    pub fault: Option<Fault>,
    /// The rules of views.
    pub views: Views,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// An operator records the first view of the cluster.
    First(Id),
    /// An operator records a view.
    Record(Wish),
    /// An operator continues a lost view.
    Recover(Id),
    /// A node stores the view of an epoch that it was told.
    Adopt(Id, Epoch),
    /// The primary takes a write.
    Write(Id),
    /// A follower finds where its log parts from the primary's, and cuts the rest.
    Cut(Id, Id),
    /// A follower takes the next entry, has it on disk and acknowledges.
    Append(Id, Id),
    /// The primary commits its next entry and answers whoever waits for it.
    Commit(Id),
    /// The primary is told to wait for a node too.
    Promise(Id, Id),
    /// A process ends and starts again; so many of its last entries were not on its disk.
    Restart(Id, u8),
    /// A volume is lost; an empty one takes its place.
    LoseVolume(Id),
    /// A primary's volume is put back to what it was before it stored its view.
    PutBack(Id),
    /// The view object is lost, or put back to what it was.
    Restore(Epoch),
    /// A follower grants the primary a lease.
    Grant(Id, Id),
    /// Time passes: the oldest leases are over, and with them what waited for that.
    Pass,
    /// A node is told that the primary before it is proven to have ended.
    Proof(Id),
    /// What only a broken rule allows.
    Broken(Id, Id),
}

/// What comes of a step.
pub type Outcome = (Action, Result<State, Breach>);

/// Collects the steps from one moment.
#[derive(Debug)]
pub struct Out<'a> {
    /// What they follow.
    pub rules: &'a Rules,
    /// What was found so far.
    pub found: Vec<Outcome>,
}

impl Out<'_> {
    /// Whether that rule is broken on purpose.
    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        self.rules.fault == Some(fault)
    }

    /// A step that breaks a rule by itself.
    pub fn breach(&mut self, action: Action, breach: Breach) {
        self.found.push((action, Err(breach)));
    }

    /// A step to `next`, which is checked, and brought to its shortest form.
    pub fn step(&mut self, action: Action, mut next: State) {
        self.settle(&mut next);
        let outcome = check::state(&next, self.rules).map(|()| next);
        self.found.push((action, outcome));
    }

    fn settle(&self, state: &mut State) {
        operator::report(state, self);
        if !self.rules.bounds.blind {
            state.tidy();
        }
        time::settle(state);
    }
}

impl Rules {
    /// Rules without a fault.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            fault: None,
            views: Views::new(),
        }
    }

    /// The same with one rule broken.
    #[must_use]
    pub fn broken(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// Where it begins.
    #[must_use]
    pub fn start(&self) -> State {
        let mut state = State {
            left: self.bounds.left,
            ..State::default()
        };
        for id in 0..self.bounds.nodes {
            state.node_mut(id).place = Place::Here;
        }
        if self.bounds.paired {
            self.pair(&mut state);
        }
        state
    }

    /// Epoch 2: `db-1` leads, `db-2` is synchronous, both have opened both epochs; nothing is committed.
    fn pair(&self, state: &mut State) {
        let pair = Wish::Synchronous(Set::of(1));
        let view = self.views.next(self.views.first(0), pair);
        let view = view.expect("the rules let a complete node become synchronous");
        let log = Log::default().with(1, 1).with(2, 1);
        for id in [0, 1] {
            *state.node_mut(id) = Node {
                place: Place::Here,
                epoch: 2,
                leads: id == 0,
                log,
                acked: if id == 0 { 1 << 2 } else { 0 },
                ..Node::default()
            };
        }
        state.views[1] = self.views.first(0);
        state.views[2] = view;
        (state.recorded, state.reported, state.opened) = (2, Set::of(1), 0b110);
    }

    /// Every step from `state`.
    #[must_use]
    pub fn steps(&self, state: &State) -> Vec<Outcome> {
        let mut out = Out {
            rules: self,
            found: Vec::with_capacity(32),
        };
        operator::steps(state, &mut out);
        node::steps(state, &mut out);
        misfortune::steps(state, &mut out);
        if self.bounds.reads {
            time::steps(state, &mut out);
        }
        out.found
    }

    /// The moment that stands for `state` and all that differ from it in nodes' names alone.
    #[must_use]
    pub fn canonical(&self, state: &State) -> State {
        symmetry::canonical(state)
    }
}

/// The code of a view no rule would let through.
pub(crate) fn unchecked(primary: Id, synchronous: Set, complete: Set) -> Code {
    Code::new(primary, synchronous, false, complete)
}
