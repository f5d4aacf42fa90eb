//! Both volumes that had everything are gone, and the third node lags. Nothing happens until somebody
//! consents, naming how much may be lost; then writes go on with the next second copy, and the loss
//! stands in the status for ever.

use kube::ResourceExt;
use serde_json::json;
use standby_api::names::ANNOTATION_ACCEPT_DATA_LOSS;
use standby_e2e::error::{Result, ensure};
use standby_e2e::faults::{self, host_of};
use standby_e2e::limits::{CLUSTER_READY_TIMEOUT, FAILOVER_TIMEOUT};
use standby_e2e::product::{Product, one_operator_on};
use standby_e2e::workload::{Load, Plan, Workload};

use crate::Stage;

const WRITES: usize = 300;

pub async fn run(stage: &Stage) -> Result<()> {
    let cluster = &stage.cluster;
    let product = Product::create(cluster, &stage.namespace, "db").await?;
    let replica = product.replica().await?;
    one_operator_on(cluster, host_of(cluster, &replica)?.name).await?;
    product.ready(CLUSTER_READY_TIMEOUT).await?;
    let load = Workload::start(Plan::new(product.target().await?, "w")).await?;
    load.more(WRITES).await?;
    let (primary, standby) = (product.primary().await?, product.standby().await?);
    let cut = faults::part_pods_both(cluster, &primary, &replica).await?;
    load.more(WRITES).await?;
    host_of(cluster, &primary)?.power_off().await?;
    host_of(cluster, &standby)?.power_off().await?;
    drop(cut);

    let name = replica.name_any();
    end_for_certain(&product, &primary.name_any()).await?;
    let offered = product
        .until("the last resort to be offered", FAILOVER_TIMEOUT, |now| {
            let option = now
                .options
                .iter()
                .find(|one| one.action == "acceptDataLoss" && one.node.as_ref() == Some(&name));
            option
                .cloned()
                .ok_or_else(|| format!("{:?}: {:?}", now.phase, now.options))
        })
        .await?;
    let too_little = consent(&product, &name, offered.epoch, Some(1));
    product
        .order(ANNOTATION_ACCEPT_DATA_LOSS, &too_little)
        .await?;
    product
        .until("too little to be refused", FAILOVER_TIMEOUT, |now| {
            let refused = now
                .orders
                .iter()
                .find(|one| one.order == "accept-data-loss");
            match refused {
                Some(one) if format!("{:?}", one.outcome) == "Refused" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await?;
    let enough = consent(&product, &name, offered.epoch, offered.loses_up_to);
    product.order(ANNOTATION_ACCEPT_DATA_LOSS, &enough).await?;
    product
        .until("the promotion", FAILOVER_TIMEOUT, |now| {
            let promoted = now.primary.as_ref() == Some(&name);
            promoted
                .then_some(())
                .ok_or_else(|| format!("{:?}", now.why))
        })
        .await?;

    // Strict as it is, it waits for a second copy.
    faults::heal(cluster).await?;
    load.more(WRITES).await?;
    product.ready(CLUSTER_READY_TIMEOUT).await?;
    let losses = product.status().await?.data_loss;
    ensure(losses.iter().any(|loss| loss.node == name), || {
        format!("the status does not tell of the loss: {losses:?}")
    })?;
    let (_, verdict) = load.finish().await?;
    eprintln!(
        "       {} acknowledged writes were given up",
        verdict.lost_writes
    );
    ensure(verdict.lost_writes > 0, || {
        "nothing was lost: the story proves nothing".to_owned()
    })
}

/// Nobody can say whether a primary lives that nobody hears, until somebody ends it as is offered; by
/// force, because its host is gone.
async fn end_for_certain(product: &Product<'_>, last: &str) -> Result<()> {
    product
        .until("its end to be offered", FAILOVER_TIMEOUT, |now| {
            let mut options = now.options.iter();
            options
                .any(|one| one.action == "restart" && one.node.as_deref() == Some(last))
                .then_some(())
                .ok_or_else(|| format!("{:?}: {:?}", now.phase, now.options))
        })
        .await?;
    let by_force = ["--grace-period=0", "--force"];
    let words = ["delete", "pod", last, "-n", &product.namespace];
    let words = [&words[..], &by_force[..]].concat();
    product.cluster.api.kubectl(&words).await.map(drop)
}

fn consent(product: &Product<'_>, node: &str, epoch: Option<i64>, up_to: Option<i64>) -> String {
    let cluster = format!("{}/{}", product.namespace, product.name);
    json!({
        "cluster": cluster, "epoch": epoch, "node": node, "losesUpTo": up_to,
        "by": "a test", "why": "both hosts that had everything are gone",
    })
    .to_string()
}
