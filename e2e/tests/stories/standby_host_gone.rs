//! The standby's host vanishes: writes wait until a replica has taken its place, and no longer.

use standby_e2e::error::Result;
use standby_e2e::faults::host_of;
use standby_e2e::scene::Scene;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    scene.strike();
    host_of(&stage.cluster, &scene.standby)?.power_off().await?;
    scene.writes_go("the standby's host gone").await?;
    scene.same_primary().await?;
    scene.close().await.map(drop)
}
