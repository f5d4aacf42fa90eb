//! One direction of a cable is dead: the primary's host hears and is not heard, then is heard and does
//! not hear. Both are failed over, and nobody reads anything stale from the old one.

use standby_e2e::error::Result;
use standby_e2e::faults::{self, Direction, host_of};
use standby_e2e::scene::Scene;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    for (title, direction) in [
        ("a mute primary", Direction::Outgoing),
        ("a deaf primary", Direction::Incoming),
    ] {
        let host = host_of(&stage.cluster, &scene.primary)?;
        scene.strike();
        let cut = faults::one_way(&stage.cluster, host.name, direction).await?;
        scene.writes_go(title).await?;
        scene.failed_over().await?;
        cut.undo();
        scene.look_again().await?;
    }
    scene.close().await.map(drop)
}
