//! One failover on purpose, measured by the writers and by the status. The demo, the tests and the
//! benchmark use the same.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde::Serialize;
use standby_api::names::SWITCHOVER_ANY;
use standby_api::{FailoverStatus, FailoverSteps};

use crate::error::{Error, Result};
use crate::faults;
use crate::limits::{CLUSTER_READY_TIMEOUT, FAILOVER_TIMEOUT};
use crate::product::{NODE_CONTAINER, Product, leading_operator};
use crate::workload::{Load, now_us};

/// What is done to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// SIGKILL to the primary's process.
    PrimaryKilled,
    /// The primary's host loses power and link.
    PrimaryHostGone,
    /// The same host, which the leading operator shares ([`arrange`] sees to that).
    LeaderAndPrimaryGone,
    /// SIGKILL to the synchronous standby's process.
    StandbyKilled,
    /// No failure: somebody orders a switchover.
    Switchover,
}

impl Fault {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::PrimaryKilled => "primary-killed",
            Self::PrimaryHostGone => "primary-host-gone",
            Self::LeaderAndPrimaryGone => "leader-and-primary-gone",
            Self::StandbyKilled => "standby-killed",
            Self::Switchover => "switchover",
        }
    }
}

/// What a fault cost.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// What was done.
    pub fault: &'static str,
    /// The longest time without an acknowledgement, as the writers saw it, in milliseconds.
    pub gap_ms: f64,
    /// When each step was done, in milliseconds after the fault.
    pub steps: BTreeMap<&'static str, i64>,
    /// The node that failed.
    pub from: String,
    /// The primary afterwards.
    pub to: String,
}

/// How many writes must be acknowledged before and after a fault, so that there is a gap between.
const WRITES_AROUND: usize = 200;

/// Does it, waits until writes go again, and heals it; the cluster is Ready before and after.
pub async fn measure(
    product: &Product<'_>,
    workload: &impl Load,
    fault: Fault,
) -> Result<(Figures, Option<FailoverStatus>)> {
    product.ready(CLUSTER_READY_TIMEOUT).await?;
    workload.more(WRITES_AROUND).await?;
    let before = product.status().await?;
    let epoch = before.epoch.unwrap_or(0);
    let victim = match fault {
        Fault::StandbyKilled => product.standby().await?,
        _ => product.primary().await?,
    };
    let at_us = now_us();
    strike(product, &victim, fault).await?;
    workload.more(WRITES_AROUND).await?;
    let gap = workload.longest_gap(at_us);
    let gap = gap.ok_or_else(|| Error::Wrong("nothing was written after the fault".to_owned()))?;
    let failover = match fault {
        Fault::StandbyKilled => None,
        _ => Some(product.failover_after(epoch).await?),
    };
    let figures = Figures {
        fault: fault.name(),
        gap_ms: gap.millis(),
        steps: failover
            .as_ref()
            .map(|one| steps_after(one, at_us))
            .unwrap_or_default(),
        from: victim.name_any(),
        to: product.status().await?.primary.unwrap_or_default(),
    };
    Ok((figures, failover))
}

/// Undoes what [`measure`] did and waits until the failed node follows again.
pub async fn heal(product: &Product<'_>, figures: &Figures) -> Result<()> {
    faults::heal(product.cluster).await?;
    product.healthy(&figures.from).await?;
    product.ready(CLUSTER_READY_TIMEOUT).await
}

async fn strike(product: &Product<'_>, victim: &Pod, fault: Fault) -> Result<()> {
    match fault {
        Fault::PrimaryKilled | Fault::StandbyKilled => {
            faults::kill_container(product.cluster, victim, NODE_CONTAINER)
        }
        Fault::PrimaryHostGone | Fault::LeaderAndPrimaryGone => {
            faults::host_of(product.cluster, victim)?.power_off().await
        }
        Fault::Switchover => switch_over(product, SWITCHOVER_ANY).await,
    }
}

async fn switch_over(product: &Product<'_>, to: &str) -> Result<()> {
    let epoch = product.status().await?.epoch.unwrap_or(0);
    product.order_switchover(to, epoch).await
}

/// Moves the primary to where `fault` wants it: to the leading operator's host, or away from it. What
/// is measured must not depend on where it happens to be.
pub async fn arrange(product: &Product<'_>, fault: Fault) -> Result<()> {
    let together = match fault {
        Fault::LeaderAndPrimaryGone => true,
        Fault::PrimaryHostGone => false,
        Fault::PrimaryKilled | Fault::StandbyKilled | Fault::Switchover => return Ok(()),
    };
    product.ready(CLUSTER_READY_TIMEOUT).await?;
    let host = leading_operator(product.cluster).await?;
    let host = faults::host_of(product.cluster, &host)?.name;
    let mut to = None;
    for node in product.status().await?.nodes {
        let pod = product.pod(&node.name).await?;
        let here = faults::host_of(product.cluster, &pod)?.name == host;
        if here == together {
            let is_primary = product.primary().await?.name_any() == node.name;
            to = Some(node.name);
            if is_primary {
                return Ok(());
            }
        }
    }
    let to =
        to.ok_or_else(|| Error::Wrong(format!("no node is where {} wants it", fault.name())))?;
    switch_over(product, &to).await?;
    product
        .until("the switchover", FAILOVER_TIMEOUT, |status| {
            if status.primary.as_ref() == Some(&to) {
                Ok(())
            } else {
                Err(format!("{:?} is primary, not {to}", status.primary))
            }
        })
        .await?;
    product.ready(CLUSTER_READY_TIMEOUT).await
}

/// The status counts from the operator's first notice; here everything counts from the fault.
fn steps_after(failover: &FailoverStatus, at_us: i64) -> BTreeMap<&'static str, i64> {
    let noticed_ms = (failover.time.0.as_microsecond() - at_us) / 1000;
    let FailoverSteps {
        detected_ms,
        view_recorded_ms,
        promoted_ms,
        announced_ms,
        synchronous_again_ms,
    } = failover.steps;
    [
        ("noticedMs", Some(0)),
        ("detectedMs", detected_ms),
        ("viewRecordedMs", view_recorded_ms),
        ("promotedMs", promoted_ms),
        ("announcedMs", announced_ms),
        ("synchronousAgainMs", synchronous_again_ms),
    ]
    .into_iter()
    .filter_map(|(name, after)| Some((name, noticed_ms + after?)))
    .collect()
}

/// A timeline for a person.
pub fn timeline(figures: &Figures) -> String {
    let titles = [
        ("noticedMs", "noticed"),
        ("detectedMs", "detected"),
        ("viewRecordedMs", "view recorded"),
        ("promotedMs", "promoted"),
        ("announcedMs", "announced"),
        ("synchronousAgainMs", "synchronous again"),
    ];
    let mut lines = vec![format!(
        "  {}: {} -> {}",
        figures.fault, figures.from, figures.to
    )];
    for (key, title) in titles {
        if let Some(after) = figures.steps.get(key) {
            lines.push(format!("    {title:<18} {after:>6} ms"));
        }
    }
    lines.push(format!(
        "    {:<18} {:>6.0} ms",
        "writers waited", figures.gap_ms
    ));
    lines.join("\n")
}
