//! Somebody restores the store of the Kubernetes API from a backup made before a failover. The nodes know
//! better: the lost view is continued above what they have, and nobody leads who lacks anything.

use standby_e2e::error::{Result, ensure};
use standby_e2e::faults;
use standby_e2e::limits::CLUSTER_READY_TIMEOUT;
use standby_e2e::product::NODE_CONTAINER;
use standby_e2e::scene::Scene;
use standby_e2e::workload::Load;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let cluster = &stage.cluster;
    let mut scene = Scene::open(cluster, &stage.namespace).await?;
    let backup = faults::back_up_store(cluster).await?;
    scene.look_again().await?;
    faults::kill_container(cluster, &scene.primary, NODE_CONTAINER)?;
    scene.writes_go("the failover after the backup").await?;
    scene.failed_over().await?;
    scene.look_again().await?;

    backup.restore(cluster).await?;
    scene.load.more(100).await?;
    scene
        .product
        .until(
            "a view above the lost one",
            CLUSTER_READY_TIMEOUT,
            |now| match now.epoch {
                Some(epoch) if epoch > scene.epoch() => Ok(()),
                epoch => Err(format!("epoch {epoch:?}, {:?}: {:?}", now.phase, now.why)),
            },
        )
        .await?;
    let gap = scene.writes_go("the API's store was put back").await?;
    ensure(gap < 60_000.0, || format!("writers waited {gap:.0} ms"))?;
    scene.close().await.map(drop)
}
