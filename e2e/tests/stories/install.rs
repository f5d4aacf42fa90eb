//! A newcomer applies ten lines and gets a Ready cluster: three nodes on three hosts in three zones,
//! in a namespace that admits restricted pods only.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use standby_e2e::error::{Result, ensure};
use standby_e2e::product::Product;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let api = &stage.cluster.api;
    let restricted = "pod-security.kubernetes.io/enforce=restricted";
    api.kubectl(&["label", "namespace", &stage.namespace, restricted])
        .await?;
    let product = Product::create(&stage.cluster, &stage.namespace, "db").await?;

    let resource = "standbycluster/db";
    let wait = [
        "wait",
        "--for=condition=Ready",
        resource,
        "-n",
        &stage.namespace,
    ];
    api.kubectl(&[&wait[..], &["--timeout=10s"]].concat())
        .await?;

    let status = product.status().await?;
    ensure(status.nodes.len() == 3, || {
        format!("{} nodes, not 3", status.nodes.len())
    })?;
    let hosts: BTreeSet<_> = status
        .nodes
        .iter()
        .filter_map(|node| node.host.clone())
        .collect();
    ensure(hosts.len() == 3, || format!("three nodes are on {hosts:?}"))?;
    let zones: BTreeSet<_> = status
        .nodes
        .iter()
        .filter_map(|node| node.zone.clone())
        .collect();
    ensure(zones.len() == 3, || {
        format!("three nodes are in the zones {zones:?}")
    })?;
    ensure(status.synchronous.len() == 1, || {
        format!("synchronous: {:?}", status.synchronous)
    })?;

    for kind in ["rw", "ro", "r"] {
        api.objects::<Service>(&stage.namespace)
            .get(&format!("db-{kind}"))
            .await?;
    }
    api.objects::<PodDisruptionBudget>(&stage.namespace)
        .get("db")
        .await?;
    let table = api.kubectl(&["get", "sbc", "-n", &stage.namespace]).await?;
    let header: Vec<&str> = table
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let wanted = [
        "NAME",
        "READY",
        "STATUS",
        "PRIMARY",
        "SYNC-STANDBY",
        "REPLICAS",
        "SAFE",
        "AGE",
    ];
    ensure(header == wanted, || format!("columns {header:?}"))
}
