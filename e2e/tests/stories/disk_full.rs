//! The primary's volume is full: writes are refused, nothing is failed over, and once there is room
//! again writes go on by themselves.

use standby_e2e::command::until;
use standby_e2e::error::Result;
use standby_e2e::faults;
use standby_e2e::limits::FAILOVER_TIMEOUT;
use standby_e2e::product::sample;
use standby_e2e::scene::Scene;
use standby_e2e::workload::{Load, now_us};

use crate::Stage;

/// A silence of the writers that no busy machine explains.
const SILENCE_US: i64 = 2_000_000;

pub async fn run(stage: &Stage) -> Result<()> {
    let text = sample("db");
    let mut scene = Scene::open_with(&stage.cluster, &stage.namespace, &text).await?;
    let claim = scene.product.claim(&scene.primary).await?;
    scene.strike();
    let full = faults::fill(&stage.cluster, &scene.primary, &claim)?;
    until("writes to be refused", FAILOVER_TIMEOUT, async || {
        match now_us() - scene.load.last_acknowledged_us() {
            silence if silence > SILENCE_US => Ok(()),
            silence => Err(format!("the last write was {silence} us ago")),
        }
    })
    .await?;
    scene.same_primary().await?;
    full.undo();
    scene.writes_go("a full disk").await?;
    scene.same_primary().await?;
    scene.close().await.map(drop)
}
