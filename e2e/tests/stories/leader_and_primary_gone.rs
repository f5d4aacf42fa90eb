//! One host takes the primary and the leading operator with it. The other operator takes the lead and
//! then does the failover.

use standby_e2e::audit::Audit;
use standby_e2e::error::{Result, ensure};
use standby_e2e::failover::{self, Fault};
use standby_e2e::product::{Product, leading_operator};

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let product = Product::create(&stage.cluster, &stage.namespace, "db").await?;
    let workload = Audit::start(&product).await?;
    let fault = Fault::LeaderAndPrimaryGone;
    failover::arrange(&product, fault).await?;

    let leader = leading_operator(&stage.cluster).await?;
    let (figures, _) = failover::measure(&product, &workload, fault).await?;
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
