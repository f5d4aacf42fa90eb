//! What a moment of the whole system is made of, small enough to keep millions of them: nodes, the
//! recorded view and those before it, what operators were told, what was acknowledged.
//!
//! What is in flight is not kept: [`crate::steps`] says why a message that arrives late, twice or
//! never is one of the steps all the same.

use std::hash::Hash;

use xxhash_rust::xxh3::xxh3_64;

use crate::log::Log;
use crate::views::Code;

/// Nodes by identity (name **and** volume): three, and the replacement that may come.
pub const NODES: usize = 4;
/// The highest epoch that fits, and the place of epoch zero.
pub const EPOCHS: usize = 8;
/// What the timeline holds at most: a lease and a note for each pair of nodes, and for each start.
pub const TIMELINE: usize = 32;

/// A node.
pub type Id = u8;
/// An epoch; zero: none yet.
pub type Epoch = u8;

/// A set of nodes, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set(pub u8);

impl Set {
    /// Nobody.
    pub const NONE: Self = Self(0);

    /// Just this one.
    #[must_use]
    pub fn of(id: Id) -> Self {
        Self(1 << id)
    }

    /// Whether it is in here.
    #[must_use]
    pub fn has(self, id: Id) -> bool {
        self.0 & (1 << id) != 0
    }

    /// With it.
    #[must_use]
    pub fn with(self, id: Id) -> Self {
        Self(self.0 | (1 << id))
    }

    /// Without it.
    #[must_use]
    pub fn without(self, id: Id) -> Self {
        Self(self.0 & !(1 << id))
    }

    /// Both together.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of it is in `other`.
    #[must_use]
    pub fn within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// Whether nobody is in here.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Everybody in here, in order.
    pub fn iter(self) -> impl Iterator<Item = Id> {
        (0..8).filter(move |id| self.has(*id))
    }
}

/// Whether there is such a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Place {
    /// Not yet: a replacement that was not needed so far.
    #[default]
    Unborn,
    /// It runs, or will again: being down is doing nothing for a while.
    Here,
    /// Its volume is gone for good.
    Lost,
}

/// A node: what is on its volume, and what its process knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// Whether there is one.
    pub place: Place,
    /// The view it has stored.
    pub epoch: Epoch,
    /// This run stored that view, and it names this node: it is primary (V3).
    pub leads: bool,
    /// Its log. Of a primary's, what it has not committed may not be on its disk yet.
    pub log: Log,
    /// Primary: how many entries of its epoch it has committed.
    pub committed: u8,
    /// Primary: whom it was told to wait for besides the view's synchronous nodes (V4).
    pub awaits: Set,
    /// Primary: how many entries of its epoch each node has acknowledged, two bits each.
    pub acked: u8,
    /// Primary that has not committed in its epoch yet: how many entries just before it may not be on its
    /// disk. It took them as the primary before, while it stored the present view.
    pub loose: u8,
}

impl Node {
    /// How many entries of this primary's epoch `id` has acknowledged to it.
    #[must_use]
    pub fn acked_by(&self, id: Id) -> u8 {
        (self.acked >> (2 * id)) & 3
    }

    /// Notes what `id` acknowledges.
    pub fn note_ack(&mut self, id: Id, count: u8) {
        self.acked = (self.acked & !(3 << (2 * id))) | ((count & 3) << (2 * id));
    }

    /// Is no primary any more.
    pub fn resign(&mut self) {
        self.leads = false;
        self.committed = 0;
        self.awaits = Set::NONE;
        self.acked = 0;
        self.loose = 0;
    }

    /// What this primary has committed, and all before it.
    #[must_use]
    pub fn committed_log(&self) -> Log {
        self.log.upto(self.epoch, self.committed)
    }
}

/// What may still happen, by the bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Left {
    /// Writes.
    pub writes: u8,
    /// Volumes that are lost.
    pub losses: u8,
    /// Times that the view object is lost or restored from a backup.
    pub restores: u8,
    /// Times that a primary goes alone.
    pub alone: u8,
    /// Times that a primary's volume is put back to what it was before it stored its view.
    pub put_back: u8,
}

/// One moment of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    /// The nodes.
    pub nodes: [Node; NODES],
    /// The view of each epoch, as long as somebody may act on it.
    pub views: [Code; EPOCHS],
    /// The epoch that the view object holds; zero without one.
    pub recorded: Epoch,
    /// Whom the primary of the recorded view has reported as complete, to any operator at any time.
    pub reported: Set,
    /// The same of earlier epochs: only for operators that break the rules.
    pub reported_before: Set,
    /// Everything acknowledged so far, in order.
    pub committed: Log,
    /// Epochs that were opened by somebody, a bit each.
    pub opened: u8,
    /// What may still happen.
    pub left: Left,
    /// Leases and what holds them up: see [`crate::steps::time`].
    pub timeline: [u8; TIMELINE],
}

impl State {
    /// A node.
    #[must_use]
    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[usize::from(id)]
    }

    /// A node, to change it.
    pub fn node_mut(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[usize::from(id)]
    }

    /// Every node that is here.
    pub fn here(&self) -> impl Iterator<Item = Id> + use<> {
        let places = self.nodes.map(|node| node.place);
        (0_u8..)
            .zip(places)
            .filter(|(_, place)| *place == Place::Here)
            .map(|(id, _)| id)
    }

    /// The view of an epoch.
    #[must_use]
    pub fn view(&self, epoch: Epoch) -> Code {
        self.views[usize::from(epoch)]
    }

    /// The view that this primary leads.
    #[must_use]
    pub fn view_of(&self, id: Id) -> Code {
        self.view(self.node(id).epoch)
    }

    /// The highest epoch that a node has stored.
    #[must_use]
    pub fn highest(&self) -> Epoch {
        self.here()
            .map(|id| self.node(id).epoch)
            .max()
            .unwrap_or_default()
    }

    /// Forgets what nobody can act on any more, so that moments that differ in nothing else are one.
    pub fn tidy(&mut self) {
        // A replacement begins at nothing, and may be told any view.
        let birth = self.left.losses > 0;
        let stored = self.here().map(|id| self.node(id).epoch).min();
        let lowest = stored.filter(|_| !birth).unwrap_or(0);
        for epoch in 1..usize::from(lowest.min(self.recorded)) {
            self.views[epoch] = Code::NONE;
            self.opened &= !(1 << epoch);
        }
        for id in 0..NODES {
            let node = self.nodes[id];
            if node.leads {
                let view = self.view(node.epoch);
                let waited = Set(node.awaits.0 & !view.synchronous().0);
                self.nodes[id].awaits = waited;
                // In a view with nobody that was overtaken a primary can do nothing any more, unless the
                // object is put back to it.
                let overtaken = node.epoch < self.recorded && self.left.restores == 0;
                if overtaken && !view.can_acknowledge() {
                    self.nodes[id].awaits = Set::NONE;
                    self.nodes[id].acked = 0;
                }
            }
        }
    }

    /// 64 bits that stand for this moment. Two moments share them by accident with a probability of
    /// 2^-64.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut bytes = [0_u8; 5 * NODES + 2 * EPOCHS + 7 + TIMELINE];
        let mut at = 0;
        let mut put = |byte: u8| {
            bytes[at] = byte;
            at += 1;
        };
        for node in &self.nodes {
            let place = match node.place {
                Place::Unborn => 0,
                Place::Here => 1,
                Place::Lost => 2,
            };
            let [low, high] = node.log.0.to_le_bytes();
            put(place | (u8::from(node.leads) << 2) | (node.epoch << 3));
            put(low);
            put(high);
            put(node.committed | (node.awaits.0 << 2) | (node.loose << 6));
            put(node.acked);
        }
        for view in &self.views {
            let [low, high] = view.0.to_le_bytes();
            put(low);
            put(high);
        }
        let [low, high] = self.committed.0.to_le_bytes();
        put(self.recorded);
        put(self.reported.0 | (self.reported_before.0 << 4));
        put(low);
        put(high);
        put(self.opened);
        put(self.left.writes | (self.left.losses << 2) | (self.left.restores << 4));
        put(self.left.alone | (self.left.put_back << 4));
        for item in self.timeline {
            put(item);
        }
        // Zero means "free" in the table.
        xxh3_64(&bytes).max(1)
    }
}
