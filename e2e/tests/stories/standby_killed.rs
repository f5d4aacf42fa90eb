//! The synchronous standby's process is killed under load. Writers wait until a replica has taken its
//! place, and no longer.

use kube::ResourceExt;
use standby_e2e::audit::Audit;
use standby_e2e::error::{Result, ensure};
use standby_e2e::failover::{self, Fault};
use standby_e2e::product::Product;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let product = Product::create(&stage.cluster, &stage.namespace, "db").await?;
    let primary = product.primary().await?.name_any();
    let workload = Audit::start(&product).await?;

    let (figures, _) = failover::measure(&product, &workload, Fault::StandbyKilled).await?;
    eprintln!("{}", failover::timeline(&figures));
    ensure(figures.to == primary, || {
        format!("{} became primary", figures.to)
    })?;

    failover::heal(&product, &figures).await?;
    workload.finish_clean(&stage.namespace).await.map(drop)
}
