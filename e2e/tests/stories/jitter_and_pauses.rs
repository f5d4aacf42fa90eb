//! What lives is not failed over: up to 300 ms of jitter at the primary's host, pauses of half a second
//! of its process, and a processor of which it gets a fifth.

use std::time::Duration;

use standby_e2e::error::Result;
use standby_e2e::faults::{self, Delay, host_of};
use standby_e2e::product::NODE_CONTAINER;
use standby_e2e::scene::Scene;
use standby_e2e::workload::Load;

use crate::Stage;

const FOR_US: i64 = 10_000_000;
const PAUSE: Duration = Duration::from_millis(500);
const PAUSES: usize = 5;
const FIFTH: u64 = 200;
/// One pause, or a few moments without the processor.
const GAP_MAX_MS: f64 = 3_000.0;
/// A put takes four delays, 600 ms in the mean, and the writers give up after 500 ms: most fail.
const JITTER_GAP_MAX_MS: f64 = 15_000.0;

pub async fn run(stage: &Stage) -> Result<()> {
    let cluster = &stage.cluster;
    let mut scene = Scene::open(cluster, &stage.namespace).await?;
    let host = host_of(cluster, &scene.primary)?;
    let delay = Delay {
        least: Duration::ZERO,
        most: Duration::from_millis(300),
    };
    let jitter = faults::delay_packets(cluster, host.name, delay).await?;
    scene
        .writes_go_on("jitter", FOR_US, JITTER_GAP_MAX_MS)
        .await?;
    scene.same_primary().await?;
    jitter.undo();

    scene.look_again().await?;
    for _ in 0..PAUSES {
        let stopped = faults::stop_container(cluster, &scene.primary, NODE_CONTAINER)?;
        tokio::time::sleep(PAUSE).await;
        stopped.undo();
        scene.load.more(50).await?;
    }
    scene.writes_go("pauses of half a second").await?;
    scene.same_primary().await?;

    scene.look_again().await?;
    let starved = faults::starve(cluster, &scene.primary, NODE_CONTAINER, FIFTH)?;
    scene
        .writes_go_on("a fifth of a processor", FOR_US, GAP_MAX_MS)
        .await?;
    scene.same_primary().await?;
    starved.undo();
    scene.close().await.map(drop)
}
