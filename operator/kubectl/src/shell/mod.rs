//! Everything that asks the API server: each call with a limit, each failure with what was tried and
//! which right it needs.

pub mod act;
pub mod connect;
pub mod report;
pub mod watch;

use std::fmt::Debug;
use std::future::Future;

use futures::TryFutureExt;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;
use standby_api::{StandbyCluster, names};

use crate::document::OperatorDocument;
use crate::error::{Error, Result};
use crate::limits::{self, ms};
use crate::orders::PodIdentity;

/// The field manager of every change.
pub const MANAGER: &str = "kubectl-standby";
/// The lease of the operators' election.
const OPERATOR_LEASE: &str = "standby-operator";
const CLUSTERS: &str = "standbyclusters.standby.dev";

/// A call of the API, as errors tell of it.
#[derive(Clone, Debug)]
pub(crate) struct Asks {
    /// The verb of the right it needs.
    verb: &'static str,
    /// The resource.
    resource: &'static str,
    /// The namespace; none: none, or all.
    namespace: Option<String>,
}

impl Asks {
    pub(crate) fn new(verb: &'static str, resource: &'static str, namespace: Option<&str>) -> Self {
        Self {
            verb,
            resource,
            namespace: namespace.map(String::from),
        }
    }

    fn what(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{} {} in {namespace}", self.verb, self.resource),
            None => format!("{} {}", self.verb, self.resource),
        }
    }

    /// The error in words.
    fn explain(self, error: kube::Error) -> Error {
        let what = self.what();
        let kube::Error::Api(status) = error else {
            return Error::Unreached {
                what,
                source: Box::new(error),
            };
        };
        match status.code {
            401 => Error::Unauthorized(status.message.clone()),
            403 => Error::Forbidden {
                verb: self.verb,
                resource: self.resource.to_owned(),
                namespace: self.namespace,
                message: status.message.clone(),
            },
            // A list is never missing, and a missing object has a reason: the whole path is unknown.
            404 if self.resource == CLUSTERS && (self.verb == "list" || !status.is_not_found()) => {
                Error::NotInstalled(self.resource.to_owned())
            }
            _ => Error::Answered {
                what,
                message: if status.message.is_empty() {
                    status.reason.clone()
                } else {
                    status.message.clone()
                },
            },
        }
    }
}

/// Runs a call under a limit.
pub(crate) async fn within<T>(
    limit_ms: u64,
    asks: Asks,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T> {
    let what = asks.what();
    let call = call.map_err(|error| asks.explain(error));
    match tokio::time::timeout(ms(limit_ms), call).await {
        Ok(done) => done,
        Err(_) => Err(Error::Silent {
            what,
            seconds: limit_ms / 1_000,
        }),
    }
}

/// The API server, and the namespace that is meant unless another is named.
#[derive(Clone)]
pub struct Shell {
    /// The client.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
}

impl Shell {
    fn clusters(&self, namespace: &str) -> Api<StandbyCluster> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The cluster that is meant: by name, by `NAMESPACE/NAME`, or the only one there is.
    pub async fn find(&self, given: Option<&str>) -> Result<StandbyCluster> {
        let Some(given) = given else {
            return self.only().await;
        };
        let (namespace, name) = given
            .split_once('/')
            .unwrap_or((self.namespace.as_str(), given));
        match self.get(namespace, name).await? {
            Some(cluster) => Ok(cluster),
            None => Err(self
                .no_cluster(format!("there is no StandbyCluster {namespace}/{name}"))
                .await),
        }
    }

    /// The cluster of that name; none: there is none.
    pub async fn get(&self, namespace: &str, name: &str) -> Result<Option<StandbyCluster>> {
        let asks = Asks::new("get", CLUSTERS, Some(namespace));
        let api = self.clusters(namespace);
        within(limits::API_CALL_MS, asks, api.get_opt(name)).await
    }

    async fn only(&self) -> Result<StandbyCluster> {
        let namespace = &self.namespace;
        let mut found = self.list(Some(namespace)).await?;
        match (found.pop(), found.is_empty()) {
            (Some(cluster), true) => Ok(cluster),
            (Some(last), false) => {
                let mut names: Vec<String> = found.iter().map(full_name).collect();
                names.push(full_name(&last));
                names.sort();
                Err(Error::Cluster {
                    message: format!("namespace {namespace} has more than one StandbyCluster"),
                    found: names,
                    everywhere: false,
                })
            }
            (None, _) => Err(self
                .no_cluster(format!("namespace {namespace} has no StandbyCluster"))
                .await),
        }
    }

    /// The error that says which clusters there are, as far as they may be seen.
    async fn no_cluster(&self, message: String) -> Error {
        let (found, everywhere) = match self.list(None).await {
            Ok(all) => (all, true),
            Err(error @ Error::NotInstalled(_)) => return error,
            Err(_) => match self.list(Some(&self.namespace)).await {
                Ok(here) => (here, false),
                Err(error) => return error,
            },
        };
        Error::Cluster {
            message,
            found: found.iter().map(full_name).collect(),
            everywhere,
        }
    }

    /// The clusters of a namespace, or of all, in order of their names.
    pub async fn list(&self, namespace: Option<&str>) -> Result<Vec<StandbyCluster>> {
        let api: Api<StandbyCluster> = match namespace {
            Some(namespace) => self.clusters(namespace),
            None => Api::all(self.client.clone()),
        };
        let mut found = Vec::new();
        let mut parameters = ListParams::default().limit(limits::LIST_ITEMS);
        for _ in 0..limits::LIST_PAGES {
            let asks = Asks::new("list", CLUSTERS, namespace);
            let page = within(limits::API_CALL_MS, asks, api.list(&parameters)).await?;
            found.extend(page.items);
            match page.metadata.continue_ {
                Some(next) if !next.is_empty() => parameters = parameters.continue_token(&next),
                _ => break,
            }
        }
        found.sort_by_key(full_name);
        Ok(found)
    }

    /// Writes a merge patch; none: somebody else was faster.
    pub async fn patch(
        &self,
        cluster: &StandbyCluster,
        patch: &Value,
    ) -> Result<Option<StandbyCluster>> {
        let namespace = cluster.namespace().unwrap_or_default();
        let parameters = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let api = self.clusters(&namespace);
        let name = cluster.name_any();
        let patch = Patch::Merge(patch);
        let write = async {
            match api.patch(&name, &parameters, &patch).await {
                Ok(written) => Ok(Some(written)),
                Err(kube::Error::Api(status)) if status.is_conflict() => Ok(None),
                Err(error) => Err(error),
            }
        };
        let asks = Asks::new("patch", CLUSTERS, Some(&namespace));
        within(limits::API_CALL_MS, asks, write).await
    }

    /// Who asks, as the API server knows them.
    pub async fn who(&self) -> Result<String> {
        let api: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let asks = Asks::new("create", "selfsubjectreviews.authentication.k8s.io", None);
        let parameters = PostParams::default();
        let question = SelfSubjectReview::default();
        let answer = within(
            limits::API_CALL_MS,
            asks,
            api.create(&parameters, &question),
        )
        .await?;
        let name = answer
            .status
            .and_then(|status| status.user_info)
            .and_then(|user| user.username)
            .filter(|name| !name.is_empty());
        name.ok_or_else(|| Error::Unauthorized("it does not say who asks".to_owned()))
    }

    /// The pods of a cluster.
    pub async fn pods(&self, cluster: &StandbyCluster) -> Result<Vec<PodIdentity>> {
        let namespace = cluster.namespace().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let label = format!("{}={}", names::LABEL_CLUSTER, cluster.name_any());
        let parameters = ListParams::default().labels(&label);
        let asks = Asks::new("list", "pods", Some(&namespace));
        let pods = within(limits::API_CALL_MS, asks, api.list(&parameters)).await?;
        Ok(pods
            .items
            .iter()
            .filter_map(|pod| {
                Some(PodIdentity {
                    name: pod.name_any(),
                    uid: pod.uid()?,
                })
            })
            .collect())
    }

    /// The operators by their leases; none: they may not be looked at. A status is worth showing
    /// without.
    pub async fn operators(&self, now: Timestamp) -> Option<Vec<OperatorDocument>> {
        let api: Api<Lease> = Api::all(self.client.clone());
        let parameters = ListParams::default().fields(&format!("metadata.name={OPERATOR_LEASE}"));
        let asks = Asks::new("list", "leases.coordination.k8s.io", None);
        let leases = within(limits::API_CALL_MS, asks, api.list(&parameters)).await;
        let leases = leases.ok()?;
        Some(
            leases
                .items
                .iter()
                .map(|lease| operator(lease, now))
                .collect(),
        )
    }

    /// Any object or list, by its path.
    pub(crate) async fn raw<T: DeserializeOwned + Debug>(
        &self,
        asks: Asks,
        path: &str,
    ) -> Result<T> {
        let call = async {
            let request = request(path)?;
            self.client.request::<T>(request).await
        };
        within(limits::API_CALL_MS, asks, call).await
    }

    /// Any text, by its path.
    pub(crate) async fn text(&self, asks: Asks, path: &str) -> Result<String> {
        let call = async {
            let request = request(path)?;
            self.client.request_text(request).await
        };
        within(limits::LOG_CALL_MS, asks, call).await
    }
}

fn request(path: &str) -> kube::Result<http::Request<Vec<u8>>> {
    http::Request::get(path)
        .body(Vec::new())
        .map_err(kube::Error::HttpError)
}

fn operator(lease: &Lease, now: Timestamp) -> OperatorDocument {
    let spec = lease.spec.as_ref();
    let holder = spec
        .and_then(|spec| spec.holder_identity.clone())
        .filter(|holder| !holder.is_empty());
    let renewed = spec
        .and_then(|spec| spec.renew_time.as_ref())
        .map(|time| time.0);
    let fresh = renewed.is_some_and(|then| {
        now.duration_since(then).as_millis() < i128::from(limits::OPERATOR_SILENT_MS)
    });
    OperatorDocument {
        namespace: lease.namespace().unwrap_or_default(),
        leads: holder.is_some() && fresh,
        holder,
        renewed,
    }
}

pub(crate) fn full_name(cluster: &StandbyCluster) -> String {
    format!(
        "{}/{}",
        cluster.namespace().unwrap_or_default(),
        cluster.name_any()
    )
}
