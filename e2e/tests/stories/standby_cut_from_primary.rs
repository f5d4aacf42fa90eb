//! Only the link between primary and standby is dead, first both ways, then one: a replica takes the
//! standby's place. The primary stays, for the operator hears it.

use standby_e2e::error::Result;
use standby_e2e::faults;
use standby_e2e::scene::Scene;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let cluster = &stage.cluster;
    let mut scene = Scene::open(cluster, &stage.namespace).await?;

    let both = faults::part_pods_both(cluster, &scene.primary, &scene.standby).await?;
    scene.writes_go("standby cut from the primary").await?;
    scene.same_primary().await?;
    drop(both);
    scene.look_again().await?;

    let acknowledgements = faults::part_pods(cluster, &scene.standby, &scene.primary).await?;
    scene
        .writes_go("the standby's acknowledgements lost")
        .await?;
    scene.same_primary().await?;
    acknowledgements.undo();
    scene.look_again().await?;

    let entries = faults::part_pods(cluster, &scene.primary, &scene.standby).await?;
    scene.writes_go("the primary's entries lost").await?;
    scene.same_primary().await?;
    entries.undo();
    scene.close().await.map(drop)
}
