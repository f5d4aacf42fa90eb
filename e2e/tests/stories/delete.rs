//! `kubectl delete` leaves nothing behind, and keeps the volumes when it was told to.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use standby_api::StandbyView;
use standby_e2e::command::until;
use standby_e2e::error::{Result, ensure};
use standby_e2e::limits::NAMESPACE_GONE_TIMEOUT;
use standby_e2e::product::{Product, sample};

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    Product::create(&stage.cluster, &stage.namespace, "goes").await?;
    remove(stage, "goes").await?;
    let claims = names::<PersistentVolumeClaim>(stage).await.map_err(wrong)?;
    ensure(claims.is_empty(), || format!("claims left: {claims:?}"))?;
    until("the volumes to go", NAMESPACE_GONE_TIMEOUT, async || {
        let left = stage.cluster.api.volumes_of(&stage.namespace).await;
        let left = left.map_err(|error| error.to_string())?;
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{} volumes", left.len()))
        }
    })
    .await?;

    let text = sample("stays") + "    deletionPolicy: Retain\n";
    Product::apply(&stage.cluster, &stage.namespace, &text).await?;
    let before = names::<PersistentVolumeClaim>(stage).await.map_err(wrong)?;
    remove(stage, "stays").await?;
    let after = names::<PersistentVolumeClaim>(stage).await.map_err(wrong)?;
    ensure(after == before && after.len() == 3, || {
        format!("claims before {before:?}, after {after:?}")
    })
}

/// Deletes a `StandbyCluster` and waits until everything but its claims is gone.
async fn remove(stage: &Stage, name: &str) -> Result<()> {
    let api = &stage.cluster.api;
    let limit = format!("--timeout={}s", NAMESPACE_GONE_TIMEOUT.as_secs());
    api.kubectl(&[
        "delete",
        "standbycluster",
        name,
        "-n",
        &stage.namespace,
        &limit,
    ])
    .await?;
    until(
        &format!("everything of {name} to go"),
        NAMESPACE_GONE_TIMEOUT,
        async || {
            let mut left = names::<Pod>(stage).await?;
            left.extend(names::<Service>(stage).await?);
            left.extend(names::<Secret>(stage).await?);
            left.extend(names::<StandbyView>(stage).await?);
            left.extend(names::<PodDisruptionBudget>(stage).await?);
            if name == "goes" {
                left.extend(names::<PersistentVolumeClaim>(stage).await?);
            }
            if left.is_empty() {
                Ok(())
            } else {
                Err(left.join(", "))
            }
        },
    )
    .await
}

async fn names<K>(stage: &Stage) -> std::result::Result<Vec<String>, String>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    K::DynamicType: Default,
{
    let api = stage.cluster.api.objects::<K>(&stage.namespace);
    let list = api
        .list(&ListParams::default())
        .await
        .map_err(|error| error.to_string())?;
    Ok(list.items.iter().map(ResourceExt::name_any).collect())
}

fn wrong(text: String) -> standby_e2e::error::Error {
    standby_e2e::error::Error::Wrong(text)
}
