//! The ways a test talks to Kubernetes: a typed client, `kubectl` and `helm` with the right
//! kubeconfig, waits with a limit, and a namespace that cleans up after itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, Pod};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::process::Command;

use crate::cluster::layout::Layout;
use crate::command::{self, until};
use crate::error::{Error, Result};
use crate::limits::{API_CALL_TIMEOUT, COMMAND_TIMEOUT, LOG_TAIL_LINES, NAMESPACE_GONE_TIMEOUT};
use crate::parts::Programs;

/// A connection to the API server of a local cluster.
#[derive(Clone)]
pub struct Kubernetes {
    /// The typed client.
    pub client: Client,
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    helm: PathBuf,
}

impl Kubernetes {
    /// Prepares a connection; nothing is sent yet.
    pub async fn connect(layout: Layout, programs: &Programs) -> Result<Self> {
        // Two TLS providers may be linked in; the process must say which one it means.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let kubeconfig = layout.kubeconfig();
        let read = Kubeconfig::read_from(&kubeconfig)?;
        let mut config =
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        config.connect_timeout = Some(Duration::from_secs(3));
        config.read_timeout = Some(API_CALL_TIMEOUT);
        Ok(Self {
            client: Client::try_from(config)?,
            kubeconfig,
            kubectl: programs.path("kubectl"),
            helm: programs.path("helm"),
        })
    }

    /// Whether the API server says that it is ready.
    pub async fn is_ready(&self) -> Result<()> {
        let request = http_get("/readyz");
        self.client
            .request_text(request)
            .await
            .map(drop)
            .map_err(Error::from)
    }

    /// All objects of a kind in a namespace.
    pub fn objects<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Runs `kubectl` and returns what it printed.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.kubectl);
        command
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments);
        command::output(command, COMMAND_TIMEOUT * 5).await
    }

    /// How often the status of a `StandbyCluster` was written since the API server started, as it counts.
    pub async fn status_writes(&self) -> Result<u64> {
        let text = self.kubectl(&["get", "--raw", "/metrics"]).await?;
        let of_status = |line: &&str| {
            line.starts_with("apiserver_request_total{")
                && line.contains(r#"resource="standbyclusters""#)
                && line.contains(r#"subresource="status""#)
        };
        let counts = text.lines().filter(of_status);
        let counts = counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        Ok(counts.sum())
    }

    /// Runs `helm` and returns what it printed.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.helm);
        command.args(arguments).env("KUBECONFIG", &self.kubeconfig);
        // Nothing of the person's own helm setup, and nothing left in it.
        let home = self.kubeconfig.with_file_name("helm");
        command
            .env("HELM_CACHE_HOME", &home)
            .env("HELM_CONFIG_HOME", &home);
        command.env("HELM_DATA_HOME", &home);
        command::output(command, COMMAND_TIMEOUT * 5).await
    }

    /// Applies YAML documents (server-side).
    pub async fn apply_text(&self, text: &str) -> Result<String> {
        let name = format!("apply-{}-{}.yaml", std::process::id(), text.len());
        let file = self.kubeconfig.with_file_name(name);
        std::fs::write(&file, text).map_err(Error::file("write", &file))?;
        let shown = file.to_string_lossy();
        let answer = self
            .kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &shown])
            .await;
        std::fs::remove_file(&file).map_err(Error::file("remove", &file))?;
        answer
    }

    /// Whether that many nodes are Ready; else what is seen instead.
    pub async fn nodes_ready(&self, count: usize) -> std::result::Result<(), String> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let list = nodes
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        let ready: Vec<String> = list
            .items
            .iter()
            .filter(|node| node_is_ready(node))
            .map(ResourceExt::name_any)
            .collect();
        if ready.len() == count {
            Ok(())
        } else {
            Err(format!(
                "{} of {} nodes Ready: {}",
                ready.len(),
                count,
                ready.join(", ")
            ))
        }
    }

    /// Waits until all replicas of a Deployment are ready.
    pub async fn deployment_ready(
        &self,
        namespace: &str,
        name: &str,
        limit: Duration,
    ) -> Result<()> {
        let api: Api<Deployment> = self.objects(namespace);
        until(
            &format!("deployment {name} to be ready"),
            limit,
            async || {
                let deployment = api.get(name).await.map_err(|error| error.to_string())?;
                let wanted = deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1);
                let status = deployment.status.unwrap_or_default();
                let fresh = status.observed_generation == deployment.metadata.generation;
                match status.ready_replicas.unwrap_or(0) {
                    ready if fresh && ready == wanted => Ok(()),
                    ready => Err(format!("{ready} of {wanted} replicas are ready")),
                }
            },
        )
        .await
    }

    /// Waits until an object is as `look` wants it; `look` says what is missing.
    pub async fn wait_for<K, T>(
        &self,
        what: &str,
        (namespace, name): (&str, &str),
        limit: Duration,
        look: impl Fn(&K) -> std::result::Result<T, String>,
    ) -> Result<T>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let api: Api<K> = self.objects(namespace);
        until(what, limit, async || {
            let found = api.get_opt(name).await.map_err(|error| error.to_string())?;
            look(&found.ok_or_else(|| format!("{name} is not there"))?)
        })
        .await
    }

    /// Makes a namespace for one test; removes first what a killed run left of it.
    pub async fn namespace(&self, name: &str) -> Result<TestNamespace> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        if api.get_opt(name).await?.is_some() {
            let left = TestNamespace {
                api: self.clone(),
                name: name.to_owned(),
            };
            left.remove().await?;
        }
        let object = Namespace {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        api.create(&PostParams::default(), &object).await?;
        Ok(TestNamespace {
            api: self.clone(),
            name: name.to_owned(),
        })
    }

    /// The volumes that belong to claims of a namespace.
    pub async fn volumes_of(&self, namespace: &str) -> Result<Vec<PersistentVolume>> {
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        let list = api.list(&ListParams::default()).await?;
        let of = |volume: &PersistentVolume| {
            let claim = volume
                .spec
                .as_ref()
                .and_then(|spec| spec.claim_ref.as_ref());
            claim.and_then(|claim| claim.namespace.as_deref()) == Some(namespace)
        };
        Ok(list.items.into_iter().filter(of).collect())
    }

    /// What a person would look at after a failure: pods, events, and the end of every log.
    pub async fn story_of(&self, namespace: &str) -> String {
        let mut story = Vec::new();
        let wide = [
            "get",
            "pods,services,persistentvolumeclaims,standbyclusters,standbyviews",
        ];
        let lines = format!("--tail={LOG_TAIL_LINES}");
        let mut commands = vec![
            [&wide[..], &["-o", "wide", "-n", namespace]].concat(),
            vec!["get", "standbyclusters", "-o", "yaml", "-n", namespace],
            vec!["get", "events", "--sort-by=.lastTimestamp", "-n", namespace],
        ];
        let pods: Api<Pod> = self.objects(namespace);
        let names: Vec<String> = match pods.list(&ListParams::default()).await {
            Ok(list) => list.items.iter().map(ResourceExt::name_any).collect(),
            Err(error) => return format!("cannot look: {error}"),
        };
        for name in &names {
            let log = [
                "logs",
                name,
                "--all-containers",
                "--prefix",
                lines.as_str(),
                "-n",
            ];
            commands.push([&log[..], &[namespace]].concat());
            commands.push([&log[..], &[namespace, "--previous"]].concat());
        }
        for command in commands {
            let Ok(text) = self.kubectl(&command).await else {
                continue;
            };
            story.push(format!("$ kubectl {}\n{text}", command.join(" ")));
        }
        story.join("\n")
    }
}

fn http_get(path: &str) -> http::Request<Vec<u8>> {
    http::Request::get(path)
        .body(Vec::new())
        .expect("the path is a constant")
}

fn node_is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| {
        all.iter()
            .any(|it| it.type_ == "Ready" && it.status == "True")
    })
}

/// A namespace of one test. Call [`TestNamespace::remove`] at its end.
pub struct TestNamespace {
    api: Kubernetes,
    /// Its name.
    pub name: String,
}

impl TestNamespace {
    /// Deletes it with everything in it and waits until that, and its volumes, are gone.
    pub async fn remove(self) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.api.client.clone());
        let deleted = namespaces
            .delete(&self.name, &DeleteParams::default())
            .await;
        if deleted.as_ref().is_err_and(|error| !is_not_found(error)) {
            deleted?;
        }
        until(
            &format!("namespace {} to go", self.name),
            NAMESPACE_GONE_TIMEOUT,
            async || {
                match namespaces.get_opt(&self.name).await {
                    Ok(None) => {}
                    Ok(Some(left)) => return Err(why_left(&left)),
                    Err(error) => return Err(error.to_string()),
                }
                match self.api.volumes_of(&self.name).await {
                    Ok(left) if left.is_empty() => Ok(()),
                    Ok(left) => Err(format!("{} volumes are left", left.len())),
                    Err(error) => Err(error.to_string()),
                }
            },
        )
        .await
    }
}

fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// What Kubernetes says about a namespace that does not go.
fn why_left(namespace: &Namespace) -> String {
    let conditions = namespace
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone());
    let texts = conditions
        .unwrap_or_default()
        .into_iter()
        .filter_map(|one| one.message);
    texts.collect::<Vec<_>>().join("; ")
}

/// The last lines of a file, or why it cannot be read.
pub fn tail(file: &Path) -> String {
    match std::fs::read_to_string(file) {
        Ok(text) => {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
        }
        Err(error) => format!("{}: {error}", file.display()),
    }
}
