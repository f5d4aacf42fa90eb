//! Somebody deletes the `StandbyView`: it stays as long as its cluster lives, and a failover still works.

use standby_e2e::error::Result;
use standby_e2e::faults;
use standby_e2e::product::NODE_CONTAINER;
use standby_e2e::scene::Scene;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let api = &stage.cluster.api;
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    let view = ["standbyview", "db", "-n", &stage.namespace];
    api.kubectl(&[&["delete"], &view[..], &["--wait=false"]].concat())
        .await?;
    scene.strike();
    faults::kill_container(&stage.cluster, &scene.primary, NODE_CONTAINER)?;
    scene.writes_go("a view that somebody deleted").await?;
    scene.failed_over().await?;
    api.kubectl(&[&["get"], &view[..]].concat()).await?;
    scene.close().await.map(drop)
}
