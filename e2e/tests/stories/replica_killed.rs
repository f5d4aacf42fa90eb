//! A replica's process is killed, then its host vanishes: writers notice neither.

use standby_e2e::error::Result;
use standby_e2e::faults::{self, host_of};
use standby_e2e::product::NODE_CONTAINER;
use standby_e2e::scene::Scene;

use crate::Stage;

const FOR_US: i64 = 5_000_000;
const GAP_MAX_MS: f64 = 1_000.0;

pub async fn run(stage: &Stage) -> Result<()> {
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    let replica = scene.product.replica().await?;
    scene.strike();
    faults::kill_container(&stage.cluster, &replica, NODE_CONTAINER)?;
    let title = "a replica killed";
    scene.writes_go_on(title, FOR_US, GAP_MAX_MS).await?;
    scene.look_again().await?;
    let replica = scene.product.replica().await?;
    scene.strike();
    host_of(&stage.cluster, &replica)?.power_off().await?;
    let title = "a replica's host gone";
    scene.writes_go_on(title, FOR_US, GAP_MAX_MS).await?;
    scene.same_primary().await?;
    scene.close().await.map(drop)
}
