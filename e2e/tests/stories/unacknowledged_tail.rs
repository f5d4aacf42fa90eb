//! The primary has entries that nobody acknowledged: its link to the standby was cut first. Its host
//! dies, the standby takes over, and when the old primary returns its tail is gone from it.

use standby_e2e::command::until;
use standby_e2e::error::{Result, ensure};
use standby_e2e::faults::{self, host_of};
use standby_e2e::limits::{CLUSTER_READY_TIMEOUT, FAILOVER_TIMEOUT};
use standby_e2e::product::{Product, scale_operator};
use standby_e2e::workload::{Plan, Workload, now_us, read_back, read_back_locally};

use crate::Stage;

/// A silence of the writers that no busy machine explains, in microseconds.
const SILENCE_US: i64 = 1_000_000;

pub async fn run(stage: &Stage) -> Result<()> {
    let product = Product::create(&stage.cluster, &stage.namespace, "db").await?;
    let plan = Plan::new(product.target().await?, "w");
    let workload = Workload::start(plan.clone()).await?;
    workload.more(200).await?;

    // Without an operator nobody puts another node in the standby's place.
    scale_operator(&stage.cluster, 0).await?;
    let (old, standby) = (product.primary().await?, product.standby().await?);
    let cut = faults::part_pods(&stage.cluster, &old, &standby).await?;
    until(
        "writes to wait for the standby",
        FAILOVER_TIMEOUT,
        async || match now_us() - workload.last_acknowledged_us() {
            silence if silence > SILENCE_US => Ok(()),
            silence => Err(format!("the last acknowledgement was {silence} us ago")),
        },
    )
    .await?;
    host_of(&stage.cluster, &old)?.power_off().await?;
    cut.undo();
    scale_up_elsewhere(stage).await?;
    workload.more(200).await?;

    faults::heal(&stage.cluster).await?;
    scale_operator(&stage.cluster, 2).await?;
    let name = old.metadata.name.clone().unwrap_or_default();
    product.healthy(&name).await?;
    product.ready(CLUSTER_READY_TIMEOUT).await?;
    let (_, verdict) = workload.finish().await?;
    ensure(verdict.is_clean(), || format!("{:?}", verdict.examples))?;
    ensure(verdict.writes_in_doubt > 0, || {
        "no write was left without an answer".to_owned()
    })?;

    let truth = read_back(&plan.target, &plan.prefix).await?;
    let returned = product.pod(&name).await?;
    let its_own = product.target_of_pod(&returned).await?;
    until(
        "the old primary to hold the same as the new one",
        FAILOVER_TIMEOUT,
        async || {
            let found = read_back_locally(&its_own, &plan.prefix)
                .await
                .map_err(|e| e.to_string())?;
            match found.keys().find(|key| !truth.contains_key(*key)) {
                Some(key) => Err(format!("it still has {key}")),
                None if found == truth => Ok(()),
                None => Err(format!("it has {} of {} keys", found.len(), truth.len())),
            }
        },
    )
    .await
}

/// One operator is enough, and one pod may be bound to the host that is gone.
async fn scale_up_elsewhere(stage: &Stage) -> Result<()> {
    let name = standby_e2e::product::operator_deployment(&stage.cluster).await?;
    let target = format!("deployment/{name}");
    let namespace = standby_e2e::product::OPERATOR_NAMESPACE;
    stage
        .cluster
        .api
        .kubectl(&["-n", namespace, "scale", &target, "--replicas=2"])
        .await
        .map(drop)
}
