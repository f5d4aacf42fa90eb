//! A paused cluster is not failed over, and says so; when the pause ends it is.

use standby_api::names::ANNOTATION_PAUSED;
use standby_e2e::error::Result;
use standby_e2e::faults::{self, host_of};
use standby_e2e::limits::FAILOVER_TIMEOUT;
use standby_e2e::scene::Scene;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    scene.product.order(ANNOTATION_PAUSED, "true").await?;
    scene
        .product
        .until("the pause", FAILOVER_TIMEOUT, |now| match &now.phase {
            Some(phase) if phase.contains("Paused") => Ok(()),
            phase => Err(format!("{phase:?}")),
        })
        .await?;
    scene.strike();
    host_of(&stage.cluster, &scene.primary)?.power_off().await?;
    // That nothing happens can only be seen by waiting: much longer than a failover takes.
    tokio::time::sleep(std::time::Duration::from_secs(8)).await;
    scene.same_primary().await?;
    scene.product.order(ANNOTATION_PAUSED, "").await?;
    scene.writes_go("a pause, and its end").await?;
    scene.failed_over().await?;
    faults::heal(&stage.cluster).await?;
    scene.close().await.map(drop)
}
