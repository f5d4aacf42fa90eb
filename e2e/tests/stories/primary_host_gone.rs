//! The whole host of the primary vanishes: no last words, no closed connection. The standby takes
//! over, and when the host is back its node follows.

use standby_e2e::audit::Audit;
use standby_e2e::error::{Result, ensure};
use standby_e2e::failover::{self, Fault};
use standby_e2e::product::Product;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let product = Product::create(&stage.cluster, &stage.namespace, "db").await?;
    let workload = Audit::start(&product).await?;

    let (figures, _) = failover::measure(&product, &workload, Fault::PrimaryHostGone).await?;
    eprintln!("{}", failover::timeline(&figures));
    ensure(figures.from != figures.to, || {
        format!("{} stayed primary", figures.from)
    })?;

    failover::heal(&product, &figures).await?;
    workload.finish_clean(&stage.namespace).await.map(drop)
}
