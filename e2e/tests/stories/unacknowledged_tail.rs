//! The primary has entries that nobody acknowledged: its link to the standby was cut first. Its host
//! dies, the standby takes over, and when the old primary returns its tail is gone from it.

use standby_e2e::audit::Audit;
use standby_e2e::command::until;
use standby_e2e::error::{Result, ensure};
use standby_e2e::faults::{self, host_of};
use standby_e2e::limits::{CLUSTER_READY_TIMEOUT, FAILOVER_TIMEOUT};
use standby_e2e::product::{Product, scale_operator};
use standby_e2e::workload::{Load, now_us};

use crate::Stage;

/// A silence of the writers that no busy machine explains, in microseconds.
const SILENCE_US: i64 = 1_000_000;

pub async fn run(stage: &Stage) -> Result<()> {
    let product = Product::create(&stage.cluster, &stage.namespace, "db").await?;
    let workload = Audit::start(&product).await?;
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
    // The judge asks every node for all it has, the old primary too.
    let verdict = workload.finish_clean(&stage.namespace).await?;
    ensure(verdict.in_doubt > 0, || {
        "no write was left without an answer".to_owned()
    })
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
