//! The configuration changes: replicas are restarted first, the primary last and after a switchover.

use serde_json::json;
use standby_e2e::error::{Result, ensure};
use standby_e2e::limits::CLUSTER_READY_TIMEOUT;
use standby_e2e::scene::Scene;

use crate::Stage;

/// One switchover, and one standby replaced.
const GAP_MAX_MS: f64 = 5_000.0;

pub async fn run(stage: &Stage) -> Result<()> {
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    let before = pods(&scene).await?;
    scene.strike();
    let memory = json!({"resources": {"requests": {"memory": "65Mi"}}});
    scene.product.change(&memory).await?;
    scene
        .product
        .until(
            "every pod to be new",
            CLUSTER_READY_TIMEOUT * 2,
            |now| match now.nodes.iter().all(|node| node.healthy) {
                true => Ok(()),
                false => Err(format!("{:?}", now.phase)),
            },
        )
        .await?;
    let mut left = before.clone();
    let limit = std::time::Instant::now() + CLUSTER_READY_TIMEOUT * 2;
    while !left.is_empty() && std::time::Instant::now() < limit {
        let now = pods(&scene).await.unwrap_or_default();
        left.retain(|uid| now.contains(uid));
        tokio::time::sleep(standby_e2e::limits::POLL_INTERVAL).await;
    }
    ensure(left.is_empty(), || format!("pods are as before: {left:?}"))?;
    scene.product.ready(CLUSTER_READY_TIMEOUT).await?;
    let gap_ms = scene.writes_go("a rolling restart").await?;
    ensure(gap_ms < GAP_MAX_MS, || {
        format!("writers waited {gap_ms:.0} ms")
    })?;
    scene.close().await.map(drop)
}

async fn pods(scene: &Scene<'_>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for node in scene.product.status().await?.nodes {
        let pod = scene.product.pod(&node.name).await?;
        found.extend(pod.metadata.uid);
    }
    Ok(found)
}
