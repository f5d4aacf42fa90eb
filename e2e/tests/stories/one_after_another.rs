//! Whoever leads is killed, again and again, as soon as the cluster is Ready: every node leads once, and
//! nothing of any of them is lost.

use std::collections::BTreeSet;

use standby_e2e::error::{Result, ensure};
use standby_e2e::faults;
use standby_e2e::product::NODE_CONTAINER;
use standby_e2e::scene::Scene;

use crate::Stage;

/// How often at most; three nodes take turns much sooner.
const KILLS: usize = 8;

pub async fn run(stage: &Stage) -> Result<()> {
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    let mut led = BTreeSet::from([scene.primary_name()]);
    for _ in 0..KILLS {
        faults::kill_container(&stage.cluster, &scene.primary, NODE_CONTAINER)?;
        scene.writes_go("one after another").await?;
        scene.failed_over().await?;
        for node in &scene.before.nodes {
            scene.product.healthy(&node.name).await?;
        }
        scene.look_again().await?;
        led.insert(scene.primary_name());
        if led.len() == scene.before.nodes.len() {
            break;
        }
    }
    ensure(led.len() == scene.before.nodes.len(), || {
        format!("only {led:?} ever led")
    })?;
    scene.close().await.map(drop)
}
