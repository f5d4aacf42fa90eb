//! The primary's disk hangs: its process lives and answers heartbeats, but no write gets to its disk. It
//! is failed over, and once its disk works again it follows.

use standby_e2e::error::Result;
use standby_e2e::faults;
use standby_e2e::scene::Scene;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    let claim = scene.product.claim(&scene.primary).await?;
    scene.strike();
    let frozen = faults::freeze(&stage.cluster, &scene.primary, &claim).await?;
    scene.writes_go("frozen volume of the primary").await?;
    scene.failed_over().await?;
    frozen.undo();
    scene.close().await.map(drop)
}
