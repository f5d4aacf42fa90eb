//! The replica comes back with a copy of the standby's volume: two nodes with one identity. Neither the
//! copy nor what it says about itself is trusted with anything it does not have; it ends as a node of its
//! own with everything.

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
    let cluster = &stage.cluster;
    let mut scene = Scene::open(cluster, &stage.namespace).await?;
    let replica = scene.product.replica().await?;
    let name = replica.name_any();
    let from = scene.product.claim(&scene.standby).await?;
    let to = scene.product.claim(&replica).await?;
    let copy = faults::copy_volume(cluster, &scene.standby, &from).await?;
    scene.load.more(WRITES_BETWEEN).await?;
    scene.strike();
    copy.put_into(cluster, &replica, &to).await?;
    scene
        .writes_go("the replica has the standby's volume")
        .await?;
    scene.product.healthy(&name).await?;
    scene.product.ready(CLUSTER_READY_TIMEOUT).await?;
    scene.look_again().await?;

    faults::kill_container(cluster, &scene.primary, NODE_CONTAINER)?;
    scene.writes_go("then the primary is killed").await?;
    scene.close().await.map(drop)
}
