//! Bits flip in the log of the standby, and its host starts again: the damage is found, the node does not
//! lead, and it is filled anew. Then the primary dies, and nothing is lost.

use kube::ResourceExt;
use standby_e2e::error::Result;
use standby_e2e::faults;
use standby_e2e::limits::CLUSTER_READY_TIMEOUT;
use standby_e2e::product::NODE_CONTAINER;
use standby_e2e::scene::Scene;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let cluster = &stage.cluster;
    let mut scene = Scene::open(cluster, &stage.namespace).await?;
    let name = scene.standby.name_any();
    let claim = scene.product.claim(&scene.standby).await?;
    scene.strike();
    faults::flip_bits(cluster, &scene.standby, &claim).await?;
    scene.writes_go("bits flipped in the standby's log").await?;
    scene.product.healthy(&name).await?;
    scene.product.ready(CLUSTER_READY_TIMEOUT).await?;
    scene.look_again().await?;

    faults::kill_container(cluster, &scene.primary, NODE_CONTAINER)?;
    scene.writes_go("then the primary is killed").await?;
    scene.close().await.map(drop)
}
