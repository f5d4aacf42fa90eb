//! One failover on purpose, measured by the writers and by the status. The demo, the tests and the
//! benchmark use the same.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde::Serialize;
use standby_api::{FailoverStatus, FailoverSteps};

use crate::error::{Error, Result};
use crate::faults;
use crate::limits::CLUSTER_READY_TIMEOUT;
use crate::product::{NODE_CONTAINER, Product};
use crate::workload::{Load, now_us};

/// What is done to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// SIGKILL to the primary's process.
    PrimaryKilled,
    /// The primary's host loses power and link.
    PrimaryHostGone,
    /// SIGKILL to the synchronous standby's process.
    StandbyKilled,
}

impl Fault {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::PrimaryKilled => "primary-killed",
            Self::PrimaryHostGone => "primary-host-gone",
            Self::StandbyKilled => "standby-killed",
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
        Fault::PrimaryKilled | Fault::PrimaryHostGone => product.primary().await?,
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
        Fault::PrimaryHostGone => faults::host_of(product.cluster, victim)?.power_off().await,
    }
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
