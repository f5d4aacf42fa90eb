//! Certificates: made when they are missing, renewed when two thirds of their life have passed. What
//! they say is decided in the core; this step reads and writes Secrets.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams, PostParams};
use standby_operator_core::build::pki::{Authority, Issued, Subject};
use standby_operator_core::build::{rotation, secret};
use standby_operator_core::validate::ValidatedCluster;
use tracing::info;

use super::StepError;
use crate::api::{FIRST, USUAL, apply, within};
use crate::context::{Context, Key};
use crate::tls::OperatorTls;

async fn get(context: &Context, namespace: &str, name: &str) -> Result<Option<Secret>, StepError> {
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    Ok(within(USUAL, format!("read Secret {name}"), secrets.get_opt(name)).await?)
}

/// The operator's identity, if it was made before: what a new leader needs first.
pub async fn identity(context: &Context, key: &Key) -> Result<Option<OperatorTls>, StepError> {
    let name = secret::operator_name(&key.name);
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &key.namespace);
    let found = within(FIRST, format!("read Secret {name}"), secrets.get_opt(&name)).await?;
    Ok(found.as_ref().and_then(OperatorTls::from_secret))
}

/// Sees to every certificate of the cluster, and returns the operator's identity.
pub async fn ensure(
    context: &Context,
    cluster: &ValidatedCluster,
    pods: &[String],
) -> Result<Arc<OperatorTls>, StepError> {
    let (authority, _) = authority(context, cluster).await?;
    Ok(leaves(context, cluster, &authority, pods).await?.0)
}

/// As [`ensure`], for every pod there should be, and takes the next step of a new CA when all of them
/// agree with the last one.
pub async fn keep(
    context: &Context,
    cluster: &ValidatedCluster,
    pods: &[String],
) -> Result<Arc<OperatorTls>, StepError> {
    let (authority, stored) = authority(context, cluster).await?;
    let (tls, changed) = leaves(context, cluster, &authority, pods).await?;
    if let (false, Some(stored)) = (changed, stored) {
        rotate(context, cluster, &stored).await?;
    }
    Ok(tls)
}

/// Takes the next step of a new CA, if one is due.
async fn rotate(
    context: &Context,
    cluster: &ValidatedCluster,
    stored: &Secret,
) -> Result<(), StepError> {
    let now = Timestamp::now();
    let Some(step) = rotation::due(stored, now) else {
        return Ok(());
    };
    let name = secret::authority_name(&cluster.name);
    let patch = rotation::patch(stored, step, &cluster.name, &cluster.namespace, now)?;
    info!(secret = name, ?step, "a new CA takes the old one's place");
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &cluster.namespace);
    let params = PatchParams {
        field_manager: Some(crate::api::MANAGER.into()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(patch);
    let call = secrets.patch_metadata(&name, &params, &patch);
    match within(USUAL, format!("rotate {name}"), call).await {
        // Somebody else took the step: the next look sees it.
        Err(error) if error.is_conflict() => Ok(()),
        other => Ok(other.map(|_| ())?),
    }
}

/// Sees to the certificates below the CA. Whether any was issued anew.
async fn leaves(
    context: &Context,
    cluster: &ValidatedCluster,
    authority: &Authority,
    pods: &[String],
) -> Result<(Arc<OperatorTls>, bool), StepError> {
    let mut changed = false;
    let name = secret::client_name(&cluster.name);
    let client = |issued: &Issued| secret::client(cluster, issued);
    changed |= leaf(context, cluster, authority, &name, &Subject::Client, client)
        .await?
        .1;
    for pod in pods {
        let subject = Subject::Node {
            cluster: &cluster.name,
            namespace: &cluster.namespace,
            pod,
        };
        let name = secret::node_name(pod);
        let node = |issued: &Issued| secret::node(cluster, pod, issued);
        changed |= leaf(context, cluster, authority, &name, &subject, node)
            .await?
            .1;
    }
    let name = secret::operator_name(&cluster.name);
    let operator = |issued: &Issued| secret::operator(cluster, issued);
    let subject = Subject::Operator;
    let (own, anew) = leaf(context, cluster, authority, &name, &subject, operator).await?;
    changed |= anew;
    let tls = OperatorTls::from_secret(&own)
        .expect("a certificate that needs no renewal, or was just issued, is whole");
    Ok((Arc::new(tls), changed))
}

/// The CA, and as what it is stored if it was: never made anew while there is one, since every
/// certificate hangs on it.
async fn authority(
    context: &Context,
    cluster: &ValidatedCluster,
) -> Result<(Authority, Option<Secret>), StepError> {
    let name = secret::authority_name(&cluster.name);
    if let Some(found) = get(context, &cluster.namespace, &name).await? {
        return Ok((Authority::from_secret(&found)?, Some(found)));
    }
    let made = Authority::new(&cluster.name, &cluster.namespace, Timestamp::now())?;
    let object = secret::authority(cluster, &made);
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &cluster.namespace);
    let params = PostParams {
        field_manager: Some(crate::api::MANAGER.into()),
        ..PostParams::default()
    };
    // Created, not applied: of two operators one must lose.
    match within(USUAL, "make the CA", secrets.create(&params, &object)).await {
        Ok(_) => {
            info!("made the cluster's CA");
            Ok((made, None))
        }
        Err(error) if error.is_conflict() => {
            let found = get(context, &cluster.namespace, &name).await?;
            let found = found.unwrap_or_default();
            Ok((Authority::from_secret(&found)?, Some(found)))
        }
        Err(error) => Err(error.into()),
    }
}

async fn leaf(
    context: &Context,
    cluster: &ValidatedCluster,
    authority: &Authority,
    name: &str,
    subject: &Subject<'_>,
    build: impl Fn(&Issued) -> Secret,
) -> Result<(Secret, bool), StepError> {
    let now = Timestamp::now();
    let found = get(context, &cluster.namespace, name).await?;
    let why = match found {
        Some(secret) => match authority.renewal(&secret, subject, now) {
            None => return Ok((secret, false)),
            Some(renewal) => renewal.to_string(),
        },
        None => "there was none".to_owned(),
    };
    info!(secret = name, %why, "issuing a certificate");
    let issued = authority.issue(subject, now)?;
    let written = apply(&context.client, &build(&issued), USUAL).await?;
    Ok((written, true))
}
