//! V9: nodes never talk to the Kubernetes API. While the API or every operator is away, writes go on in the
//! current view. (That nodes do not talk to it holds by construction: a node's code here has no way to the
//! API server.)

use standby_core::View;

use crate::time::{SECOND, Time};
use crate::world::World;

/// Writes are acknowledged in every span of this length.
pub const SPAN: Time = 10 * SECOND;

/// Checked each [`SPAN`] while nobody directs; `written` had been acknowledged when it began.
pub fn check(world: &World, view: &View, written: u64) {
    let leads = world
        .running()
        .any(|(_, process)| process.node == view.primary && process.replica.serves());
    if !leads {
        world.broken("V9", format!("undirected, nobody leads in {view}"));
    }
    if world.report.acknowledged == written {
        let text = format!("undirected, no write was acknowledged in 10 s in {view}");
        world.broken("V9", text);
    }
}
