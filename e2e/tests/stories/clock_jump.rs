//! The wall clocks of the primary, of the standby and of the leading operator jump by hours, in both
//! directions: nobody notices. With the clocks as they then are, a failover works as ever.

use standby_e2e::error::Result;
use standby_e2e::faults;
use standby_e2e::product::{NODE_CONTAINER, OPERATOR_CONTAINER, leading_operator};
use standby_e2e::scene::Scene;

use crate::Stage;

const HOURS: i32 = 3_600;
const FOR_US: i64 = 8_000_000;
const GAP_MAX_MS: f64 = 1_000.0;

pub async fn run(stage: &Stage) -> Result<()> {
    let cluster = &stage.cluster;
    let mut scene = Scene::open(cluster, &stage.namespace).await?;
    let leader = leading_operator(cluster).await?;
    let jumps = [
        faults::jump_clock(cluster, &scene.primary, NODE_CONTAINER, 5 * HOURS)?,
        faults::jump_clock(cluster, &scene.standby, NODE_CONTAINER, -7 * HOURS)?,
        faults::jump_clock(cluster, &leader, OPERATOR_CONTAINER, 3 * HOURS)?,
    ];
    scene.strike();
    let title = "clocks that jumped";
    scene.writes_go_on(title, FOR_US, GAP_MAX_MS).await?;
    scene.same_primary().await?;

    scene.strike();
    faults::kill_container(cluster, &scene.primary, NODE_CONTAINER)?;
    scene.writes_go("a failover with wrong clocks").await?;
    drop(jumps);
    scene.close().await.map(drop)
}
