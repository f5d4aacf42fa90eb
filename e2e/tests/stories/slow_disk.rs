//! The disk of the standby, then of the primary, becomes so slow that every write takes long. A slow
//! node lives: nobody is failed over, and writes go on.

use standby_e2e::error::Result;
use standby_e2e::faults;
use standby_e2e::product::NODE_CONTAINER;
use standby_e2e::scene::Scene;

use crate::Stage;

/// A disk that was already slow twenty years ago.
const BYTES_PER_SECOND: u64 = 300_000;
const FOR_US: i64 = 10_000_000;
/// Less than a write path that counts as stuck.
const GAP_MAX_MS: f64 = 3_000.0;

pub async fn run(stage: &Stage) -> Result<()> {
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    for who in ["standby", "primary"] {
        let pod = if who == "primary" {
            &scene.primary
        } else {
            &scene.standby
        };
        let claim = scene.product.claim(pod).await?;
        let slow = faults::throttle(
            &stage.cluster,
            (pod, NODE_CONTAINER),
            &claim,
            BYTES_PER_SECOND,
        )?;
        let title = format!("slow disk of the {who}");
        scene.writes_go_on(&title, FOR_US, GAP_MAX_MS).await?;
        scene.same_primary().await?;
        slow.undo();
        scene.look_again().await?;
    }
    scene.close().await.map(drop)
}
