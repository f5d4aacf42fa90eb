//! The synchronous standby's process is killed under load. Writers wait until a replica has taken its
//! place, and no longer.

use kube::ResourceExt;
use standby_e2e::error::{Result, ensure};
use standby_e2e::failover::{self, Fault};
use standby_e2e::product::Product;
use standby_e2e::workload::{Plan, Workload};

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let product = Product::create(&stage.cluster, &stage.namespace, "db").await?;
    let primary = product.primary().await?.name_any();
    let workload = Workload::start(Plan::new(product.target().await?, "w")).await?;

    let (figures, _) = failover::measure(&product, &workload, Fault::StandbyKilled).await?;
    eprintln!("{}", failover::timeline(&figures));
    ensure(figures.to == primary, || {
        format!("{} became primary", figures.to)
    })?;

    failover::heal(&product, &figures).await?;
    let (_, verdict) = workload.finish().await?;
    ensure(verdict.is_clean(), || format!("{:?}", verdict.examples))
}
