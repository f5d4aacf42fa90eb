//! Certificates: made when they are missing, renewed when two thirds of their life have passed. What
//! they say is decided in the core; this step reads and writes Secrets.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use standby_operator_core::build::pki::{Authority, Subject};
use standby_operator_core::build::secret;
use standby_operator_core::validate::ValidatedCluster;
use tracing::info;

use super::StepError;
use crate::api::{HOT, USUAL, apply, within};
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
    let found = within(HOT, format!("read Secret {name}"), secrets.get_opt(&name)).await?;
    Ok(found.as_ref().and_then(OperatorTls::from_secret))
}

/// Sees to every certificate of the cluster, and returns the operator's identity.
pub async fn ensure(
    context: &Context,
    cluster: &ValidatedCluster,
    pods: &[String],
) -> Result<Arc<OperatorTls>, StepError> {
    let authority = authority(context, cluster).await?;
    let name = secret::client_name(&cluster.name);
    leaf(
        context,
        cluster,
        &authority,
        &name,
        &Subject::Client,
        |issued| secret::client(cluster, issued),
    )
    .await?;
    for pod in pods {
        let subject = Subject::Node {
            cluster: &cluster.name,
            namespace: &cluster.namespace,
            pod,
        };
        leaf(
            context,
            cluster,
            &authority,
            &secret::node_name(pod),
            &subject,
            |issued| secret::node(cluster, pod, issued),
        )
        .await?;
    }
    let name = secret::operator_name(&cluster.name);
    let own = leaf(
        context,
        cluster,
        &authority,
        &name,
        &Subject::Operator,
        |issued| secret::operator(cluster, issued),
    )
    .await?;
    let tls = OperatorTls::from_secret(&own)
        .expect("a certificate that needs no renewal, or was just issued, is whole");
    Ok(Arc::new(tls))
}

/// The CA: never made anew while there is one, since every certificate hangs on it.
async fn authority(context: &Context, cluster: &ValidatedCluster) -> Result<Authority, StepError> {
    let name = secret::authority_name(&cluster.name);
    if let Some(found) = get(context, &cluster.namespace, &name).await? {
        return Ok(Authority::from_secret(&found)?);
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
            Ok(made)
        }
        Err(error) if error.is_conflict() => {
            let found = get(context, &cluster.namespace, &name).await?;
            Ok(Authority::from_secret(&found.unwrap_or_default())?)
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
    build: impl Fn(&standby_operator_core::build::pki::Issued) -> Secret,
) -> Result<Secret, StepError> {
    let now = Timestamp::now();
    let found = get(context, &cluster.namespace, name).await?;
    let why = match found {
        Some(secret) => match authority.renewal(&secret, subject, now) {
            None => return Ok(secret),
            Some(renewal) => renewal.to_string(),
        },
        None => "there was none".to_owned(),
    };
    info!(secret = name, %why, "issuing a certificate");
    let issued = authority.issue(subject, now)?;
    Ok(apply(&context.client, &build(&issued), USUAL).await?)
}
