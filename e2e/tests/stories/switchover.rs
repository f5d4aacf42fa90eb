//! Somebody orders a switchover, to the best node and then to a named one: writers hardly notice, and an
//! order that names a past epoch does nothing.

use kube::ResourceExt;
use standby_api::names::SWITCHOVER_ANY;
use standby_e2e::error::{Result, ensure};
use standby_e2e::limits::FAILOVER_TIMEOUT;
use standby_e2e::scene::Scene;
use standby_e2e::workload::Load;

use crate::Stage;

/// Generous: a measurement tells how long it really is.
const GAP_MAX_MS: f64 = 2_000.0;

pub async fn run(stage: &Stage) -> Result<()> {
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    let first = scene.epoch();
    scene.strike();
    scene
        .product
        .order_switchover(SWITCHOVER_ANY, first)
        .await?;
    handed_over(&scene, None).await?;
    let gap_ms = scene.writes_go("switchover to the best node").await?;
    ensure(gap_ms < GAP_MAX_MS, || {
        format!("writers waited {gap_ms:.0} ms")
    })?;

    scene.look_again().await?;
    let target = scene.standby.name_any();
    scene
        .product
        .order_switchover(&target, scene.epoch())
        .await?;
    handed_over(&scene, Some(&target)).await?;
    scene.writes_go("switchover to a named node").await?;

    scene.look_again().await?;
    scene
        .product
        .order_switchover(SWITCHOVER_ANY, first)
        .await?;
    scene.load.more(400).await?;
    scene.same_primary().await?;
    scene.close().await.map(drop)
}

async fn handed_over(scene: &Scene<'_>, to: Option<&str>) -> Result<()> {
    scene
        .product
        .until("the switchover", FAILOVER_TIMEOUT, |now| {
            let wanted = match to {
                Some(name) => now.primary.as_deref() == Some(name),
                None => now.primary.is_some() && now.primary != scene.before.primary,
            };
            if wanted {
                Ok(())
            } else {
                Err(format!("{:?}; orders: {:?}", now.primary, now.orders))
            }
        })
        .await
}
