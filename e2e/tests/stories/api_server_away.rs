//! The API server is down for 30 seconds: writes go on, and nothing is failed over because of it.

use standby_e2e::audit::Audit;
use standby_e2e::cluster::control_plane::Program;
use standby_e2e::error::{Result, ensure};
use standby_e2e::limits::CLUSTER_READY_TIMEOUT;
use standby_e2e::product::Product;
use standby_e2e::workload::{Load, now_us};

use crate::Stage;

const AWAY_US: i64 = 30_000_000;
/// Writers must not notice.
const GAP_MAX_MS: f64 = 1_000.0;

pub async fn run(stage: &Stage) -> Result<()> {
    let product = Product::create(&stage.cluster, &stage.namespace, "db").await?;
    let before = product.status().await?;
    let workload = Audit::start(&product).await?;
    workload.more(200).await?;

    let at_us = now_us();
    Program::ApiServer.kill(stage.cluster.layout).await?;
    while now_us() - at_us < AWAY_US {
        workload.more(100).await?;
    }
    stage.cluster.start_program(Program::ApiServer).await?;
    product.ready(CLUSTER_READY_TIMEOUT).await?;
    workload.more(200).await?;

    let gap = workload.longest_gap(at_us).map_or(0.0, |gap| gap.millis());
    ensure(gap < GAP_MAX_MS, || {
        format!("writers waited {gap} ms while no API server ran")
    })?;
    let after = product.status().await?;
    ensure(
        (after.epoch, &after.primary) == (before.epoch, &before.primary),
        || {
            format!(
                "from {:?} in {:?} to {:?} in {:?}",
                before.primary, before.epoch, after.primary, after.epoch
            )
        },
    )?;
    workload.finish_clean(&stage.namespace).await.map(drop)
}
