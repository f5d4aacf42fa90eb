//! V3, V4: every recorded view may follow the one before it, by the rules that the API server enforces.

use standby_core::View;

use crate::world::World;

/// Checked when `view` is about to be recorded.
pub(crate) fn check(world: &World, view: &View) {
    let verdict = match world.recorded() {
        None => view.check_first(),
        Some(before) => before.check_successor(view).map(|_| ()),
    };
    assert_eq!(verdict, Ok(()), "seed {}: {view}", world.report.seed);
}
