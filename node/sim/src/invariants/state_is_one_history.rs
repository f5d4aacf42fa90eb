//! V6: all nodes apply the same commands in the same order; nothing applied is ever undone.

use crate::world::World;

/// Checked after `node` applied something.
pub(crate) fn check(world: &mut World, node: usize) {
    let process = world.nodes[node].process.as_ref().expect("it just applied");
    let history = &mut world.clients.history;
    let both = history.len().min(process.state.len());
    // What was compared before cannot differ now: look at the end only.
    let from = both.saturating_sub(16);
    assert_eq!(
        history[from..both],
        process.state[from..both],
        "seed {}: V6: n{node} applied another history",
        world.report.seed
    );
    if process.state.len() > history.len() {
        let more = process.state[history.len()..].to_vec();
        history.extend(more);
    }
}
