//! The API server dies in the middle of a switchover, and comes back a while later. Writes stop at most
//! for as long as it is away, nothing is lost, and the cluster settles by itself.

use standby_api::names::SWITCHOVER_ANY;
use standby_e2e::cluster::control_plane::Program;
use standby_e2e::error::Result;
use standby_e2e::scene::Scene;
use standby_e2e::workload::now_us;

use crate::Stage;

const AWAY_US: i64 = 8_000_000;

pub async fn run(stage: &Stage) -> Result<()> {
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    scene.strike();
    scene
        .product
        .order_switchover(SWITCHOVER_ANY, scene.epoch())
        .await?;
    Program::ApiServer.kill(stage.cluster.layout).await?;
    // Meanwhile nobody can say what is going on: nothing to wait for but the time itself.
    let left_us = AWAY_US - (now_us() - scene.struck_us());
    let left = std::time::Duration::from_micros(u64::try_from(left_us).unwrap_or(0));
    tokio::time::sleep(left).await;
    stage.cluster.start_program(Program::ApiServer).await?;
    scene
        .writes_go("the API server away in a switchover")
        .await?;
    scene.close().await.map(drop)
}
