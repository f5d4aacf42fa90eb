//! The power of the whole room fails, control plane and all, and comes back: the cluster goes on by
//! itself, with everything that was acknowledged.

use standby_e2e::cluster::control_plane::ALL;
use standby_e2e::cluster::layout::HOSTS;
use standby_e2e::error::Result;
use standby_e2e::faults;
use standby_e2e::scene::Scene;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    scene.strike();
    for name in HOSTS {
        stage.cluster.host(name).power_off().await?;
    }
    for program in ALL.into_iter().rev() {
        program.kill(stage.cluster.layout).await?;
    }
    faults::heal(&stage.cluster).await?;
    scene.writes_go("the power of the room").await?;
    scene.close().await.map(drop)
}
