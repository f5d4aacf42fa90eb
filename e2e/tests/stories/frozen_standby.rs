//! The standby's disk hangs: writes wait until a replica has taken its place; the primary stays.

use standby_e2e::error::Result;
use standby_e2e::faults;
use standby_e2e::scene::Scene;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    let claim = scene.product.claim(&scene.standby).await?;
    scene.strike();
    let frozen = faults::freeze(&stage.cluster, &scene.standby, &claim).await?;
    scene.writes_go("frozen volume of the standby").await?;
    scene.same_primary().await?;
    frozen.undo();
    scene.close().await.map(drop)
}
