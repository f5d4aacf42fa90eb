//! The address of a dead primary is given to a node of another cluster. Who still knows the old address
//! meets a stranger there: by the names in the certificates nobody takes it for what was there.

use kube::ResourceExt;
use standby_e2e::error::{Error, Result, ensure};
use standby_e2e::faults::{self, host_of, pod_address};
use standby_e2e::limits::CLUSTER_READY_TIMEOUT;
use standby_e2e::product::{Product, sample};
use standby_e2e::scene::Scene;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let cluster = &stage.cluster;
    let mut scene = Scene::open(cluster, &stage.namespace).await?;
    let other = Product::apply(cluster, &stage.namespace, &sample("other")).await?;
    let host = host_of(cluster, &scene.primary)?;
    let address = pod_address(&scene.primary)?.to_owned();
    let neighbour = neighbour(&other, &host.node()).await?;

    scene.strike();
    delete(stage, &scene.primary.name_any()).await?;
    scene.writes_go("the primary's pod is gone").await?;
    scene.product.healthy(&scene.primary_name()).await?;
    scene.look_again().await?;

    // The next address that this host gives is the old one.
    faults::next_address(host, &address)?;
    scene.strike();
    delete(stage, &neighbour).await?;
    other.healthy(&neighbour).await?;
    let reborn = other.pod(&neighbour).await?;
    ensure(pod_address(&reborn)? == address, || {
        format!(
            "{neighbour} did not get {address}: {:?}",
            pod_address(&reborn)
        )
    })?;
    scene.writes_go("a stranger at the old address").await?;
    scene.same_primary().await?;
    other.ready(CLUSTER_READY_TIMEOUT).await?;
    scene.close().await.map(drop)
}

async fn neighbour(other: &Product<'_>, node: &str) -> Result<String> {
    let status = other.status().await?;
    let row = status
        .nodes
        .iter()
        .find(|row| row.host.as_deref() == Some(node));
    row.map(|row| row.name.clone())
        .ok_or_else(|| Error::Wrong(format!("{} has no node on {node}", other.name)))
}

async fn delete(stage: &Stage, pod: &str) -> Result<()> {
    let words = ["delete", "pod", pod, "-n", &stage.namespace];
    let at_once = ["--grace-period=0", "--force"];
    let words = [&words[..], &at_once].concat();
    stage.cluster.api.kubectl(&words).await.map(drop)
}
