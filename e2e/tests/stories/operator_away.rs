//! No operator runs at all: writes go on. When it comes back it finds the cluster as it left it.

use standby_e2e::audit::Audit;
use standby_e2e::error::{Result, ensure};
use standby_e2e::limits::CLUSTER_READY_TIMEOUT;
use standby_e2e::product::{Product, scale_operator};
use standby_e2e::workload::{Load, now_us};

use crate::Stage;

/// Longer than any lease or heartbeat of the operator.
const AWAY_US: i64 = 20_000_000;
/// Writers must not notice that nobody is there.
const GAP_MAX_MS: f64 = 1_000.0;

pub async fn run(stage: &Stage) -> Result<()> {
    let product = Product::create(&stage.cluster, &stage.namespace, "db").await?;
    let epoch = product.status().await?.epoch;
    let workload = Audit::start(&product).await?;
    workload.more(200).await?;

    let at_us = now_us();
    scale_operator(&stage.cluster, 0).await?;
    while now_us() - at_us < AWAY_US {
        workload.more(100).await?;
    }
    scale_operator(&stage.cluster, 2).await?;
    product.ready(CLUSTER_READY_TIMEOUT).await?;
    workload.more(200).await?;

    let gap = workload.longest_gap(at_us).map_or(0.0, |gap| gap.millis());
    ensure(gap < GAP_MAX_MS, || {
        format!("writers waited {gap} ms while no operator ran")
    })?;
    let now = product.status().await?.epoch;
    ensure(now == epoch, || {
        format!("the operator came back and made epoch {now:?} of {epoch:?}")
    })?;
    workload.finish_clean(&stage.namespace).await.map(drop)
}
