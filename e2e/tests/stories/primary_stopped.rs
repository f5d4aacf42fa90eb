//! The primary is stopped by SIGSTOP, past every lease, and goes on when another one leads. Requests
//! that waited in its sockets meanwhile get no stale read and no acknowledgement: the load asks each node
//! all the time, and does not give up on a stopped one.

use standby_e2e::error::Result;
use standby_e2e::faults;
use standby_e2e::product::NODE_CONTAINER;
use standby_e2e::scene::Scene;
use standby_e2e::workload::Load;

use crate::Stage;

/// Writes in the new epoch before the old primary goes on.
const WRITES_MEANWHILE: usize = 300;

pub async fn run(stage: &Stage) -> Result<()> {
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    scene.strike();
    let stopped = faults::stop_container(&stage.cluster, &scene.primary, NODE_CONTAINER)?;
    scene.writes_go("a stopped primary").await?;
    scene.failed_over().await?;
    scene.load.more(WRITES_MEANWHILE).await?;
    stopped.undo();
    scene.load.more(WRITES_MEANWHILE).await?;
    scene.close().await.map(drop)
}
