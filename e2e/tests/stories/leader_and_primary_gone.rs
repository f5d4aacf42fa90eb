//! One host takes the primary and the leading operator with it. The other operator takes the lead and
//! then does the failover.

use standby_e2e::audit::Audit;
use standby_e2e::error::{Error, Result, ensure};
use standby_e2e::failover::{self, Fault};
use standby_e2e::faults::host_of;
use standby_e2e::product::{Product, leading_operator};

use crate::Stage;

/// The primary moves to another host with each failover, so it is on the leader's after a few.
const MOVES: usize = 6;

pub async fn run(stage: &Stage) -> Result<()> {
    let product = Product::create(&stage.cluster, &stage.namespace, "db").await?;
    let workload = Audit::start(&product).await?;
    bring_together(stage, &product, &workload).await?;

    let leader = leading_operator(&stage.cluster).await?;
    let (figures, _) = failover::measure(&product, &workload, Fault::PrimaryHostGone).await?;
    eprintln!("{}", failover::timeline(&figures));
    let now = leading_operator(&stage.cluster).await?;
    ensure(now.metadata.name != leader.metadata.name, || {
        format!(
            "{:?} still leads on a host without power",
            leader.metadata.name
        )
    })?;

    failover::heal(&product, &figures).await?;
    workload.finish_clean(&stage.namespace).await.map(drop)
}

async fn bring_together(stage: &Stage, product: &Product<'_>, workload: &Audit) -> Result<()> {
    for _ in 0..MOVES {
        let leader = leading_operator(&stage.cluster).await?;
        let primary = product.primary().await?;
        if host_of(&stage.cluster, &leader)?.name == host_of(&stage.cluster, &primary)?.name {
            return Ok(());
        }
        let (figures, _) = failover::measure(product, workload, Fault::PrimaryKilled).await?;
        failover::heal(product, &figures).await?;
    }
    Err(Error::Wrong(format!(
        "after {MOVES} failovers the primary is not on the leader's host"
    )))
}
