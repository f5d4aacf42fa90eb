//! Collects a report: everything about one cluster that may be read, and what may not is named.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};
use standby_api::{StandbyCluster, names};

use super::{Asks, Shell};
use crate::document::{Head, LeftOut, PlanDocument, ReportDocument, StatusDocument, WhyDocument};
use crate::error::{Error, Result};
use crate::limits;
use crate::render::Show;
use crate::report::{Entry, never, pack, redact};

/// What of a Kubernetes node is of use.
const HOST_FIELDS: [&str; 3] = ["unschedulable", "taints", "podCIDR"];

/// What to collect.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// How many lines of each log.
    pub log_lines: i64,
    /// Where the operator is when it cannot be looked for in all namespaces.
    pub operator_namespace: String,
}

/// A report in memory.
pub struct Collected {
    /// The files.
    pub entries: Vec<Entry>,
    /// What could not be had.
    pub left_out: Vec<LeftOut>,
}

/// Collects everything about a cluster, and packs it.
pub async fn report(
    shell: &Shell,
    cluster: &StandbyCluster,
    wanted: &Wanted,
    now: Timestamp,
    file: Option<&Path>,
) -> Result<ReportDocument> {
    let collected = collect(shell, cluster, wanted, now).await;
    let mut left_out = never();
    left_out.extend(collected.left_out);
    let head = Head::of("Report", cluster);
    let stamp = now.strftime("%Y%m%dT%H%M%SZ");
    let folder = format!("standby-report-{}-{}-{stamp}", head.namespace, head.name);
    let mut document = pack::document(head, now, &collected.entries, left_out);
    let bytes = pack::archive(&folder, &document, &collected.entries)?;
    let path = file.map_or_else(|| PathBuf::from(format!("{folder}.zip")), Path::to_path_buf);
    save(&path, &bytes).map_err(|source| Error::File {
        path: path.clone(),
        source,
    })?;
    document.archive = Some(path.display().to_string());
    Ok(document)
}

/// A new file that only its owner can read.
fn save(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

async fn collect(
    shell: &Shell,
    cluster: &StandbyCluster,
    wanted: &Wanted,
    now: Timestamp,
) -> Collected {
    let namespace = cluster.namespace().unwrap_or_default();
    let mut collector = Collector {
        shell,
        cluster: cluster.name_any(),
        namespace,
        log_lines: wanted.log_lines,
        collected: Collected {
            entries: Vec::new(),
            left_out: Vec::new(),
        },
    };
    collector.rendered(cluster, now).await;
    collector.objects().await;
    let pods = collector.pods().await;
    collector.events().await;
    collector.hosts(&pods).await;
    for pod in &pods {
        collector.logs(pod, "nodes").await;
    }
    collector.operator(&wanted.operator_namespace).await;
    collector.versions().await;
    collector.collected
}

struct Collector<'a> {
    shell: &'a Shell,
    cluster: String,
    namespace: String,
    log_lines: i64,
    collected: Collected,
}

impl Collector<'_> {
    fn add(&mut self, file: impl Into<String>, what: impl Into<String>, content: String) {
        self.collected.entries.push(Entry {
            file: file.into(),
            what: what.into(),
            content,
        });
    }

    fn leave(&mut self, what: impl Into<String>, why: &impl ToString) {
        self.collected.left_out.push(LeftOut {
            what: what.into(),
            why: why.to_string(),
        });
    }

    /// Adds an object without its secrets.
    fn object(&mut self, file: &str, what: &str, object: Value) {
        let Some(clean) = redact::object(object) else {
            self.leave(what, &"it is a secret as a whole");
            return;
        };
        match serde_yaml::to_string(&clean) {
            Ok(text) => self.add(file, what, text),
            Err(error) => self.leave(what, &error),
        }
    }

    /// Reads an object or list and adds it; none: it could not be read.
    async fn read(&mut self, resource: &'static str, path: &str, what: &str) -> Option<Value> {
        let verb = if path.contains('?') { "list" } else { "get" };
        let asks = Asks::new(verb, resource, Some(&self.namespace));
        match self.shell.raw::<Value>(asks, path).await {
            Ok(value) => Some(value),
            Err(error) => {
                self.leave(what, &error);
                None
            }
        }
    }

    /// What people would see.
    async fn rendered(&mut self, cluster: &StandbyCluster, now: Timestamp) {
        let operators = self.shell.operators(now).await;
        let status = StatusDocument::new(cluster, operators).show(now);
        self.add("status.txt", "what `status` shows", redact::text(&status));
        let plan = PlanDocument::new(cluster).show(now);
        self.add("plan.txt", "what `plan` shows", redact::text(&plan));
        let why = WhyDocument::new(cluster).show(now);
        self.add("why.txt", "what `why` shows", redact::text(&why));
    }

    async fn objects(&mut self) {
        let (namespace, cluster) = (self.namespace.clone(), self.cluster.clone());
        let own = format!(
            "/apis/{}/{}/namespaces/{namespace}",
            names::GROUP,
            names::VERSION
        );
        let label = label(names::LABEL_CLUSTER, &cluster);
        let listed = |api: &str, kind: &str| {
            format!("/{api}/namespaces/{namespace}/{kind}?labelSelector={label}")
        };
        let wanted = [
            (
                "standbyclusters.standby.dev",
                format!("{own}/standbyclusters/{cluster}"),
                "cluster.yaml",
            ),
            (
                "standbyviews.standby.dev",
                format!("{own}/standbyviews/{cluster}"),
                "view.yaml",
            ),
            (
                "persistentvolumeclaims",
                listed("api/v1", "persistentvolumeclaims"),
                "claims.yaml",
            ),
            ("services", listed("api/v1", "services"), "services.yaml"),
            (
                "endpointslices.discovery.k8s.io",
                listed("apis/discovery.k8s.io/v1", "endpointslices"),
                "endpointslices.yaml",
            ),
            (
                "poddisruptionbudgets.policy",
                listed("apis/policy/v1", "poddisruptionbudgets"),
                "poddisruptionbudgets.yaml",
            ),
            (
                "networkpolicies.networking.k8s.io",
                listed("apis/networking.k8s.io/v1", "networkpolicies"),
                "networkpolicies.yaml",
            ),
        ];
        for (resource, path, file) in wanted {
            if let Some(object) = self.read(resource, &path, resource).await {
                self.object(file, resource, object);
            }
        }
    }

    /// Adds the cluster's pods, and returns them.
    async fn pods(&mut self) -> Vec<Value> {
        let path = format!(
            "/api/v1/namespaces/{}/pods?labelSelector={}",
            self.namespace,
            label(names::LABEL_CLUSTER, &self.cluster)
        );
        let Some(list) = self.read("pods", &path, "pods").await else {
            return Vec::new();
        };
        let pods = items(&list);
        self.object("pods.yaml", "pods", list);
        pods
    }

    /// The Events about the cluster and everything that is named after it.
    async fn events(&mut self) {
        let path = format!("/api/v1/namespaces/{}/events?limit=5000", self.namespace);
        let Some(list) = self.read("events", &path, "events").await else {
            return;
        };
        let about = |event: &Value| {
            let name = event["involvedObject"]["name"].as_str().unwrap_or_default();
            let rest = name.strip_prefix(self.cluster.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let events: Vec<Value> = items(&list).into_iter().filter(about).collect();
        let text = events.iter().map(event_line).collect::<String>();
        self.add("events.txt", "Events, one a line", redact::text(&text));
        self.object("events.yaml", "Events in full", json!({ "items": events }));
    }

    /// The Kubernetes nodes the pods run on: conditions, taints, zones, versions.
    async fn hosts(&mut self, pods: &[Value]) {
        let Some(list) = self
            .read("nodes", "/api/v1/nodes?limit=5000", "nodes")
            .await
        else {
            return;
        };
        let used: Vec<&str> = pods
            .iter()
            .filter_map(|pod| pod["spec"]["nodeName"].as_str())
            .collect();
        let hosts = items(&list).into_iter().filter(|host| {
            let name = host["metadata"]["name"].as_str().unwrap_or_default();
            used.contains(&name)
        });
        let hosts: Vec<Value> = hosts.map(|host| short_host(&host)).collect();
        let what = "the Kubernetes nodes that the pods run on, in short";
        self.object("hosts.yaml", what, json!({ "items": hosts }));
    }

    /// The logs of all containers of a pod, of the present and of the previous process.
    async fn logs(&mut self, pod: &Value, folder: &str) {
        let name = pod["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let namespace = pod["metadata"]["namespace"].as_str();
        let namespace = namespace.unwrap_or(&self.namespace).to_owned();
        for container in pod["status"]["containerStatuses"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let part = container["name"].as_str().unwrap_or_default();
            let restarted = container["restartCount"].as_i64().unwrap_or_default() > 0;
            for previous in [false, true].into_iter().take(1 + usize::from(restarted)) {
                let path = format!(
                    "/api/v1/namespaces/{namespace}/pods/{name}/log?container={part}\
                     &timestamps=true&tailLines={}&limitBytes={}&previous={previous}",
                    self.log_lines,
                    limits::LOG_BYTES,
                );
                let when = if previous { ".previous" } else { "" };
                let file = format!("logs/{folder}/{name}.{part}{when}.log");
                let asks = Asks::new("get", "pods/log", Some(&namespace));
                match self.shell.text(asks, &path).await {
                    Ok(log) => {
                        let what = format!("the last {} lines", self.log_lines);
                        self.add(file, what, redact::text(&log));
                    }
                    Err(error) => self.leave(file, &error),
                }
            }
        }
    }

    /// The operator: its pods, Deployment, lease and logs.
    async fn operator(&mut self, fallback: &str) {
        let selector = format!(
            "{}%2C{}",
            label("app.kubernetes.io/name", names::APP_NAME),
            label("app.kubernetes.io/component", names::COMPONENT_OPERATOR)
        );
        let everywhere = format!("/api/v1/pods?labelSelector={selector}");
        let asks = Asks::new("list", "pods", None);
        let mut pods = self.shell.raw::<Value>(asks, &everywhere).await;
        if pods.is_err() {
            let path = format!("/api/v1/namespaces/{fallback}/pods?labelSelector={selector}");
            let asks = Asks::new("list", "pods", Some(fallback));
            pods = self.shell.raw::<Value>(asks, &path).await;
        }
        let list = match pods {
            Ok(list) => list,
            Err(error) => {
                self.leave("the operator: pods, Deployment, lease, logs", &error);
                return;
            }
        };
        let pods = items(&list);
        self.object("operator/pods.yaml", "pods of the operator", list);
        let mut namespaces: Vec<String> = pods
            .iter()
            .filter_map(|pod| pod["metadata"]["namespace"].as_str().map(String::from))
            .collect();
        namespaces.sort();
        namespaces.dedup();
        if namespaces.is_empty() {
            self.leave("the operator", &"no pod of it was found");
        }
        for namespace in namespaces {
            let wanted = [
                (
                    "deployments.apps",
                    format!(
                        "/apis/apps/v1/namespaces/{namespace}/deployments?labelSelector={selector}"
                    ),
                    "deployment",
                ),
                (
                    "leases.coordination.k8s.io",
                    format!(
                        "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{}",
                        super::OPERATOR_LEASE
                    ),
                    "lease",
                ),
            ];
            for (resource, path, name) in wanted {
                let what = format!("{name} of the operator in {namespace}");
                if let Some(object) = self.read(resource, &path, &what).await {
                    self.object(&format!("operator/{namespace}-{name}.yaml"), &what, object);
                }
            }
        }
        for pod in &pods {
            self.logs(pod, "operator").await;
        }
    }

    /// Versions: Kubernetes, the resource definitions, this plugin.
    async fn versions(&mut self) {
        let kubernetes = self
            .read("version", "/version", "version of Kubernetes")
            .await;
        let mut definitions = Vec::new();
        for name in ["standbyclusters.standby.dev", "standbyviews.standby.dev"] {
            let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
            let what = format!("definition of {name}");
            let resource = "customresourcedefinitions.apiextensions.k8s.io";
            if let Some(found) = self.read(resource, &path, &what).await {
                definitions.push(short_definition(&found));
            }
        }
        let versions = json!({
            "plugin": env!("CARGO_PKG_VERSION"),
            "kubernetes": kubernetes,
            "definitions": definitions,
        });
        let what = "versions of Kubernetes, the definitions and the plugin";
        self.object("versions.yaml", what, versions);
    }
}

fn items(list: &Value) -> Vec<Value> {
    list["items"].as_array().cloned().unwrap_or_default()
}

/// A label and its value, as part of an address.
fn label(name: &str, value: &str) -> String {
    format!("{}%3D{value}", name.replace('/', "%2F"))
}

fn event_line(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").replace('\n', " ");
    let time = [
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["metadata"]["creationTimestamp"],
    ];
    let time = time
        .into_iter()
        .find(|time| time.is_string())
        .unwrap_or(&Value::Null);
    format!(
        "{} {} {} {}/{}: {}\n",
        text(time),
        text(&event["type"]),
        text(&event["reason"]),
        text(&event["involvedObject"]["kind"]),
        text(&event["involvedObject"]["name"]),
        text(&event["message"]),
    )
}

fn short_host(host: &Value) -> Value {
    let mut short = json!({
        "metadata": {"name": host["metadata"]["name"]},
        "spec": {},
        "status": {
            "conditions": host["status"]["conditions"],
            "nodeInfo": host["status"]["nodeInfo"],
            "allocatable": host["status"]["allocatable"],
        },
    });
    for field in HOST_FIELDS {
        if !host["spec"][field].is_null() {
            short["spec"][field] = host["spec"][field].clone();
        }
    }
    let zone = &host["metadata"]["labels"]["topology.kubernetes.io/zone"];
    short["metadata"]["zone"] = zone.clone();
    short
}

fn short_definition(definition: &Value) -> Value {
    let versions = definition["spec"]["versions"].as_array();
    let versions: Vec<&Value> = versions
        .into_iter()
        .flatten()
        .map(|version| &version["name"])
        .collect();
    json!({
        "name": definition["metadata"]["name"],
        "created": definition["metadata"]["creationTimestamp"],
        "generation": definition["metadata"]["generation"],
        "labels": definition["metadata"]["labels"],
        "versions": versions,
        "conditions": definition["status"]["conditions"],
    })
}
