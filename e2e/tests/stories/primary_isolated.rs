//! The primary is cut off from the other nodes and from every operator, and clients still reach it. The
//! standby takes over; the old primary answers no linearizable read and acknowledges nothing from then
//! on, though clients keep asking it.

use standby_e2e::error::Result;
use standby_e2e::faults;
use standby_e2e::product::operator_pods;
use standby_e2e::scene::Scene;
use standby_e2e::workload::Load;

use crate::Stage;

/// Writes in the new epoch while the old primary still believes what it likes.
const WRITES_MEANWHILE: usize = 1_000;

pub async fn run(stage: &Stage) -> Result<()> {
    let cluster = &stage.cluster;
    let mut scene = Scene::open(cluster, &stage.namespace).await?;
    let mut others = operator_pods(cluster).await?;
    others.push(scene.standby.clone());
    others.push(scene.product.replica().await?);
    scene.strike();
    let mut cuts = Vec::new();
    for other in &others {
        cuts.extend(faults::part_pods_both(cluster, &scene.primary, other).await?);
    }
    scene.load.more(1).await?;
    scene.failed_over().await?;
    scene.writes_go("an isolated primary").await?;
    scene.load.more(WRITES_MEANWHILE).await?;
    drop(cuts);
    scene.close().await.map(drop)
}
