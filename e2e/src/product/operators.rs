//! The operators on the local Kubernetes: installed by the chart, scaled, moved, and which of them leads.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::{OPERATOR_NAMESPACE, RELEASE};
use crate::cluster::Cluster;
use crate::cluster::layout::HostName;
use crate::command::until;
use crate::error::{Error, Result};
use crate::images;
use crate::limits::NODE_READY_TIMEOUT;
use crate::parts::repository;
use crate::progress::Progress;

/// Builds and loads the images and installs the chart with that many operators.
pub async fn install(cluster: &Cluster, operators: u8, progress: &Progress) -> Result<()> {
    let archives = images::build(progress).await?;
    let step = progress.step("loading the images on every host");
    cluster.load(&archives).await?;
    step.done();
    let step = progress.step("helm install");
    let chart = repository().join("charts/standby");
    let chart = chart.to_string_lossy();
    let replicas = format!("replicaCount={operators}");
    let mut arguments = vec!["upgrade", "--install", RELEASE, chart.as_ref()];
    arguments.extend(["--namespace", OPERATOR_NAMESPACE, "--create-namespace"]);
    for value in [
        "image.repository=standby-operator",
        "image.tag=dev",
        "image.pullPolicy=Never",
        "nodeImage.repository=standby-node",
        "nodeImage.tag=dev",
        &replicas,
    ] {
        arguments.extend(["--set", value]);
    }
    cluster.api.helm(&arguments).await?;
    // The same tag may mean a new build: pods made before it must not go on.
    let name = operator_deployment(cluster).await?;
    let target = format!("deployment/{name}");
    let restart = ["-n", OPERATOR_NAMESPACE, "rollout", "restart", &target];
    cluster.api.kubectl(&restart).await?;
    rolled_out(cluster, &target).await?;
    step.done();
    Ok(())
}

/// Waits until no pod of an earlier template runs.
async fn rolled_out(cluster: &Cluster, target: &str) -> Result<()> {
    let limit = format!("--timeout={}s", NODE_READY_TIMEOUT.as_secs());
    let status = [
        "-n",
        OPERATOR_NAMESPACE,
        "rollout",
        "status",
        target,
        &limit,
    ];
    cluster.api.kubectl(&status).await.map(drop)
}

/// The Deployment of the operator.
pub async fn operator_deployment(cluster: &Cluster) -> Result<String> {
    let found = ["-n", OPERATOR_NAMESPACE, "get", "deployments", "-o", "name"];
    let names = cluster.api.kubectl(&found).await?;
    let name = names
        .lines()
        .next()
        .and_then(|line| line.rsplit('/').next());
    name.map(String::from)
        .ok_or_else(|| Error::Wrong("the chart made no Deployment".to_owned()))
}

/// Sets how many operators run, and waits until it is so.
pub async fn scale_operator(cluster: &Cluster, count: u8) -> Result<()> {
    run_operators(cluster, count, &Value::Null).await
}

async fn run_operators(cluster: &Cluster, count: u8, node_selector: &Value) -> Result<()> {
    let deployments: Api<Deployment> = cluster.api.objects(OPERATOR_NAMESPACE);
    let wanted = json!({ "spec": {
        "replicas": count,
        "template": { "spec": { "nodeSelector": node_selector } },
    } });
    let name = operator_deployment(cluster).await?;
    deployments
        .patch(&name, &PatchParams::default(), &Patch::Merge(&wanted))
        .await?;
    rolled_out(cluster, &format!("deployment/{name}")).await?;
    let pods: Api<Pod> = cluster.api.objects(OPERATOR_NAMESPACE);
    until(
        &format!("{count} operators"),
        NODE_READY_TIMEOUT,
        async || {
            let list = pods
                .list(&ListParams::default())
                .await
                .map_err(|error| error.to_string())?;
            let ready = list.items.iter().filter(|pod| is_ready(pod)).count();
            if ready == usize::from(count) && list.items.len() == ready {
                Ok(())
            } else {
                Err(format!("{ready} of {} pods are ready", list.items.len()))
            }
        },
    )
    .await
}

/// Has one operator run, on that host, until the operators are scaled again: for faults that would
/// take every other one along. By a selector, because a cordon would make it move primaries.
pub async fn one_operator_on(cluster: &Cluster, host: HostName) -> Result<()> {
    scale_operator(cluster, 0).await?;
    let host = cluster.layout.node_name(host);
    run_operators(cluster, 1, &json!({ "kubernetes.io/hostname": host })).await
}

/// The host on which the leading operator runs, by the Lease that it holds.
pub async fn leading_operator(cluster: &Cluster) -> Result<Pod> {
    let leases: Api<k8s_openapi::api::coordination::v1::Lease> =
        cluster.api.objects(OPERATOR_NAMESPACE);
    let list = leases.list(&ListParams::default()).await?;
    let holders = list
        .items
        .iter()
        .filter_map(|lease| lease.spec.as_ref()?.holder_identity.clone());
    let holders: Vec<String> = holders.collect();
    let pods: Api<Pod> = cluster.api.objects(OPERATOR_NAMESPACE);
    let pods = pods.list(&ListParams::default()).await?;
    let leads = |pod: &Pod| {
        holders
            .iter()
            .any(|holder| holder.contains(&pod.name_any()))
    };
    let leader = pods.items.into_iter().find(leads);
    leader.ok_or_else(|| Error::Wrong(format!("no operator pod holds the lease: {holders:?}")))
}

/// The pods of all operators.
pub async fn operator_pods(cluster: &Cluster) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = cluster.api.objects(OPERATOR_NAMESPACE);
    Ok(pods.list(&ListParams::default()).await?.items)
}

/// Whether a pod is Ready.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| {
        all.iter()
            .any(|it| it.type_ == "Ready" && it.status == "True")
    })
}
