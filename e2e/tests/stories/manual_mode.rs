//! In manual mode nobody is promoted without a person: the status says what can be done, and the chosen
//! one is done.

use kube::ResourceExt;
use standby_api::names::ANNOTATION_PROMOTE;
use standby_e2e::error::Result;
use standby_e2e::faults::host_of;
use standby_e2e::limits::FAILOVER_TIMEOUT;
use standby_e2e::product::sample;
use standby_e2e::scene::Scene;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let text = sample("db") + "  failover:\n    mode: Manual\n";
    let mut scene = Scene::open_with(&stage.cluster, &stage.namespace, &text).await?;
    let standby = scene.standby.name_any();
    scene.strike();
    host_of(&stage.cluster, &scene.primary)?.power_off().await?;
    let epoch = scene
        .product
        .until("the options", FAILOVER_TIMEOUT, |now| {
            let offered = now
                .options
                .iter()
                .find(|one| one.node.as_ref() == Some(&standby));
            match offered {
                Some(_) => Ok(now.epoch.unwrap_or(0)),
                None => Err(format!("{:?}: {:?}", now.phase, now.options)),
            }
        })
        .await?;
    let order = format!("{standby}@{epoch}");
    scene.product.order(ANNOTATION_PROMOTE, &order).await?;
    scene.writes_go("a person's decision").await?;
    scene.close().await.map(drop)
}
