//! The primary is killed, and the one that takes over is killed while the failover is under way. What
//! was acknowledged is on one of the two volumes, and the cluster goes on by itself.

use standby_e2e::error::Result;
use standby_e2e::faults;
use standby_e2e::limits::FAILOVER_TIMEOUT;
use standby_e2e::product::NODE_CONTAINER;
use standby_e2e::scene::Scene;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    scene.strike();
    faults::kill_container(&stage.cluster, &scene.primary, NODE_CONTAINER)?;
    let epoch = scene.epoch();
    let moved = |status: &standby_api::StandbyClusterStatus| match status.epoch {
        Some(now) if now > epoch => Ok(()),
        now => Err(format!("epoch {now:?}")),
    };
    scene
        .product
        .until("the failover to begin", FAILOVER_TIMEOUT, moved)
        .await?;
    faults::kill_container(&stage.cluster, &scene.standby, NODE_CONTAINER)?;
    scene.writes_go("two faults in a row").await?;
    scene.close().await.map(drop)
}
