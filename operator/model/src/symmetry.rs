//! Nodes differ by what they are and hold, not by their names. Of all moments that differ in names alone
//! one is kept: nodes are put in an order of what can be said of each without naming others.
//!
//! Nodes of which the same can be said keep the order they had. So two moments that differ in names alone
//! may both be kept, which costs time and never hides a step.

use crate::state::{EPOCHS, Id, NODES, Node, Set, State};
use crate::steps::time;
use crate::views::Code;

/// What can be said of a node without naming others.
fn portrait(state: &State, id: Id) -> u64 {
    let node = state.node(id);
    let mut roles: u64 = 0;
    for view in state.views {
        let role = u64::from(view.is_some() && view.primary() == id)
            | (u64::from(view.synchronous().has(id)) << 1)
            | (u64::from(view.complete().has(id)) << 2);
        roles = (roles << 3) | role;
    }
    let own = u64::from(node.log.0)
        | (u64::from(node.epoch) << 16)
        | (u64::from(node.leads) << 19)
        | (u64::from(node.committed) << 20)
        | (u64::from(state.reported.has(id)) << 22)
        | (u64::from(state.reported_before.has(id)) << 23)
        | ((node.place as u64) << 24);
    (own << 24) | roles
}

/// How the primaries see it, by their portraits.
fn seen(state: &State, id: Id, portraits: &[u64; NODES]) -> u64 {
    let mut sum: u64 = 0;
    for (other, portrait) in state.nodes.iter().zip(portraits) {
        if other.leads {
            let view = u64::from(other.acked_by(id)) | (u64::from(other.awaits.has(id)) << 2);
            let mixed = (portrait.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) ^ (view + 1);
            sum = sum.wrapping_add(mixed.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        }
    }
    sum
}

fn rename_set(set: Set, to: [Id; NODES]) -> Set {
    set.iter()
        .fold(Set::NONE, |all, id| all.with(to[usize::from(id)]))
}

fn rename_view(view: Code, to: [Id; NODES]) -> Code {
    if !view.is_some() {
        return view;
    }
    Code::new(
        to[usize::from(view.primary())],
        rename_set(view.synchronous(), to),
        view.alone(),
        rename_set(view.complete(), to),
    )
}

fn rename_node(node: Node, to: [Id; NODES]) -> Node {
    let mut renamed = node;
    if node.leads {
        renamed.awaits = rename_set(node.awaits, to);
        renamed.acked = 0;
        for (id, name) in (0_u8..).zip(to) {
            renamed.note_ack(name, node.acked_by(id));
        }
    }
    renamed
}

/// The moment that is kept for `state`.
#[must_use]
pub fn canonical(state: &State) -> State {
    let mut portraits = [0; NODES];
    for (id, portrait) in (0_u8..).zip(&mut portraits) {
        *portrait = self::portrait(state, id);
    }
    let mut order: [Id; NODES] = [0, 1, 2, 3];
    let mut keys = [(0, 0); NODES];
    for (id, key) in (0_u8..).zip(&mut keys) {
        *key = (portraits[usize::from(id)], seen(state, id, &portraits));
    }
    order.sort_by_key(|id| keys[usize::from(*id)]);
    if order == [0, 1, 2, 3] {
        return *state;
    }
    let mut to: [Id; NODES] = [0; NODES];
    for (place, id) in (0_u8..).zip(order) {
        to[usize::from(id)] = place;
    }
    renamed(state, to)
}

/// The same moment with other names.
#[must_use]
pub fn renamed(state: &State, to: [Id; NODES]) -> State {
    let mut next = *state;
    for (id, node) in state.nodes.iter().enumerate() {
        next.nodes[usize::from(to[id])] = rename_node(*node, to);
    }
    for epoch in 0..EPOCHS {
        next.views[epoch] = rename_view(state.views[epoch], to);
    }
    next.reported = rename_set(state.reported, to);
    next.reported_before = rename_set(state.reported_before, to);
    next.timeline = time::rename(state.timeline, |id| to[usize::from(id)]);
    time::settle(&mut next);
    next
}
