//! The product on the local Kubernetes: the operator by its chart, one `StandbyCluster`, and what a
//! test wants to know about it. It asks only what a user could ask.

mod operators;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use standby_api::{FailoverStatus, NodeStatus, StandbyCluster, StandbyClusterStatus, names};

use crate::cluster::Cluster;
use crate::command::until;
use crate::error::{Error, Result};
use crate::faults;
use crate::limits::{CLUSTER_READY_TIMEOUT, FAILOVER_TIMEOUT};
use crate::workload::{Target, Tls};

pub use operators::{
    install, is_ready, leading_operator, one_operator_on, operator_deployment, operator_pods,
    scale_operator,
};

/// The namespace of the operator.
pub const OPERATOR_NAMESPACE: &str = "standby-system";
/// The name of the Helm release.
pub const RELEASE: &str = "standby";
/// The container of a storage node's pod.
pub const NODE_CONTAINER: &str = "node";
/// The container of an operator's pod.
pub const OPERATOR_CONTAINER: &str = "operator";
/// Where a node serves clients.
const CLIENT_PORT: u16 = 2379;

/// One `StandbyCluster` on the local Kubernetes.
pub struct Product<'a> {
    /// The local Kubernetes.
    pub cluster: &'a Cluster,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl<'a> Product<'a> {
    /// Applies a `StandbyCluster` of three nodes and waits until it is Ready.
    pub async fn create(cluster: &'a Cluster, namespace: &str, name: &str) -> Result<Self> {
        Self::apply(cluster, namespace, &sample(name)).await
    }

    /// Applies that `StandbyCluster` and waits until it is Ready.
    pub async fn apply(cluster: &'a Cluster, namespace: &str, text: &str) -> Result<Self> {
        let object: serde_yaml::Value = serde_yaml::from_str(text)?;
        let name = object["metadata"]["name"].as_str();
        let name = name.ok_or_else(|| Error::Wrong("metadata.name is missing".to_owned()))?;
        let product = Self {
            cluster,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let stamped = text.replacen(
            "metadata:",
            &format!("metadata:\n  namespace: {namespace}"),
            1,
        );
        cluster.api.apply_text(&stamped).await?;
        product.ready(CLUSTER_READY_TIMEOUT).await?;
        Ok(product)
    }

    fn client(&self) -> Client {
        self.cluster.api.client.clone()
    }

    /// The resource.
    pub fn resource(&self) -> Api<StandbyCluster> {
        Api::namespaced(self.client(), &self.namespace)
    }

    /// Its status.
    pub async fn status(&self) -> Result<StandbyClusterStatus> {
        Ok(self
            .resource()
            .get(&self.name)
            .await?
            .status
            .unwrap_or_default())
    }

    /// Waits until its status is as `look` wants it; `look` says what is missing.
    pub async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        look: impl Fn(&StandbyClusterStatus) -> std::result::Result<T, String>,
    ) -> Result<T> {
        until(
            &format!("{}/{}: {what}", self.namespace, self.name),
            limit,
            async || look(&self.status().await.map_err(|error| error.to_string())?),
        )
        .await
    }

    /// Waits until it is Ready, and safe, for what is asked for now.
    pub async fn ready(&self, limit: Duration) -> Result<()> {
        let resource = self.resource();
        until(&format!("{} to be Ready", self.name), limit, async || {
            let object = resource
                .get(&self.name)
                .await
                .map_err(|error| error.to_string())?;
            let status = object.status.unwrap_or_default();
            if status.observed_generation != object.metadata.generation {
                return Err("the operator has not looked at it yet".to_owned());
            }
            condition(&status, "Ready").and_then(|()| condition(&status, "Safe"))
        })
        .await
    }

    /// Orders a switchover in the view of `epoch`, to a node or to [`names::SWITCHOVER_ANY`].
    pub async fn order_switchover(&self, to: &str, epoch: i64) -> Result<()> {
        self.order(names::ANNOTATION_SWITCHOVER, &format!("{to}@{epoch}"))
            .await
    }

    /// Gives an order by an annotation; an empty value takes it back.
    pub async fn order(&self, annotation: &str, value: &str) -> Result<()> {
        let set = if value.is_empty() {
            format!("{annotation}-")
        } else {
            format!("{annotation}={value}")
        };
        let resource = format!("standbycluster/{}", self.name);
        let words = [
            "annotate",
            "--overwrite",
            &resource,
            &set,
            "-n",
            &self.namespace,
        ];
        self.cluster.api.kubectl(&words).await.map(drop)
    }

    /// Changes its specification: a JSON merge patch below `spec`.
    pub async fn change(&self, spec: &serde_json::Value) -> Result<()> {
        let patch = serde_json::json!({ "spec": spec }).to_string();
        let resource = format!("standbycluster/{}", self.name);
        let words = [
            "patch",
            &resource,
            "--type=merge",
            "-p",
            &patch,
            "-n",
            &self.namespace,
        ];
        self.cluster.api.kubectl(&words).await.map(drop)
    }

    /// The pod of that name.
    pub async fn pod(&self, name: &str) -> Result<Pod> {
        self.cluster
            .api
            .objects(&self.namespace)
            .get(name)
            .await
            .map_err(Error::from)
    }

    /// The pod of the primary.
    pub async fn primary(&self) -> Result<Pod> {
        let name = self.status().await?.primary;
        self.pod(&name.ok_or_else(|| Error::Wrong("there is no primary".to_owned()))?)
            .await
    }

    /// One pod is called primary, and the read-write Service leads to it alone; waits until it is so.
    pub async fn one_primary(&self) -> Result<()> {
        let pods: Api<Pod> = self.cluster.api.objects(&self.namespace);
        let slices: Api<EndpointSlice> = self.cluster.api.objects(&self.namespace);
        let cluster = format!("{}={}", names::LABEL_CLUSTER, self.name);
        let called = format!("{cluster},{}=primary", names::LABEL_ROLE);
        let service = format!("kubernetes.io/service-name={}-rw", self.name);
        until("one primary", FAILOVER_TIMEOUT, async || {
            let wanted = self
                .status()
                .await
                .map_err(|error| error.to_string())?
                .primary;
            let called = pods.list(&ListParams::default().labels(&called)).await;
            let called = called.map_err(|error| error.to_string())?.items;
            let slices = slices.list(&ListParams::default().labels(&service)).await;
            let slices = slices.map_err(|error| error.to_string())?.items;
            let addresses: Vec<String> = slices
                .into_iter()
                .flat_map(|slice| slice.endpoints)
                .filter(|end| end.conditions.as_ref().and_then(|it| it.ready) != Some(false))
                .flat_map(|end| end.addresses)
                .collect();
            match called.as_slice() {
                [one]
                    if Some(one.name_any()) == wanted
                        && addresses == [faults::pod_address(one).unwrap_or_default()] =>
                {
                    Ok(())
                }
                several => Err(format!(
                    "{:?} are called primary, {wanted:?} is, -rw leads to {addresses:?}",
                    several
                        .iter()
                        .map(ResourceExt::name_any)
                        .collect::<Vec<_>>()
                )),
            }
        })
        .await
    }

    /// The pod of the synchronous standby.
    pub async fn standby(&self) -> Result<Pod> {
        let names = self.status().await?.synchronous;
        let name = names.first();
        self.pod(name.ok_or_else(|| Error::Wrong("there is no standby".to_owned()))?)
            .await
    }

    /// The pod of a node that is neither primary nor synchronous.
    pub async fn replica(&self) -> Result<Pod> {
        let status = self.status().await?;
        let apart = |node: &&NodeStatus| {
            Some(&node.name) != status.primary.as_ref() && !status.synchronous.contains(&node.name)
        };
        let name = status
            .nodes
            .iter()
            .find(apart)
            .map(|node| node.name.clone());
        self.pod(&name.ok_or_else(|| Error::Wrong("there is no replica".to_owned()))?)
            .await
    }

    /// The volume claim of a node; it has the pod's name.
    pub async fn claim(&self, pod: &Pod) -> Result<PersistentVolumeClaim> {
        let name = pod.name_any();
        self.cluster
            .api
            .objects(&self.namespace)
            .get(&name)
            .await
            .map_err(Error::from)
    }

    /// The read-write Service, with the certificates that applications use.
    pub async fn target(&self) -> Result<Target> {
        self.target_of("rw").await
    }

    /// One of its Services: `rw`, `ro` or `r`.
    pub async fn target_of(&self, kind: &str) -> Result<Target> {
        let name = format!("{}-{kind}", self.name);
        let service: Service = self.cluster.api.objects(&self.namespace).get(&name).await?;
        let address = service.spec.and_then(|spec| spec.cluster_ip);
        let address = address.ok_or_else(|| Error::Wrong(format!("{name} has no address")))?;
        let tls = self
            .certificates(&format!("{name}.{}.svc", self.namespace))
            .await?;
        Ok(Target {
            endpoints: vec![format!("https://{address}:{CLIENT_PORT}")],
            tls: Some(tls),
        })
    }

    async fn certificates(&self, server_name: &str) -> Result<Tls> {
        self.detached().certificates(server_name).await
    }

    /// The client ports of all nodes that have an address, by the names of their pods.
    pub async fn targets_of_pods(&self) -> Result<BTreeMap<String, Target>> {
        self.detached().targets_of_pods().await
    }

    /// What a task of its own needs to look the nodes up.
    pub fn detached(&self) -> Detached {
        Detached {
            client: self.client(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    /// Waits for a finished failover with an epoch above `epoch`.
    pub async fn failover_after(&self, epoch: i64) -> Result<FailoverStatus> {
        self.until("a finished failover", FAILOVER_TIMEOUT, |status| {
            let newest = status
                .failovers
                .iter()
                .find(|failover| failover.epoch > epoch);
            match newest {
                Some(failover) if failover.total_ms.is_some() => Ok(failover.clone()),
                Some(failover) => Err(format!("under way: {:?}", failover.steps)),
                None => Err(format!("none yet; phase: {:?}", status.phase)),
            }
        })
        .await
    }

    /// Waits until a node is healthy and follows, or is, the primary.
    pub async fn healthy(&self, node: &str) -> Result<()> {
        self.until(
            &format!("{node} to be healthy"),
            CLUSTER_READY_TIMEOUT,
            |status| match status.nodes.iter().find(|row| row.name == node) {
                Some(row) if row.healthy => Ok(()),
                Some(row) => Err(row.reason.clone()),
                None => Err("it has no row in the status".to_owned()),
            },
        )
        .await
    }
}

/// One `StandbyCluster` by its names, for looking up where its nodes are.
#[derive(Clone)]
pub struct Detached {
    client: Client,
    namespace: String,
    name: String,
}

impl Detached {
    /// The client ports of all nodes that have an address, by the names of their pods.
    pub async fn targets_of_pods(&self) -> Result<BTreeMap<String, Target>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let of = format!("{}={}", names::LABEL_CLUSTER, self.name);
        let list = pods.list(&ListParams::default().labels(&of)).await?;
        let mut found = BTreeMap::new();
        for pod in list.items {
            if let Ok(address) = faults::pod_address(&pod) {
                let target = Target {
                    endpoints: vec![format!("https://{address}:{CLIENT_PORT}")],
                    tls: Some(self.certificates(&pod.name_any()).await?),
                };
                found.insert(pod.name_any(), target);
            }
        }
        Ok(found)
    }

    async fn certificates(&self, server_name: &str) -> Result<Tls> {
        let name = format!("{}-client-tls", self.name);
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let secret = secrets.get(&name).await?;
        let data = secret.data.unwrap_or_default();
        let text = |key: &str| {
            let bytes = data
                .get(key)
                .map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned());
            bytes.ok_or_else(|| Error::Wrong(format!("the Secret {name} has no {key}")))
        };
        Ok(Tls {
            authority: text("ca.crt")?,
            certificate: text("tls.crt")?,
            key: text("tls.key")?,
            server_name: server_name.to_owned(),
        })
    }
}

/// The smallest useful `StandbyCluster`.
pub fn sample(name: &str) -> String {
    format!(
        "apiVersion: standby.dev/v1alpha1\n\
         kind: StandbyCluster\n\
         metadata:\n  name: {name}\n\
         spec:\n  instances: 3\n  storage:\n    size: 1Gi\n"
    )
}

/// The same for fault after fault: by default the sixth failover on suspicion within ten minutes is held
/// back, which is not what is measured then.
pub fn tireless_sample(name: &str) -> String {
    sample(name) + "  failover:\n    limit:\n      withinMs: 1000\n"
}

fn condition(status: &StandbyClusterStatus, kind: &str) -> std::result::Result<(), String> {
    match status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind)
    {
        Some(condition) if condition.status == "True" => Ok(()),
        Some(condition) => Err(format!(
            "{kind}: {} ({})",
            condition.reason, condition.message
        )),
        None => Err(format!("there is no condition {kind}")),
    }
}
