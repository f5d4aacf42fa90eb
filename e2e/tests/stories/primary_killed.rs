//! The primary's process is killed under load. The standby takes over, nothing acknowledged is lost,
//! and the old primary returns as a follower.

use standby_api::NodeRole;
use standby_e2e::audit::Audit;
use standby_e2e::error::{Result, ensure};
use standby_e2e::failover::{self, Fault};
use standby_e2e::product::Product;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let product = Product::create(&stage.cluster, &stage.namespace, "db").await?;
    let workload = Audit::start(&product).await?;

    let (figures, _) = failover::measure(&product, &workload, Fault::PrimaryKilled).await?;
    eprintln!("{}", failover::timeline(&figures));
    ensure(figures.from != figures.to, || {
        format!("{} stayed primary", figures.from)
    })?;

    failover::heal(&product, &figures).await?;
    let status = product.status().await?;
    let old = status.nodes.iter().find(|node| node.name == figures.from);
    ensure(
        old.is_some_and(|node| node.role != NodeRole::Primary),
        || format!("the old primary is {old:?}"),
    )?;

    workload.finish_clean(&stage.namespace).await.map(drop)
}
