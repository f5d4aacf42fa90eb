//! The whole host of the primary vanishes: no last words, no closed connection. The standby takes
//! over, and when the host is back its node follows.

use standby_e2e::audit::Audit;
use standby_e2e::error::{Result, ensure};
use standby_e2e::failover::{self, Fault};
use standby_e2e::product::Product;
use standby_e2e::workload::Load;

use crate::Stage;

/// Some seconds of writes.
const WRITES_MEANWHILE: usize = 600;
/// A few real changes may still come.
const STATUS_WRITES_MAX: u64 = 12;

pub async fn run(stage: &Stage) -> Result<()> {
    let product = Product::create(&stage.cluster, &stage.namespace, "db").await?;
    let workload = Audit::start(&product).await?;

    failover::arrange(&product, Fault::PrimaryHostGone).await?;
    let (figures, _) = failover::measure(&product, &workload, Fault::PrimaryHostGone).await?;
    eprintln!("{}", failover::timeline(&figures));
    ensure(figures.from != figures.to, || {
        format!("{} stayed primary", figures.from)
    })?;

    // What is told of the host that is away moves with every look; the status is not written for it.
    let before = stage.cluster.api.status_writes().await?;
    workload.more(WRITES_MEANWHILE).await?;
    let written = stage.cluster.api.status_writes().await? - before;
    ensure(before > 0 && written <= STATUS_WRITES_MAX, || {
        format!("the status was written {written} times while {WRITES_MEANWHILE} writes went")
    })?;

    failover::heal(&product, &figures).await?;
    workload.finish_clean(&stage.namespace).await.map(drop)
}
