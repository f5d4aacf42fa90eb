//! The primary's host is drained: the primary's role is handed over first, the budget lets one pod go,
//! and after `uncordon` the node comes back.

use kube::ResourceExt;
use standby_e2e::error::{Result, ensure};
use standby_e2e::faults::host_of;
use standby_e2e::scene::Scene;

use crate::Stage;

const GAP_MAX_MS: f64 = 5_000.0;

pub async fn run(stage: &Stage) -> Result<()> {
    let api = &stage.cluster.api;
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    let name = scene.primary.name_any();
    let node = host_of(&stage.cluster, &scene.primary)?.node();
    scene.strike();
    let drain = ["drain", &node, "--ignore-daemonsets", "--timeout=120s"];
    // Only this cluster's pods: cluster DNS and the operators are not what is drained here.
    let ours = ["--pod-selector=standby.dev/cluster=db"];
    let drained = api.kubectl(&[&drain[..], &ours].concat()).await;
    let gap_ms = scene.writes_go("a host drained").await;
    api.kubectl(&["uncordon", &node]).await?;
    drained?;
    let gap_ms = gap_ms?;
    ensure(gap_ms < GAP_MAX_MS, || {
        format!("writers waited {gap_ms:.0} ms")
    })?;
    let now = scene.product.status().await?.primary;
    ensure(now.as_deref() != Some(name.as_str()), || {
        format!("{now:?} is primary on a drained host")
    })?;
    scene.product.healthy(&name).await?;
    scene.close().await.map(drop)
}
