//! Scheduler, volume controller and kubelets of a measurement, as far as the operator sees them: they
//! bind pods and claims, say that containers run or have ended, and start the simulated nodes in them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use serde_json::json;
use standby_api::names;
use standby_fleet::command::{Command, Member, Name};
use tokio::time::sleep;

use super::fleet::Fleet;
use crate::cluster::layout::Layout;
use crate::error::{Error, Result};
use crate::product::NODE_CONTAINER;

/// The simulated hosts.
pub const HOSTS: usize = 12;
/// How many pods are started at once.
const AT_ONCE: usize = 8;
/// From the death of a container to the start of the next, as with a kubelet that has no reason to wait.
const RESTART: Duration = Duration::from_secs(1);
/// Where a node serves the operator.
const CONTROL_PORT: u16 = 2381;

/// A pod: its namespace and its name.
pub type PodKey = (String, String);

/// Who binds and runs pods.
pub struct Kubelet {
    client: Client,
    layout: Layout,
    fleet: Arc<Fleet>,
    /// Every pod that was started, with how often its container ended.
    pods: Mutex<HashMap<PodKey, Running>>,
}

#[derive(Clone)]
struct Running {
    number: usize,
    restarts: u32,
}

impl Running {
    fn container(&self, restarts: u32) -> String {
        format!("containerd://{:060x}{restarts:04x}", self.number)
    }
}

/// The name of a simulated host.
pub fn host(number: usize) -> String {
    format!("host-{}", number % HOSTS)
}

impl Kubelet {
    /// Begins with nothing.
    pub fn new(client: Client, layout: Layout, fleet: Arc<Fleet>) -> Self {
        Self {
            client,
            layout,
            fleet,
            pods: Mutex::default(),
        }
    }

    /// Starts every pod that appears. Ends only with an error.
    pub async fn run(&self) -> Result<()> {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let config = watcher::Config::default().labels(names::LABEL_CLUSTER);
        let new = watcher(pods, config).filter_map(async |event| match event {
            Ok(Event::Apply(pod) | Event::InitApply(pod)) => self.admit(pod).transpose(),
            // The watcher itself tries again.
            Ok(_) | Err(_) => None,
        });
        let mut started = std::pin::pin!(
            new.map(|admitted| async {
                let (pod, running) = admitted?;
                self.start(&pod, &running).await
            })
            .buffer_unordered(AT_ONCE)
        );
        while let Some(done) = started.next().await {
            done?;
        }
        Err(Error::Wrong("the watch of pods ended".to_owned()))
    }

    /// Takes a pod that nobody has yet.
    fn admit(&self, pod: Pod) -> Result<Option<(Pod, Running)>> {
        if pod
            .spec
            .as_ref()
            .is_some_and(|spec| spec.node_name.is_some())
        {
            return Ok(None);
        }
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let number = pods.len();
        let key = key_of(&pod);
        if pods.contains_key(&key) {
            return Ok(None);
        }
        if self.layout.simulated_address(number).is_none() {
            return Err(Error::Wrong("no address is left for pods".to_owned()));
        }
        let running = Running {
            number,
            restarts: 0,
        };
        pods.insert(key, running.clone());
        Ok(Some((pod, running)))
    }

    async fn start(&self, pod: &Pod, running: &Running) -> Result<()> {
        let (namespace, name) = key_of(pod);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": host(running.number)},
        });
        let _: serde_json::Value = pods
            .create_subresource("binding", &name, &PostParams::default(), &binding)
            .await?;
        self.bind_claim(&namespace, &name).await?;
        self.fleet
            .tell(&Command::Add(Box::new(self.member(pod, running).await?)))
            .await?;
        self.say(&namespace, &name, running).await
    }

    async fn bind_claim(&self, namespace: &str, name: &str) -> Result<()> {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let volume = json!({"spec": {"volumeName": format!("volume-{namespace}-{name}")}});
        let merge = PatchParams::default();
        claims.patch(name, &merge, &Patch::Merge(&volume)).await?;
        let bound = json!({"status": {
            "phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
        }});
        claims
            .patch_status(name, &merge, &Patch::Merge(&bound))
            .await?;
        Ok(())
    }

    async fn member(&self, pod: &Pod, running: &Running) -> Result<Member> {
        let (namespace, name) = key_of(pod);
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &namespace);
        let secret = secrets.get(&format!("{name}-tls")).await?;
        let data = secret.data.unwrap_or_default();
        let text = |key: &str| {
            let bytes = data.get(key);
            bytes
                .map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned())
                .ok_or_else(|| Error::Wrong(format!("the Secret of {name} has no {key}")))
        };
        let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice());
        let arguments = containers.and_then(|all| all.first()?.args.clone());
        let cluster_id = arguments
            .unwrap_or_default()
            .iter()
            .find_map(|argument| argument.strip_prefix("--cluster-id=").map(String::from));
        Ok(Member {
            name: name_of(
                &(namespace, name.clone()),
                pod.labels().get(names::LABEL_CLUSTER),
            ),
            cluster_id: cluster_id
                .ok_or_else(|| Error::Wrong(format!("the pod {name} names no cluster")))?,
            volume: format!("{:016x}", running.number + 1),
            address: SocketAddr::new(self.address(running)?.into(), CONTROL_PORT),
            certificate: text("tls.crt")?,
            key: text("tls.key")?,
            authority: text("ca.crt")?,
        })
    }

    fn address(&self, running: &Running) -> Result<std::net::Ipv4Addr> {
        let address = self.layout.simulated_address(running.number);
        address.ok_or_else(|| Error::Wrong("no address is left for pods".to_owned()))
    }

    /// Says that the pod's container runs, and how the one before ended.
    async fn say(&self, namespace: &str, name: &str, running: &Running) -> Result<()> {
        let address = self.address(running)?;
        let now = jiff::Timestamp::now().round(jiff::Unit::Second);
        let now = now.map_err(|error| Error::Wrong(error.to_string()))?;
        let last = running.restarts.checked_sub(1).map_or(json!({}), |before| {
            json!({"terminated": {
                "exitCode": 137, "reason": "Error", "finishedAt": now,
                "containerID": running.container(before),
            }})
        });
        let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"]
            .map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": now}));
        let status = json!({"status": {
            "phase": "Running",
            "hostIP": "10.0.0.1",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": now,
            "conditions": conditions,
            "containerStatuses": [{
                "name": NODE_CONTAINER, "image": "simulated", "imageID": "simulated",
                "ready": true, "started": true, "restartCount": running.restarts,
                "containerID": running.container(running.restarts),
                "state": {"running": {"startedAt": now}},
                "lastState": last,
            }],
        }});
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        pods.patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
            .await
            .map(drop)
            .map_err(Error::from)
    }

    /// Kills the containers of those pods, each with its cluster, all at once; starts them again after a
    /// second, and returns when that is done.
    pub async fn crash(&self, pods: &[(PodKey, String)]) -> Result<()> {
        let names: Vec<Name> = pods
            .iter()
            .map(|(pod, cluster)| name_of(pod, Some(cluster)))
            .collect();
        self.fleet.tell(&Command::Kill(names.clone())).await?;
        sleep(RESTART).await;
        let said = pods.iter().map(|((namespace, name), _)| async move {
            let running = self.count_restart(namespace, name)?;
            self.say(namespace, name, &running).await
        });
        try_join_all(said).await?;
        self.fleet.tell(&Command::Start(names)).await
    }

    fn count_restart(&self, namespace: &str, name: &str) -> Result<Running> {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let running = pods.get_mut(&(namespace.to_owned(), name.to_owned()));
        let running = running.ok_or_else(|| Error::Wrong(format!("{name} was never started")))?;
        running.restarts += 1;
        Ok(running.clone())
    }
}

fn key_of(pod: &Pod) -> PodKey {
    (pod.namespace().unwrap_or_default(), pod.name_any())
}

fn name_of((namespace, pod): &PodKey, cluster: Option<&String>) -> Name {
    Name {
        cluster: format!("{namespace}/{}", cluster.map_or("", String::as_str)),
        pod: pod.clone(),
    }
}
