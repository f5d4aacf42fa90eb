//! With two nodes the standby's host vanishes. `Strict`: writes wait until it is back. `Available`: the
//! primary goes on alone, says so, and is safe again by itself when the host is back.

use standby_e2e::command::until;
use standby_e2e::error::Result;
use standby_e2e::faults::{self, host_of};
use standby_e2e::limits::FAILOVER_TIMEOUT;
use standby_e2e::scene::Scene;
use standby_e2e::workload::{Load, now_us};

use crate::Stage;

/// A silence of the writers that no busy machine explains, and longer than any failover.
const SILENCE_US: i64 = 5_000_000;

pub async fn run(stage: &Stage) -> Result<()> {
    let cluster = &stage.cluster;
    let text = two("strict", "Strict");
    let mut scene = Scene::open_with(cluster, &stage.namespace, &text).await?;
    scene.strike();
    host_of(cluster, &scene.standby)?.power_off().await?;
    until("writes to wait", FAILOVER_TIMEOUT, async || {
        match now_us() - scene.load.last_acknowledged_us() {
            silence if silence > SILENCE_US => Ok(()),
            silence => Err(format!("the last write was {silence} us ago")),
        }
    })
    .await?;
    faults::heal(cluster).await?;
    scene.writes_go("two nodes, Strict, standby gone").await?;
    scene.close().await?;

    let text = two("available", "Available");
    let mut scene = Scene::open_with(cluster, &stage.namespace, &text).await?;
    scene.strike();
    host_of(cluster, &scene.standby)?.power_off().await?;
    scene
        .writes_go("two nodes, Available, standby gone")
        .await?;
    scene.same_primary().await?;
    scene.close().await.map(drop)
}

fn two(name: &str, durability: &str) -> String {
    format!(
        "apiVersion: standby.dev/v1alpha1\n\
         kind: StandbyCluster\n\
         metadata:\n  name: {name}\n\
         spec:\n  instances: 2\n  durability: {durability}\n  storage:\n    size: 1Gi\n"
    )
}
