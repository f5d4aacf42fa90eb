//! The leading operator is stopped by SIGSTOP; the other one takes the lead and fails over. Then the
//! first goes on with all that it believed: it must do no harm, and the next failover works too.

use kube::ResourceExt;
use standby_e2e::command::until;
use standby_e2e::error::Result;
use standby_e2e::faults;
use standby_e2e::limits::FAILOVER_TIMEOUT;
use standby_e2e::product::{NODE_CONTAINER, OPERATOR_CONTAINER, leading_operator};
use standby_e2e::scene::Scene;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let cluster = &stage.cluster;
    let mut scene = Scene::open(cluster, &stage.namespace).await?;
    let leader = leading_operator(cluster).await?;
    let stopped = faults::stop_container(cluster, &leader, OPERATOR_CONTAINER)?;
    until(
        "another operator to lead",
        FAILOVER_TIMEOUT,
        async || match leading_operator(cluster).await {
            Ok(now) if now.name_any() != leader.name_any() => Ok(()),
            Ok(now) => Err(now.name_any()),
            Err(error) => Err(error.to_string()),
        },
    )
    .await?;
    scene.strike();
    faults::kill_container(cluster, &scene.primary, NODE_CONTAINER)?;
    scene.writes_go("the leading operator is stopped").await?;
    scene.failed_over().await?;
    stopped.undo();
    scene.look_again().await?;

    faults::kill_container(cluster, &scene.primary, NODE_CONTAINER)?;
    scene.writes_go("a stale leader is back").await?;
    scene.failed_over().await?;
    scene.close().await.map(drop)
}
