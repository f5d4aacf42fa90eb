//! The hosts of primary and standby vanish at once: the third node lacks nothing that it knows of, but
//! nobody can know, so writes wait, and the status says what a person could do. One of the two comes
//! back, and the cluster goes on by itself.

use standby_e2e::error::{Result, ensure};
use standby_e2e::faults::host_of;
use standby_e2e::limits::FAILOVER_TIMEOUT;
use standby_e2e::product::one_operator_on;
use standby_e2e::scene::Scene;
use standby_e2e::workload::Load;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    let third = host_of(&stage.cluster, &scene.product.replica().await?)?;
    one_operator_on(&stage.cluster, third.name).await?;
    scene.look_again().await?;
    let standby = host_of(&stage.cluster, &scene.standby)?;
    scene.strike();
    host_of(&stage.cluster, &scene.primary)?.power_off().await?;
    standby.power_off().await?;
    scene
        .product
        .until("what a person can do", FAILOVER_TIMEOUT, |now| {
            match now.options.as_slice() {
                [] => Err(format!("{:?}: {:?}", now.phase, now.why)),
                _ => Ok(()),
            }
        })
        .await?;
    let before = scene.load.acknowledged();
    standby.power_on().await?;
    scene.writes_go("primary and standby gone").await?;
    ensure(scene.load.acknowledged() > before, || {
        "nothing was written".to_owned()
    })?;
    scene.close().await.map(drop)
}
