//! Everything of a plan that is not on the hot path, and the objects that only follow from the
//! specification. Safe at any point of interruption: every step is idempotent.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;
use standby_api::{NodeRole, StandbyCluster, names};
use standby_operator_core::build::service::Access;
use standby_operator_core::build::{
    meta, network_policy, pod as build_pod, pod_disruption_budget, service, volume_claim,
};
use standby_operator_core::observe::Recorded;
use standby_operator_core::plan::{Action, Planned};
use standby_operator_core::validate::ValidatedCluster;
use tracing::{info, warn};

use super::record::Held;
use super::{StepError, pki, record, release};
use crate::api::{ApiError, MANAGER, MANAGER_ROLE, USUAL, apply, within};
use crate::context::{Context, Key};
use crate::tls::OperatorTls;

/// The objects that follow from the specification alone. Applied at the start, when the
/// specification changed, and now and then.
pub async fn objects(
    context: &Context,
    cluster: &ValidatedCluster,
    pods: &[String],
) -> Result<Arc<OperatorTls>, StepError> {
    hold(context, cluster).await?;
    // Certificates first: pods do not start without.
    let tls = pki::keep(context, cluster, pods).await?;
    for access in Access::ALL {
        apply(&context.client, &service::service(cluster, access), USUAL).await?;
    }
    match network_policy::network_policy(cluster) {
        Some(policy) => apply(&context.client, &policy, USUAL).await.map(|_| ())?,
        None => remove::<NetworkPolicy>(context, cluster).await?,
    }
    Ok(tls)
}

/// How many pods a drain must leave; none: it has no say, and there is no budget.
pub async fn budget(
    context: &Context,
    cluster: &ValidatedCluster,
    must_stay: Option<usize>,
) -> Result<(), ApiError> {
    match must_stay {
        Some(pods) => {
            let budget = pod_disruption_budget::pod_disruption_budget(cluster, pods);
            apply(&context.client, &budget, USUAL).await.map(|_| ())
        }
        None => remove::<PodDisruptionBudget>(context, cluster).await,
    }
}

/// Removes an object named like the cluster that is not wanted any more.
async fn remove<K>(context: &Context, cluster: &ValidatedCluster) -> Result<(), ApiError>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + serde::de::DeserializeOwned
        + Clone
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(context.client.clone(), &cluster.namespace);
    let what = format!("delete {} {}", K::kind(&()), cluster.name);
    gone(
        within(
            USUAL,
            what,
            api.delete(&cluster.name, &DeleteParams::default()),
        )
        .await,
    )
}

/// Holds the cluster's resource by a finalizer, so that its volumes can be let go of before they are
/// collected with it.
async fn hold(context: &Context, cluster: &ValidatedCluster) -> Result<(), ApiError> {
    let key = Key {
        namespace: cluster.namespace.clone(),
        name: cluster.name.clone(),
    };
    let known = context.stores.cluster(&key).and_then(Result::ok);
    if known.is_some_and(|known| {
        known
            .finalizers()
            .iter()
            .any(|it| it == names::FINALIZER_VIEW)
    }) {
        return Ok(());
    }
    let api: Api<StandbyCluster> = Api::namespaced(context.client.clone(), &cluster.namespace);
    let held = Patch::Apply(json!({
        "apiVersion": format!("{}/{}", names::GROUP, names::VERSION),
        "kind": "StandbyCluster",
        "metadata": {"name": cluster.name, "finalizers": [names::FINALIZER_VIEW]},
    }));
    let params = PatchParams::apply(release::MANAGER_FINALIZER).force();
    let call = api.patch_metadata(&cluster.name, &params, &held);
    within(USUAL, "hold the StandbyCluster", call)
        .await
        .map(|_| ())
}

/// Carries out the planned actions that are not hot, in order. One that fails does not keep the
/// others from being tried: what ails one node must not hold up the rest. The first failure is
/// returned, and the next turn plans anew.
pub async fn actions(
    context: &Context,
    cluster: &ValidatedCluster,
    planned: &[Planned],
) -> Result<(), StepError> {
    let mut first = None;
    for Planned { action, why } in planned.iter().filter(|planned| !planned.action.is_hot()) {
        match action {
            // Idempotent and repeated in every plan of a deletion.
            Action::Release | Action::RetainClaims { .. } => {}
            _ => info!(%action, %why, "acting"),
        }
        // Whatever was to be kept would be collected with the cluster.
        if *action == Action::Release && first.is_some() {
            break;
        }
        let failed = one(context, cluster, action).await.err();
        if first.is_none() {
            first = failed;
        }
    }
    first.map_or(Ok(()), Err)
}

async fn one(
    context: &Context,
    cluster: &ValidatedCluster,
    action: &Action,
) -> Result<(), StepError> {
    match action {
        Action::CreateClaim { node } => claim(context, cluster, node).await?,
        Action::OwnClaim { node } => own_claim(context, cluster, node, true).await?,
        Action::RetainClaims { nodes } => {
            for node in nodes {
                own_claim(context, cluster, node, false).await?;
            }
        }
        Action::CreatePod { node } => {
            pki::ensure(context, cluster, std::slice::from_ref(node)).await?;
            create_pod(context, cluster, node).await?;
        }
        Action::DeletePod { node, uid, force } => {
            delete_pod(context, cluster, node, uid, *force).await?;
        }
        Action::DeleteClaim { node, uid } => delete_claim(context, cluster, node, uid).await?,
        Action::GrowClaim { node, .. } => grow_claim(context, cluster, node).await?,
        Action::LabelPod { node, role } => label_pod(context, cluster, node, role).await?,
        Action::Release => release::release(context, cluster).await?,
        Action::RecordView { .. }
        | Action::Push { .. }
        | Action::StepDown { .. }
        | Action::Announce { .. }
        | Action::Withdraw => {}
    }
    Ok(())
}

async fn claim(context: &Context, cluster: &ValidatedCluster, node: &str) -> Result<(), ApiError> {
    let claim = volume_claim::volume_claim(cluster, node);
    apply(&context.client, &claim, USUAL).await.map(|_| ())
}

/// Lets a claim go with the cluster, or outlive it. Touches nothing else of it: a claim that was adopted
/// may differ from what the cluster asks for.
async fn own_claim(
    context: &Context,
    cluster: &ValidatedCluster,
    node: &str,
    own: bool,
) -> Result<(), ApiError> {
    let claims: Api<PersistentVolumeClaim> =
        Api::namespaced(context.client.clone(), &cluster.namespace);
    let owners = own.then(|| vec![meta::owner(cluster)]);
    let patch = Patch::Merge(json!({"metadata": {"ownerReferences": owners}}));
    let params = PatchParams {
        field_manager: Some(MANAGER.into()),
        ..PatchParams::default()
    };
    let what = format!("{} claim {node}", if own { "own" } else { "retain" });
    match within(USUAL, what, claims.patch_metadata(node, &params, &patch)).await {
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Asks for a larger volume. The storage class sees to the rest.
async fn grow_claim(
    context: &Context,
    cluster: &ValidatedCluster,
    node: &str,
) -> Result<(), ApiError> {
    let claims: Api<PersistentVolumeClaim> =
        Api::namespaced(context.client.clone(), &cluster.namespace);
    let patch = Patch::Merge(json!({"spec": {"resources": {"requests": {
        "storage": cluster.storage.size
    }}}}));
    let params = PatchParams {
        field_manager: Some(MANAGER.into()),
        ..PatchParams::default()
    };
    let call = claims.patch(node, &params, &patch);
    gone(within(USUAL, format!("grow claim {node}"), call).await)
}

async fn create_pod(
    context: &Context,
    cluster: &ValidatedCluster,
    node: &str,
) -> Result<(), ApiError> {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &cluster.namespace);
    let pod = build_pod::pod(cluster, node, None::<NodeRole>);
    let params = PostParams {
        field_manager: Some(MANAGER.into()),
        ..PostParams::default()
    };
    match within(
        USUAL,
        format!("create pod {node}"),
        pods.create(&params, &pod),
    )
    .await
    {
        // The cache is behind: it is there already.
        Err(error) if error.is_conflict() => Ok(()),
        other => other.map(|_| ()),
    }
}

async fn delete_pod(
    context: &Context,
    cluster: &ValidatedCluster,
    node: &str,
    uid: &str,
    force: bool,
) -> Result<(), ApiError> {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &cluster.namespace);
    let params = DeleteParams {
        grace_period_seconds: force.then_some(0),
        preconditions: Some(exactly(uid)),
        ..DeleteParams::default()
    };
    gone(
        within(
            USUAL,
            format!("delete pod {node}"),
            pods.delete(node, &params),
        )
        .await,
    )
}

/// Deletes a claim, unless the view recorded *now* names its node: the plan may be old, because the API
/// was slow or because this operator leads no more, and the volume the only other complete one.
async fn delete_claim(
    context: &Context,
    cluster: &ValidatedCluster,
    node: &str,
    uid: &str,
) -> Result<(), StepError> {
    let key = Key {
        namespace: cluster.namespace.clone(),
        name: cluster.name.clone(),
    };
    let recorded = record::read(context, &key, &mut Held::default(), USUAL).await?;
    let spare = matches!(&recorded, Recorded::View(view)
        if view.complete.iter().all(|complete| complete.name != node));
    if !spare {
        warn!(
            node,
            "the recorded view needs the volume after all: its claim stays"
        );
        return Ok(());
    }
    let claims: Api<PersistentVolumeClaim> =
        Api::namespaced(context.client.clone(), &cluster.namespace);
    let params = DeleteParams {
        preconditions: Some(exactly(uid)),
        ..DeleteParams::default()
    };
    let call = claims.delete(node, &params);
    Ok(gone(
        within(USUAL, format!("delete claim {node}"), call).await,
    )?)
}

fn exactly(uid: &str) -> Preconditions {
    Preconditions {
        uid: Some(uid.to_owned()),
        resource_version: None,
    }
}

/// Deleting what is gone, or is another object by now, is done.
fn gone<T>(result: Result<T, ApiError>) -> Result<(), ApiError> {
    match result {
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
        other => other.map(|_| ()),
    }
}

async fn label_pod(
    context: &Context,
    cluster: &ValidatedCluster,
    node: &str,
    role: &str,
) -> Result<(), ApiError> {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &cluster.namespace);
    // A merge patch: unlike an applied one it never makes a pod that is gone.
    let label = Patch::Merge(json!({"metadata": {"labels": {names::LABEL_ROLE: role}}}));
    let params = PatchParams {
        field_manager: Some(MANAGER_ROLE.into()),
        ..PatchParams::default()
    };
    let call = pods.patch_metadata(node, &params, &label);
    gone(within(USUAL, format!("label pod {node}"), call).await)
}

/// The only host a volume can be used on; none when it can move.
pub async fn volume_host(context: &Context, volume: &str) -> Result<Option<String>, ApiError> {
    let volumes: Api<PersistentVolume> = Api::all(context.client.clone());
    let what = format!("read PersistentVolume {volume}");
    let found = within(USUAL, what, volumes.get_opt(volume)).await?;
    Ok(found.as_ref().and_then(bound_to))
}

/// Whether the volumes of a storage class can grow; one that is gone makes none grow.
pub async fn expandable(context: &Context, class: &str) -> Result<bool, ApiError> {
    let classes: Api<StorageClass> = Api::all(context.client.clone());
    let what = format!("read StorageClass {class}");
    let found = within(USUAL, what, classes.get_opt(class)).await?;
    Ok(found.is_some_and(|class| class.allow_volume_expansion == Some(true)))
}

fn bound_to(volume: &PersistentVolume) -> Option<String> {
    let terms = &volume
        .spec
        .as_ref()?
        .node_affinity
        .as_ref()?
        .required
        .as_ref()?
        .node_selector_terms;
    let mut hosts = terms
        .iter()
        .flat_map(|term| term.match_expressions.iter().flatten())
        .filter(|expression| {
            expression.key == "kubernetes.io/hostname" && expression.operator == "In"
        })
        .flat_map(|expression| expression.values.iter().flatten());
    let only = hosts.next()?.clone();
    hosts.next().is_none().then_some(only)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(hosts: &[&str]) -> PersistentVolume {
        serde_json::from_value(json!({"spec": {"nodeAffinity": {"required": {
            "nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": hosts}
            ]}]
        }}}}))
        .expect("a volume")
    }

    #[test]
    fn a_volume_is_bound_only_when_a_single_host_can_use_it() {
        assert_eq!(bound_to(&volume(&["h1"])).as_deref(), Some("h1"));
        assert_eq!(bound_to(&volume(&["h1", "h2"])), None);
        assert_eq!(bound_to(&PersistentVolume::default()), None);
    }
}
