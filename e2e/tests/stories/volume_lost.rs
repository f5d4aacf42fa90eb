//! A standby comes back with an empty volume under its old name: it is not taken for what it was, and
//! is filled anew.

use kube::ResourceExt;
use standby_e2e::error::{Result, ensure};
use standby_e2e::faults;
use standby_e2e::scene::Scene;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    let name = scene.standby.name_any();
    let claim = scene.product.claim(&scene.standby).await?;
    scene.strike();
    faults::lose_volume(&stage.cluster, &scene.standby, &claim).await?;
    scene.writes_go("the standby's volume is empty").await?;
    scene.product.healthy(&name).await?;
    let now = scene.product.status().await?;
    let volume = |status: &standby_api::StandbyClusterStatus| {
        let row = status.nodes.iter().find(|node| node.name == name);
        row.and_then(|node| node.volume.clone())
    };
    ensure(volume(&now) != volume(&scene.before), || {
        format!("{name} still has the volume {:?}", volume(&now))
    })?;
    scene.close().await.map(drop)
}
