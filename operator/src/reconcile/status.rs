//! Writing the status: the last step, and the only one that nothing depends on.

use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use standby_api::{StandbyCluster, StandbyClusterStatus, names};

use crate::api::{ApiError, MANAGER, USUAL, within};
use crate::context::{Context, Key};

/// Applies the whole status: what is not in it any more goes away.
pub async fn write(
    context: &Context,
    key: &Key,
    status: &StandbyClusterStatus,
) -> Result<(), ApiError> {
    let clusters: Api<StandbyCluster> = Api::namespaced(context.client.clone(), &key.namespace);
    let object = Patch::Apply(json!({
        "apiVersion": format!("{}/{}", names::GROUP, names::VERSION),
        "kind": "StandbyCluster",
        "metadata": {"name": key.name},
        "status": status,
    }));
    let params = PatchParams::apply(MANAGER).force();
    let call = clusters.patch_status(&key.name, &params, &object);
    match within(USUAL, "write the status", call).await {
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}
