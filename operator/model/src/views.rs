//! Views in 11 bits, and which may follow which. The rules are not written a third time: every change
//! the model knows was made by [`standby_core::View`] itself and let through by its
//! [`View::check_successor`] and by [`check_change`], which says what the API server refuses.

use std::collections::{BTreeSet, HashMap};

use standby_api::view::check_change;
use standby_api::{Consent, ConsentKind, StandbyViewSpec};
use standby_core::{ClusterId, Epoch, NodeId, View};

use crate::state::{Id, NODES, Set};

/// A view: primary, synchronous nodes, alone, complete nodes. Its epoch is where it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u16);

/// A change of view that an operator may want.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wish {
    /// This one becomes primary, with nobody yet.
    Promote(Id),
    /// The same primary, with exactly these.
    Synchronous(Set),
    /// The same primary, alone (V7).
    Alone,
    /// This one goes on in a view that was lost (V10).
    Recover(Id),
}

impl Code {
    /// No view.
    pub const NONE: Self = Self(0);

    /// A view of these parts, whatever the rules say of it.
    #[must_use]
    pub fn new(primary: Id, synchronous: Set, alone: bool, complete: Set) -> Self {
        let parts = u16::from(primary)
            | (u16::from(synchronous.0) << 2)
            | (u16::from(alone) << 6)
            | (u16::from(complete.0) << 7);
        Self(parts)
    }

    fn byte(self, shift: u32, mask: u8) -> u8 {
        let [low, _] = (self.0 >> shift).to_le_bytes();
        low & mask
    }

    /// Whether there is a view.
    #[must_use]
    pub fn is_some(self) -> bool {
        self != Self::NONE
    }

    /// The primary.
    #[must_use]
    pub fn primary(self) -> Id {
        self.byte(0, 3)
    }

    /// The synchronous nodes.
    #[must_use]
    pub fn synchronous(self) -> Set {
        Set(self.byte(2, 15))
    }

    /// Whether the primary may acknowledge by itself.
    #[must_use]
    pub fn alone(self) -> bool {
        self.byte(6, 1) == 1
    }

    /// The complete nodes.
    #[must_use]
    pub fn complete(self) -> Set {
        Set(self.byte(7, 15))
    }

    /// Whether anything can be acknowledged in it (V1).
    #[must_use]
    pub fn can_acknowledge(self) -> bool {
        self.alone() || !self.synchronous().is_empty()
    }
}

/// The identity that stands for a node of the model.
#[must_use]
pub fn node_id(id: Id) -> NodeId {
    NodeId::new(format!("db-{}", id + 1), format!("{:016x}", id + 1))
}

/// The cluster of the model.
#[must_use]
pub fn cluster_id() -> ClusterId {
    ClusterId("model".into())
}

fn names(set: Set) -> BTreeSet<NodeId> {
    set.iter().map(node_id).collect()
}

/// The real view that a code stands for.
#[must_use]
pub fn to_view(code: Code, epoch: u64) -> View {
    View {
        cluster_id: cluster_id(),
        epoch: Epoch(epoch),
        primary: node_id(code.primary()),
        synchronous: names(code.synchronous()),
        alone: code.alone(),
        complete: names(code.complete()),
        loss: None,
    }
}

/// The code of a real view; `ids` says which node of the model each is.
pub fn to_code(view: &View, ids: impl Fn(&NodeId) -> Option<Id>) -> Option<Code> {
    let set = |nodes: &BTreeSet<NodeId>| {
        let mut set = Set::NONE;
        for node in nodes {
            set = set.with(ids(node)?);
        }
        Some(set)
    };
    Some(Code::new(
        ids(&view.primary)?,
        set(&view.synchronous)?,
        view.alone,
        set(&view.complete)?,
    ))
}

/// Every change that the real rules let through.
#[derive(Debug)]
pub struct Views {
    next: HashMap<(Code, Wish), Code>,
    first: [Code; NODES],
}

impl Default for Views {
    fn default() -> Self {
        Self::new()
    }
}

fn all_ids() -> impl Iterator<Item = Id> {
    (0_u8..).take(NODES)
}

fn own_id(node: &NodeId) -> Option<Id> {
    all_ids().find(|id| node_id(*id) == *node)
}

fn wishes() -> Vec<Wish> {
    let mut wishes = vec![Wish::Alone];
    wishes.extend((1..1 << NODES).map(|set| Wish::Synchronous(Set(set))));
    for id in all_ids() {
        wishes.extend([Wish::Promote(id), Wish::Recover(id)]);
    }
    wishes
}

fn made_by_the_core(view: &View, wish: Wish) -> View {
    match wish {
        Wish::Promote(id) | Wish::Recover(id) => view.promote(node_id(id)),
        Wish::Synchronous(set) => view.with_synchronous(names(set)),
        Wish::Alone => view.go_alone(),
    }
}

/// Whether the core's rules and the API server's let `next` follow `view`.
fn allowed(view: &View, next: &View, wish: Wish) -> bool {
    let (old, mut new) = (StandbyViewSpec::from(view), StandbyViewSpec::from(next));
    if let Wish::Recover(_) = wish {
        new = new.with_consent(Consent {
            kind: ConsentKind::Recovery,
            epoch: 2,
            by: "standby-operator".into(),
            why: "the view object was lost".into(),
            may_lose: "nothing".into(),
        });
        // The promoted node must have been complete in the view that is continued: the planner's rule.
        return view.complete.contains(&next.primary) && check_change(None, &new).is_ok();
    }
    let api = check_change(Some(&old), &new).is_ok();
    let core = view.check_successor(next).is_ok();
    assert_eq!(api, core, "core and API server disagree on {view} → {next}");
    core
}

impl Views {
    /// Tries every change of every view there can be.
    ///
    /// # Panics
    /// When the core's rules and those of the API server disagree.
    #[must_use]
    pub fn new() -> Self {
        let mut next = HashMap::new();
        for parts in 1..1 << 11 {
            let code = Code(parts);
            let view = to_view(code, 1);
            if view.check().is_err() {
                continue;
            }
            for wish in wishes() {
                let follows = made_by_the_core(&view, wish);
                if allowed(&view, &follows, wish)
                    && let Some(made) = to_code(&follows, own_id)
                {
                    next.insert((code, wish), made);
                }
            }
        }
        let mut first = [Code::NONE; NODES];
        for (id, slot) in all_ids().zip(&mut first) {
            let view = View::first(cluster_id(), node_id(id));
            let api = check_change(None, &StandbyViewSpec::from(&view));
            assert!(view.check_first().is_ok() && api.is_ok(), "{view}");
            *slot = to_code(&view, own_id).expect("it names a node of the model");
        }
        Self { next, first }
    }

    /// The view that `wish` makes of `code`, if the rules let it through.
    #[must_use]
    pub fn next(&self, code: Code, wish: Wish) -> Option<Code> {
        self.next.get(&(code, wish)).copied()
    }

    /// The first view of a cluster.
    #[must_use]
    pub fn first(&self, id: Id) -> Code {
        self.first[usize::from(id)]
    }

    /// How many changes are allowed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.next.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.next.is_empty()
    }
}
