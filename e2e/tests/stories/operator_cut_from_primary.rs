//! No operator hears the primary, but the standby does: nothing is failed over and writers notice
//! nothing.

use standby_e2e::error::Result;
use standby_e2e::faults;
use standby_e2e::product::operator_pods;
use standby_e2e::scene::Scene;

use crate::Stage;

/// Much longer than any silence that counts.
const FOR_US: i64 = 15_000_000;
const GAP_MAX_MS: f64 = 1_000.0;

pub async fn run(stage: &Stage) -> Result<()> {
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    let mut cuts = Vec::new();
    for operator in operator_pods(&stage.cluster).await? {
        cuts.extend(faults::part_pods_both(&stage.cluster, &operator, &scene.primary).await?);
    }
    scene.strike();
    let title = "operators cut from the primary";
    scene.writes_go_on(title, FOR_US, GAP_MAX_MS).await?;
    scene.same_primary().await?;
    drop(cuts);
    scene.close().await.map(drop)
}
