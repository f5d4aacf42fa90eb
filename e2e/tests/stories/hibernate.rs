//! A cluster is hibernated: no pod is left, every volume is. Woken up, it has everything.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use serde_json::json;
use standby_e2e::command::until;
use standby_e2e::error::Result;
use standby_e2e::limits::CLUSTER_READY_TIMEOUT;
use standby_e2e::scene::Scene;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    scene.strike();
    scene.product.change(&json!({"hibernated": true})).await?;
    let pods: Api<Pod> = stage.cluster.api.objects(&stage.namespace);
    let of = ListParams::default().labels("standby.dev/cluster=db");
    until("no pod to be left", CLUSTER_READY_TIMEOUT, async || {
        let left = pods.list(&of).await.map_err(|error| error.to_string())?;
        match left.items.len() {
            0 => Ok(()),
            count => Err(format!("{count} pods")),
        }
    })
    .await?;
    scene.product.change(&json!({"hibernated": false})).await?;
    scene.writes_go("hibernated and woken up").await?;
    scene.close().await.map(drop)
}
