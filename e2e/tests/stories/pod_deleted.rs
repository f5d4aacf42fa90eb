//! `kubectl delete pod` of the primary is a planned switchover; then all pods are deleted at once.

use kube::ResourceExt;
use standby_e2e::error::Result;
use standby_e2e::scene::Scene;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let api = &stage.cluster.api;
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    let name = scene.primary.name_any();
    scene.strike();
    let delete = [
        "delete",
        "pod",
        &name,
        "-n",
        &stage.namespace,
        "--wait=false",
    ];
    api.kubectl(&delete).await?;
    scene.writes_go("the primary's pod deleted").await?;
    scene.product.healthy(&name).await?;
    scene.look_again().await?;

    let of = "standby.dev/cluster=db";
    let delete = [
        "delete",
        "pods",
        "-l",
        of,
        "-n",
        &stage.namespace,
        "--wait=false",
    ];
    api.kubectl(&delete).await?;
    scene.writes_go("all pods deleted").await?;
    scene.close().await.map(drop)
}
