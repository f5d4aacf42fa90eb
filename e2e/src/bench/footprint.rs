//! `bench footprint`: what an idle cluster takes: memory of nodes and operators, their processor
//! time, and the size of the images.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde::Serialize;
use tokio::time::sleep;

use super::processes::{Taken, Watched};
use super::save;
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::faults::container_processes;
use crate::images;
use crate::product::{self, NODE_CONTAINER, OPERATOR_NAMESPACE, Product};
use crate::progress::Progress;

/// How long processor time is counted.
const IDLE: Duration = Duration::from_secs(20);
const BYTES_PER_MB: f64 = 1e6;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    images: Vec<Size>,
    processes: Vec<Process>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Size {
    name: &'static str,
    megabytes: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    pod: String,
    #[serde(flatten)]
    taken: Taken,
}

/// Measures an idle cluster of three nodes under two operators.
pub async fn run(number: u8, json: Option<&Path>) -> Result<()> {
    let progress = Progress::new();
    let cluster = Cluster::attach_or_up(number, &progress).await?;
    product::install(&cluster, 2, &progress).await?;
    let namespace = cluster.api.namespace("bench-footprint").await?;
    let outcome = measure(&cluster, &namespace.name, &progress).await;
    namespace.remove().await?;
    let processes = outcome?;
    let images = ["standby-operator", "standby-node"].map(size).into_iter();
    let figures = Figures {
        images: images.collect::<Result<_>>()?,
        processes,
    };
    for image in &figures.images {
        progress.say(&format!(
            "image {:<18} {:>6.1} MB",
            image.name, image.megabytes
        ));
    }
    for one in &figures.processes {
        progress.say(&format!(
            "{:<32} {:>6.1} MiB  {:>5.2} % of a processor",
            one.pod, one.taken.resident_mib, one.taken.processor_percent
        ));
    }
    save(&figures, json)
}

fn size(name: &'static str) -> Result<Size> {
    let path = images::compiled(name);
    let bytes = std::fs::metadata(&path)
        .map_err(Error::file("look at", path))?
        .len();
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    Ok(Size {
        name,
        megabytes: f64::from(bytes) / BYTES_PER_MB,
    })
}

async fn measure(cluster: &Cluster, namespace: &str, progress: &Progress) -> Result<Vec<Process>> {
    Product::create(cluster, namespace, "idle").await?;
    let mut found = Vec::new();
    for (namespace, container) in [
        (namespace, Some(NODE_CONTAINER)),
        (OPERATOR_NAMESPACE, None),
    ] {
        let pods: Api<Pod> = cluster.api.objects(namespace);
        for pod in pods.list(&ListParams::default()).await?.items {
            let first = pod.spec.as_ref().and_then(|spec| spec.containers.first());
            let container = container
                .or(first.map(|one| one.name.as_str()))
                .unwrap_or_default();
            for process in container_processes(cluster, &pod, container)? {
                found.push((pod.name_any(), Watched::begin(process)?));
            }
        }
    }
    let step = progress.step("counting the processor time of an idle cluster");
    sleep(IDLE).await;
    step.done();
    found
        .into_iter()
        .map(|(pod, watched)| {
            let taken = watched.end(IDLE.as_secs_f64())?;
            Ok(Process { pod, taken })
        })
        .collect()
}
