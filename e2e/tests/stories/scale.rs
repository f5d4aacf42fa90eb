//! Nodes are added and taken away under load: from three to four, to two, and back to three. Writes go
//! on.

use serde_json::json;
use standby_e2e::error::{Result, ensure};
use standby_e2e::limits::CLUSTER_READY_TIMEOUT;
use standby_e2e::scene::Scene;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    for instances in [4_usize, 2, 3] {
        scene.look_again().await?;
        scene
            .product
            .change(&json!({ "instances": instances }))
            .await?;
        scene
            .product
            .until("the nodes asked for", CLUSTER_READY_TIMEOUT, |now| {
                let healthy = now.nodes.iter().filter(|node| node.healthy).count();
                if now.nodes.len() == instances && healthy == instances {
                    Ok(())
                } else {
                    Err(format!("{healthy} of {} are healthy", now.nodes.len()))
                }
            })
            .await?;
        let title = format!("{instances} instances");
        let gap_ms = scene.writes_go(&title).await?;
        ensure(gap_ms < 5_000.0, || {
            format!("writers waited {gap_ms:.0} ms")
        })?;
    }
    scene.close().await.map(drop)
}
