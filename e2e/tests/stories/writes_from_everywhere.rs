//! Writes go through the Service from a host and from a pod; the pod finds it by its name.

use k8s_openapi::api::core::v1::Pod;
use standby_e2e::cluster::layout::HOSTS;
use standby_e2e::error::{Error, Result, ensure};
use standby_e2e::limits::CLUSTER_READY_TIMEOUT;
use standby_e2e::product::Product;
use standby_e2e::workload::{Helper, Place, Plan, Verdict};

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let product = Product::create(&stage.cluster, &stage.namespace, "db").await?;
    for host in HOSTS {
        let node = stage.cluster.layout.node_name(host);
        let plan = Plan::new(product.target().await?, &format!("from-{node}"));
        let mut load = Helper::start(&plan, &Place::Namespace(node.clone())).await?;
        load.acknowledged(200).await?;
        let (_, verdict) = load.finish().await?;
        ensure(verdict.is_clean(), || {
            format!("from host {node}: {:?}", verdict.examples)
        })?;
    }
    let verdict = from_a_pod(stage, &product).await?;
    ensure(verdict.is_clean(), || {
        format!("from a pod: {:?}", verdict.examples)
    })?;
    ensure(verdict.acknowledged_writes > 200, || {
        format!("a pod wrote only {} times", verdict.acknowledged_writes)
    })
}

async fn from_a_pod(stage: &Stage, product: &Product<'_>) -> Result<Verdict> {
    let mut target = product.target().await?;
    target.endpoints = vec!["https://db-rw:2379".to_owned()];
    let plan = serde_json::to_string(&Plan::new(target, "from-a-pod"))?;
    let namespace = &stage.namespace;
    let documents = [
        serde_json::json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "load", "namespace": namespace},
            "stringData": {"plan.json": plan},
        }),
        serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "load", "namespace": namespace},
            "spec": {
                "restartPolicy": "Never",
                "containers": [{
                    "name": "load",
                    "image": "standby-workload:dev",
                    "imagePullPolicy": "Never",
                    "args": ["--plan", "/plan/plan.json", "--seconds", "5"],
                    "volumeMounts": [{"name": "plan", "mountPath": "/plan"}],
                }],
                "volumes": [{"name": "plan", "secret": {"secretName": "load"}}],
            },
        }),
    ];
    let api = &stage.cluster.api;
    for document in &documents {
        api.apply_text(&document.to_string()).await?;
    }
    let place = (namespace.as_str(), "load");
    api.wait_for::<Pod, ()>(
        "the load to end",
        place,
        CLUSTER_READY_TIMEOUT,
        |pod| match pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref())
        {
            Some("Succeeded" | "Failed") => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await?;
    let log = api.kubectl(&["logs", "load", "-n", namespace]).await?;
    let last = log.lines().last().unwrap_or_default();
    serde_json::from_str(last).map_err(|error| Error::Wrong(format!("{error}; it said: {log}")))
}
