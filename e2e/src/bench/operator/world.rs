//! Everything around the operator under measurement: a control plane without hosts, simulated hosts and
//! nodes, the chart's rights, and the operator's own process.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Node, ServiceAccount};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use standby_api::StandbyCluster;
use tokio::process::{Child, Command};
use tokio::time::Duration;

use super::fleet::Fleet;
use super::kubelet::{HOSTS, Kubelet, host};
use crate::cluster::alone::ControlPlane;
use crate::cluster::control_plane::Program;
use crate::command::until;
use crate::error::{Error, Result};
use crate::images;
use crate::kubernetes::tail;
use crate::parts::repository;
use crate::product::{OPERATOR_NAMESPACE, RELEASE, sample};
use crate::progress::{Progress, Step};

/// Nodes of each cluster.
pub const INSTANCES: usize = 3;
/// Clusters of one namespace.
const CLUSTERS_PER_NAMESPACE: usize = 50;
/// How many clusters are made at once.
const AT_ONCE: usize = 16;
/// How long one cluster after another may take to become Ready, and all of them at least.
const READY_TIMEOUT_EACH: Duration = Duration::from_secs(3);
const READY_TIMEOUT_LEAST: Duration = Duration::from_mins(2);
/// How long the operator may take from its start to readiness.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// Looking at a thousand clusters takes time itself.
const READY_LOOK_EVERY: Duration = Duration::from_secs(2);
/// Where the operator serves its metrics.
const LISTEN: &str = "127.0.0.1:18098";

/// Everything around the operator, and itself.
pub struct World {
    /// The control plane.
    pub control: ControlPlane,
    /// The simulated nodes.
    pub fleet: Arc<Fleet>,
    /// Who starts them.
    pub kubelet: Arc<Kubelet>,
    /// The operator's name at the API server.
    pub user: String,
    operator: Child,
    log: PathBuf,
}

/// Something about each process under measurement.
pub struct ProcessNames<T> {
    /// The operator.
    pub operator: T,
    /// The API server.
    pub api_server: T,
    /// Its etcd.
    pub etcd: T,
    /// The simulated nodes.
    pub simulated_nodes: T,
}

impl<T> ProcessNames<T> {
    /// The same of each.
    pub fn map<U>(self, of: impl Fn(T) -> Result<U>) -> Result<ProcessNames<U>> {
        Ok(ProcessNames {
            operator: of(self.operator)?,
            api_server: of(self.api_server)?,
            etcd: of(self.etcd)?,
            simulated_nodes: of(self.simulated_nodes)?,
        })
    }
}

impl World {
    /// Makes all of it; there is no cluster yet.
    pub async fn make(number: u8, progress: &Progress) -> Result<Self> {
        let binaries = ["standby-operator", "standby-fleet"];
        images::compile(&binaries, &binaries, progress).await?;
        let control = ControlPlane::up(number, progress).await?;
        let step = progress.step("installing the chart's rights and starting the operator");
        install(&control).await?;
        hosts(&control).await?;
        let account = operator_account(&control).await?;
        let kubeconfig = control.kubeconfig_of(OPERATOR_NAMESPACE, &account).await?;
        let log = control.layout.control().join("operator.log");
        let operator = start(&images::compiled("standby-operator"), &kubeconfig, &log)?;
        let fleet = Arc::new(Fleet::start(&images::compiled("standby-fleet"))?);
        let kubelet = Kubelet::new(control.api.client.clone(), control.layout, fleet.clone());
        let world = Self {
            user: format!("system:serviceaccount:{OPERATOR_NAMESPACE}:{account}"),
            kubelet: Arc::new(kubelet),
            control,
            fleet,
            operator,
            log,
        };
        world.serving().await?;
        step.done();
        Ok(world)
    }

    /// Removes all of it.
    pub async fn down(mut self) -> Result<()> {
        self.operator
            .kill()
            .await
            .map_err(Error::file("end", "standby-operator"))?;
        self.control.down().await
    }

    /// The administrator's client.
    pub fn client(&self) -> Client {
        self.control.api.client.clone()
    }

    /// The processes under measurement.
    pub fn processes(&self) -> Result<ProcessNames<i32>> {
        let layout = self.control.layout;
        let ended = |name: &str| Error::Wrong(format!("{name} has ended"));
        let operator = self.operator.id().and_then(|id| i32::try_from(id).ok());
        Ok(ProcessNames {
            operator: operator.ok_or_else(|| ended("the operator"))?,
            api_server: Program::ApiServer
                .process(layout)
                .ok_or_else(|| ended("the API server"))?,
            etcd: Program::Etcd.process(layout).ok_or_else(|| ended("etcd"))?,
            simulated_nodes: self.fleet.process()?,
        })
    }

    /// An error with the end of the operator's log.
    pub fn explain(&self, error: &Error) -> Error {
        Error::Wrong(format!("{error}\nthe operator's log:\n{}", tail(&self.log)))
    }

    async fn serving(&self) -> Result<()> {
        until("the operator to listen", START_TIMEOUT, async || {
            tokio::net::TcpStream::connect(LISTEN)
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        })
        .await
    }

    /// Makes so many clusters and waits until all are Ready.
    pub async fn create(&self, count: usize, heartbeat_ms: u32, step: &Step) -> Result<()> {
        step.set_length(count as u64);
        for number in 0..count.div_ceil(CLUSTERS_PER_NAMESPACE) {
            let name = namespace(number);
            make_namespace(&self.control, &name).await?;
        }
        stream::iter(0..count)
            .map(|number| async move {
                let object = serde_yaml::from_str(&beating(&format!("db-{number}"), heartbeat_ms))?;
                let clusters: Api<StandbyCluster> = self
                    .control
                    .api
                    .objects(&namespace(number / CLUSTERS_PER_NAMESPACE));
                clusters
                    .create(&PostParams::default(), &object)
                    .await
                    .map(drop)
                    .map_err(Error::from)
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        self.all_ready(count, step).await
    }

    async fn all_ready(&self, count: usize, step: &Step) -> Result<()> {
        let clusters: Api<StandbyCluster> = Api::all(self.client());
        let each = READY_TIMEOUT_EACH * u32::try_from(count).unwrap_or(u32::MAX);
        let mut shown = 0;
        let mut look = tokio::time::interval(READY_LOOK_EVERY);
        let looking = async {
            loop {
                look.tick().await;
                // It ends when it loses its leadership, and waiting would be in vain.
                tokio::net::TcpStream::connect(LISTEN)
                    .await
                    .map_err(|error| Error::Wrong(format!("the operator has ended: {error}")))?;
                let list = clusters.list(&ListParams::default()).await?;
                let ready = list
                    .items
                    .iter()
                    .filter(|cluster| is_ready(cluster))
                    .count();
                step.inc(ready.saturating_sub(shown) as u64);
                shown = shown.max(ready);
                if ready == count {
                    return Ok(());
                }
            }
        };
        let limit = READY_TIMEOUT_LEAST + each;
        let waited = tokio::time::timeout(limit, looking).await;
        waited.unwrap_or_else(|_| {
            Err(Error::Timeout {
                what: format!("{count} clusters to be Ready"),
                waited: limit,
                last: format!("{shown} are"),
            })
        })
    }
}

fn is_ready(cluster: &StandbyCluster) -> bool {
    let conditions = cluster.status.iter().flat_map(|status| &status.conditions);
    conditions
        .filter(|one| one.status == "True")
        .filter(|one| one.type_ == "Ready" || one.type_ == "Safe")
        .count()
        == 2
}

/// A cluster with this interval of heartbeats, and no shorter silence that counts than two of them.
fn beating(name: &str, heartbeat_ms: u32) -> String {
    let silence_ms = (2 * heartbeat_ms).max(1_000);
    sample(name)
        + &format!(
            "  failover:\n    detection:\n      heartbeatIntervalMs: {heartbeat_ms}\n      \
             silenceMinMs: {silence_ms}\n"
        )
}

fn namespace(number: usize) -> String {
    format!("simulated-{number}")
}

/// A namespace with the service account that pods of it get.
async fn make_namespace(control: &ControlPlane, name: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(control.api.client.clone());
    let object = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    namespaces.create(&PostParams::default(), &object).await?;
    control.account(name, "default").await
}

/// Definitions and rights by the chart; its Deployment stays without pods, since nothing makes any.
async fn install(control: &ControlPlane) -> Result<()> {
    let chart = repository().join("charts/standby");
    let chart = chart.to_string_lossy();
    let arguments = [
        "install",
        RELEASE,
        chart.as_ref(),
        "--namespace",
        OPERATOR_NAMESPACE,
        "--create-namespace",
        "--set",
        "image.repository=standby-operator,nodeImage.repository=standby-node",
    ];
    control.api.helm(&arguments).await?;
    let established = "--for=condition=Established";
    let all = ["wait", established, "crd", "--all", "--timeout=60s"];
    control.api.kubectl(&all).await.map(drop)
}

/// The account that the chart made for the operator.
async fn operator_account(control: &ControlPlane) -> Result<String> {
    let accounts: Api<ServiceAccount> = control.api.objects(OPERATOR_NAMESPACE);
    let accounts = accounts.list(&ListParams::default()).await?.items;
    let first = accounts.first().map(ResourceExt::name_any);
    first.ok_or_else(|| Error::Wrong("the chart made no ServiceAccount".to_owned()))
}

/// Ready hosts in three zones.
async fn hosts(control: &ControlPlane) -> Result<()> {
    let nodes: Api<Node> = Api::all(control.api.client.clone());
    for number in 0..HOSTS {
        let zone = format!("zone-{}", number % 3);
        let object = serde_json::from_value(json!({"metadata": {
            "name": host(number),
            "labels": {
                "kubernetes.io/hostname": host(number),
                "topology.kubernetes.io/zone": zone,
            },
        }}))?;
        nodes.create(&PostParams::default(), &object).await?;
        let ready = json!({"status": {"conditions": [{
            "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "simulated",
        }]}});
        nodes
            .patch_status(
                &host(number),
                &PatchParams::default(),
                &Patch::Merge(&ready),
            )
            .await?;
    }
    Ok(())
}

fn start(program: &Path, kubeconfig: &Path, log: &Path) -> Result<Child> {
    let output = std::fs::File::create(log).map_err(Error::file("make", log))?;
    let errors = output.try_clone().map_err(Error::file("open", log))?;
    Command::new(program)
        .args(["--node-image", "simulated", "--identity", "measured"])
        .args(["--lease-namespace", OPERATOR_NAMESPACE, "--listen", LISTEN])
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| Error::Start {
            program: program.display().to_string(),
            source,
        })
}
