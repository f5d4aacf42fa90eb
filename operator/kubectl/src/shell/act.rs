//! Carries out a change: reads the cluster, writes the patch for just that version, and waits for the
//! operator's answer.

use std::time::Duration;

use kube::ResourceExt;
use serde_json::{Value, json};
use standby_api::{OrderOutcome, OrderStatus, StandbyCluster};
use tokio::time::{Instant, sleep};

use super::{Shell, full_name};
use crate::document::{ChangeDocument, Head, OutcomeDocument};
use crate::error::{Error, Result};
use crate::limits::{self, ms};
use crate::orders::{self, Change, Order, Progress};

/// A change that was written, or would be.
#[derive(Debug)]
pub struct Written {
    /// What is said about it.
    pub document: ChangeDocument,
    change: Change,
    /// The answers that stood there before.
    before: Vec<OrderStatus>,
    namespace: String,
    name: String,
}

/// Writes what an order changes. `first` hears of it before anything is written.
pub async fn write(
    shell: &Shell,
    cluster: Option<&str>,
    order: Order,
    dry_run: bool,
    first: impl Fn(&Change),
) -> Result<Written> {
    let mut order = order;
    let mut told = false;
    let mut name = String::new();
    for _ in 0..limits::WRITE_ATTEMPTS {
        let is = shell.find(cluster).await?;
        if let Order::Restart { pods, .. } = &mut order {
            *pods = shell.pods(&is).await?;
        }
        let change = orders::change(&is, &order)?;
        if !told {
            first(&change);
            told = true;
        }
        let version = is.resource_version();
        let patch = change.patch(version.as_deref());
        let Some(patch) = patch else {
            return Ok(written(&is, change, None, dry_run));
        };
        if dry_run || shell.patch(&is, &patch).await?.is_some() {
            return Ok(written(&is, change, Some(patch), dry_run));
        }
        name = full_name(&is);
    }
    Err(Error::Contended(name, limits::WRITE_ATTEMPTS))
}

fn written(
    cluster: &StandbyCluster,
    change: Change,
    patch: Option<Value>,
    dry_run: bool,
) -> Written {
    let status = cluster.status.as_ref();
    Written {
        document: ChangeDocument {
            head: Head::of("Change", cluster),
            verb: change.verb,
            dry_run,
            changed: patch.is_some(),
            patch,
            message: change.message.clone(),
            notes: change.notes.clone(),
            outcome: None,
        },
        before: status.map_or_else(Vec::new, |status| status.orders.clone()),
        namespace: cluster.namespace().unwrap_or_default(),
        name: cluster.name_any(),
        change,
    }
}

/// Waits until the operator has done it or refused it. An order that was refused is taken back, so
/// that it is not carried out at some later time when nobody expects it.
pub async fn wait(shell: &Shell, written: &Written, limit: Duration) -> Result<OutcomeDocument> {
    let begin = Instant::now();
    let (namespace, name) = (&written.namespace, &written.name);
    loop {
        let Some(cluster) = shell.get(namespace, name).await? else {
            return Err(Error::Deleted(format!("{namespace}/{name}")));
        };
        // The same order may have been answered before; the operator need not say it anew.
        let answered_anew =
            written.change.goal.is_answered_once() && begin.elapsed() >= ms(limits::OLD_ANSWER_MS);
        let before = if answered_anew {
            &[][..]
        } else {
            &written.before
        };
        let last = match orders::progress(&written.change.goal, before, &cluster) {
            Progress::Ended(mut ended) => {
                if ended.outcome == OrderOutcome::Refused
                    && take_back(shell, &written.change, &cluster).await?
                {
                    ended.reason += " (the order has been taken back)";
                }
                return Ok(ended);
            }
            Progress::Pending(last) => last,
        };
        if begin.elapsed() >= limit {
            return Err(Error::Unanswered {
                what: format!("{namespace}/{name}: {}", written.change.verb),
                seconds: limit.as_secs(),
                last,
            });
        }
        sleep(ms(limits::WAIT_LOOK_MS)).await;
    }
}

/// Removes the order's annotation if it is still this order.
async fn take_back(shell: &Shell, change: &Change, cluster: &StandbyCluster) -> Result<bool> {
    if !change.goal.is_answered_once() {
        return Ok(false);
    }
    let stands = change
        .annotations
        .iter()
        .all(|(name, value)| cluster.annotations().get(*name) == value.as_ref());
    if !stands {
        return Ok(false);
    }
    let nothing: std::collections::BTreeMap<_, Option<String>> = change
        .annotations
        .keys()
        .map(|name| (*name, None))
        .collect();
    let patch = json!({"metadata": {
        "annotations": nothing,
        "resourceVersion": cluster.resource_version(),
    }});
    // If somebody was faster, the order is theirs to judge now.
    Ok(shell.patch(cluster, &patch).await?.is_some())
}
