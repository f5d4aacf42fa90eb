//! A primary is fenced by annotation: it hands its role over, gets no other, and is taken back when the
//! fence is lifted.

use standby_api::names::ANNOTATION_FENCE;
use standby_e2e::error::Result;
use standby_e2e::limits::{CLUSTER_READY_TIMEOUT, FAILOVER_TIMEOUT};
use standby_e2e::scene::Scene;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    let name = scene.primary_name();
    scene.strike();
    scene.product.order(ANNOTATION_FENCE, &name).await?;
    scene
        .product
        .until("a fenced primary to be relieved", FAILOVER_TIMEOUT, |now| {
            let has_role = now.primary.as_ref() == Some(&name) || now.synchronous.contains(&name);
            match (has_role, &now.primary) {
                (false, Some(_)) if !now.synchronous.is_empty() => Ok(()),
                _ => Err(format!("{:?} and {:?}", now.primary, now.synchronous)),
            }
        })
        .await?;
    scene.writes_go("the primary is fenced").await?;
    scene.product.order(ANNOTATION_FENCE, "").await?;
    scene.product.ready(CLUSTER_READY_TIMEOUT).await?;
    scene.close().await.map(drop)
}
