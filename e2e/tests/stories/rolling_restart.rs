//! The configuration changes: replicas are restarted first, the primary last and after a switchover.

use serde_json::json;
use standby_e2e::command::until;
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
    until(
        "every pod to be new",
        CLUSTER_READY_TIMEOUT * 2,
        async || {
            let now = pods(&scene).await.map_err(|error| error.to_string())?;
            match before.iter().find(|uid| now.contains(uid)) {
                None => Ok(()),
                Some(uid) => Err(format!("{uid} is as before")),
            }
        },
    )
    .await?;
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
