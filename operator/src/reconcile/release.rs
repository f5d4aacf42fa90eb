//! Letting go of a deleted cluster: its view's finalizer, then its own. What Kubernetes owns through
//! the cluster it collects by itself.

use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde_json::json;
use standby_api::{StandbyCluster, StandbyView, names};
use standby_operator_core::validate::ValidatedCluster;
use tracing::info;

use super::StepError;
use crate::api::{ApiError, USUAL, within};
use crate::context::{Context, Key};

/// The field manager of finalizers.
pub const MANAGER_FINALIZER: &str = "standby-operator-finalizer";

/// Lets go of a cluster that is being deleted.
pub async fn release(context: &Context, cluster: &ValidatedCluster) -> Result<(), StepError> {
    let key = Key {
        namespace: cluster.namespace.clone(),
        name: cluster.name.clone(),
    };
    let clusters: Api<StandbyCluster> = Api::namespaced(context.client.clone(), &key.namespace);
    let read = clusters.get_opt(&key.name);
    let Some(found) = within(USUAL, "read the StandbyCluster", read).await? else {
        return Ok(());
    };
    if found.metadata.deletion_timestamp.is_none() || found.uid().as_deref() != Some(&cluster.uid) {
        return Ok(());
    }
    // Only now: the cache may show an earlier resource of this name.
    release_view(context, &key).await?;
    if drop_finalizer(&clusters, &key, &found).await? {
        info!("released the cluster");
    }
    Ok(())
}

/// Lets go of a view whose cluster is being deleted, or is gone.
pub async fn release_view(context: &Context, key: &Key) -> Result<(), StepError> {
    let views: Api<StandbyView> = Api::namespaced(context.client.clone(), &key.namespace);
    let read = views.get_opt(&key.name);
    let Some(view) = within(USUAL, "read the StandbyView", read).await? else {
        return Ok(());
    };
    if drop_finalizer(&views, key, &view).await? {
        info!(epoch = view.spec.epoch, "released the view");
    }
    Ok(())
}

/// Lets go of a view that was deleted and whose cluster went while no operator ran.
pub async fn release_orphan(context: &Context, key: &Key) -> Result<(), StepError> {
    if !is_orphan(context, key).await? {
        return Ok(());
    }
    let views: Api<StandbyView> = Api::namespaced(context.client.clone(), &key.namespace);
    let read = views.get_opt(&key.name);
    let Some(view) = within(USUAL, "read the StandbyView", read).await? else {
        return Ok(());
    };
    // A new cluster may have taken the name since: its view is not being deleted, and stays held.
    if view.metadata.deletion_timestamp.is_some() && drop_finalizer(&views, key, &view).await? {
        info!(namespace = %key.namespace, cluster = %key.name, epoch = view.spec.epoch,
            "released a view whose cluster is gone");
    }
    Ok(())
}

/// Whether the view of `key` may go: nobody's view may while its cluster lives.
pub async fn is_orphan(context: &Context, key: &Key) -> Result<bool, StepError> {
    let clusters: Api<StandbyCluster> = Api::namespaced(context.client.clone(), &key.namespace);
    let read = clusters.get_metadata_opt(&key.name);
    Ok(within(USUAL, "read the StandbyCluster", read)
        .await?
        .is_none())
}

/// Removes our finalizer, if it is there, against the version that was read.
async fn drop_finalizer<K>(api: &Api<K>, key: &Key, object: &K) -> Result<bool, ApiError>
where
    K: Resource + serde::de::DeserializeOwned + Clone + std::fmt::Debug,
{
    let rest: Vec<&String> = object
        .finalizers()
        .iter()
        .filter(|name| *name != names::FINALIZER_VIEW)
        .collect();
    if rest.len() == object.finalizers().len() {
        return Ok(false);
    }
    let patch = Patch::Merge(json!({"metadata": {
        "resourceVersion": object.resource_version(),
        "finalizers": rest,
    }}));
    let params = PatchParams {
        field_manager: Some(MANAGER_FINALIZER.into()),
        ..PatchParams::default()
    };
    let call = api.patch_metadata(&key.name, &params, &patch);
    within(USUAL, format!("release {}", key.name), call)
        .await
        .map(|_| true)
}
