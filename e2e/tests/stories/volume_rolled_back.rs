//! The standby's volume is put back to a copy of a while ago, and its host starts again. It lacks what it
//! had acknowledged: its peers notice, and it is filled anew (V11). Then the primary dies, and nothing is
//! lost.

use kube::ResourceExt;
use standby_e2e::error::Result;
use standby_e2e::faults;
use standby_e2e::limits::CLUSTER_READY_TIMEOUT;
use standby_e2e::product::NODE_CONTAINER;
use standby_e2e::scene::Scene;
use standby_e2e::workload::Load;

use crate::Stage;

const WRITES_BETWEEN: usize = 200;

pub async fn run(stage: &Stage) -> Result<()> {
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    let name = scene.standby.name_any();
    let claim = scene.product.claim(&scene.standby).await?;
    let copy = faults::copy_volume(&stage.cluster, &scene.standby, &claim).await?;
    scene.load.more(WRITES_BETWEEN).await?;
    scene.strike();
    copy.put_back().await?;
    scene.writes_go("the standby's volume is put back").await?;
    scene.product.healthy(&name).await?;
    scene.product.ready(CLUSTER_READY_TIMEOUT).await?;
    scene.look_again().await?;

    faults::kill_container(&stage.cluster, &scene.primary, NODE_CONTAINER)?;
    scene.writes_go("then the primary is killed").await?;
    scene.close().await.map(drop)
}
