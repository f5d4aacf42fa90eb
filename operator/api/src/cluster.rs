//! `StandbyCluster`: what people ask for.
//!
//! The rules that can be told from one resource, or from its old and new form, stand here as CEL and
//! are enforced by the API server; what needs more is checked by the operator. Defaults are part of
//! the API and are filled in by the API server.
//!
//! Messages name what was given where the cost limits of CEL let them: a number turned into text has
//! no known length, and no message with one fits.

#![allow(
    clippy::doc_markdown,
    reason = "kubectl explain shows these comments as plain text"
)]
#![allow(
    clippy::duplicated_attributes,
    reason = "printer columns of the same type are no duplicates"
)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::placement::Placement;
use crate::status::StandbyClusterStatus;

/// A replicated storage cluster: one primary, a synchronous standby that has every acknowledged
/// write, and asynchronous read replicas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "standby.dev",
    version = "v1alpha1",
    kind = "StandbyCluster",
    plural = "standbyclusters",
    shortname = "sbc",
    category = "standby",
    namespaced,
    status = "StandbyClusterStatus",
    derive = "PartialEq",
    doc = "A replicated storage cluster: one primary, a synchronous standby that has every acknowledged write, and asynchronous read replicas.",
    scale(
        spec_replicas_path = ".spec.instances",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether every node runs and the cluster is available and safe"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.phase",
        description = "What is happening, in one line"
    ),
    printcolumn(
        name = "Primary",
        type_ = "string",
        json_path = ".status.primary",
        description = "The node that accepts writes"
    ),
    printcolumn(
        name = "Sync-Standby",
        type_ = "string",
        json_path = ".status.synchronousStandby",
        description = "The nodes that have every acknowledged write"
    ),
    printcolumn(
        name = "Replicas",
        type_ = "string",
        json_path = ".status.nodesReady",
        description = "Nodes that are ready, of those asked for"
    ),
    printcolumn(
        name = "Safe",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Safe\")].status",
        description = "Whether losing the primary now would lose nothing"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 40").message(Message::Expression(
        "'metadata.name must have at most 40 characters, was \"' + self.metadata.name + '\": names of pods and Services are made from it'".into()
    )),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message(Message::Expression(
        "'metadata.name must start with a letter and hold only a-z, 0-9 and -, was \"' + self.metadata.name + '\": Services are named after it'".into()
    ))
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.instances != 1 || self.durability == 'Available'").field_path(".instances").message(
        "instances: 1 needs durability: Available, was Strict: a single copy has no synchronous standby, so it could never acknowledge a write"
    ),
    validation = Rule::new("!has(self.etcd) || !has(self.etcd.quotaBackendBytes) || !isQuantity(self.storage.size) || !quantity(self.storage.size).isInteger() || quantity(self.storage.size).asInteger() > self.etcd.quotaBackendBytes").field_path(".etcd.quotaBackendBytes").message(Message::Expression(
        "'etcd.quotaBackendBytes must be less than storage.size (' + self.storage.size + ')'".into()
    ))
)]
pub struct StandbyClusterSpec {
    /// The protocol that clients speak. Cannot be changed.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("interface cannot be changed: make a new cluster"))]
    pub interface: Interface,
    /// How many nodes, each with a full copy: one primary, one synchronous standby, and read
    /// replicas.
    #[serde(default = "instances_default")]
    #[schemars(range(min = 1, max = 9))]
    pub instances: i32,
    /// What happens to writes when no synchronous standby is left. Strict: they wait until another
    /// node has everything. Available: the primary may acknowledge by itself.
    #[serde(default)]
    pub durability: Durability,
    /// Who promotes, and when a node counts as failed.
    #[serde(default)]
    pub failover: Failover,
    /// When planned moves may happen.
    #[serde(default)]
    pub maintenance: Maintenance,
    /// Whether the cluster sleeps: no pods run, and volumes and recorded view are kept as they are.
    #[serde(default)]
    pub hibernated: bool,
    /// The volume of each node.
    pub storage: Storage,
    /// CPU and memory of each node.
    #[serde(default)]
    pub resources: Resources,
    /// Encryption and certificates.
    #[serde(default)]
    pub tls: Tls,
    /// Where the pods may run.
    #[serde(default)]
    pub placement: Placement,
    /// Which nodes the Services lead to.
    #[serde(default)]
    pub services: ServiceOptions,
    /// Who may reach the pods.
    #[serde(default)]
    pub network_policy: NetworkPolicyOptions,
    /// The image of the storage node. Default: the one that belongs to the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// When the image is pulled. Default: as Kubernetes decides from the image's tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Names of Secrets with the credentials for pulling the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 253)))]
    pub image_pull_secrets: Vec<String>,
    /// Labels and annotations for the pods, beside the operator's own.
    #[serde(default)]
    pub pod_metadata: PodMetadata,
    /// Settings of the etcd interface.
    #[serde(default)]
    pub etcd: EtcdOptions,
}

impl StandbyClusterSpec {
    /// What stands in for a specification that cannot be read: every field at its default. Nothing must
    /// be built from it.
    #[must_use]
    pub fn for_unread() -> Self {
        Self {
            interface: Interface::default(),
            instances: instances_default(),
            durability: Durability::default(),
            failover: Failover::default(),
            maintenance: Maintenance::default(),
            hibernated: false,
            storage: Storage {
                size: Quantity("1Gi".into()),
                storage_class_name: None,
                deletion_policy: Deletion::Retain,
            },
            resources: Resources::default(),
            tls: Tls::default(),
            placement: Placement::default(),
            services: ServiceOptions::default(),
            network_policy: NetworkPolicyOptions::default(),
            image: None,
            image_pull_policy: None,
            image_pull_secrets: Vec::new(),
            pod_metadata: PodMetadata::default(),
            etcd: EtcdOptions::default(),
        }
    }
}

/// The protocol that clients speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Interface {
    /// etcd v3.
    #[default]
    Etcd,
}

/// What happens to writes when no synchronous standby is left (V7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Durability {
    /// Writes wait until another node has everything.
    #[default]
    Strict,
    /// The primary may acknowledge by itself; automatic failover is off meanwhile.
    Available,
}

/// Who promotes, and when a node counts as failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failover {
    /// Automatic: the operator promotes the synchronous standby. Manual: it raises the alarm and
    /// waits for the annotation standby.dev/promote.
    #[serde(default)]
    pub mode: FailoverMode,
    /// When a node counts as failed.
    #[serde(default)]
    pub detection: Detection,
    /// A node whose host is gone, or whose volume is lost, is replaced by a new one with an empty
    /// volume after so many milliseconds.
    #[serde(default = "replace_after_ms_default")]
    #[schemars(range(min = 1_000, max = 86_400_000))]
    pub replace_after_ms: i64,
    /// Where the primary should be. It decides among nodes that have everything, and a primary that
    /// is elsewhere is moved back by a switchover inside a maintenance window.
    #[serde(default)]
    pub preference: Preference,
    /// How many failovers may follow each other without proof that the primary has ended.
    #[serde(default)]
    pub limit: FailoverLimit,
}

/// Where the primary should be, the best first. What is named in neither list comes last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Preference {
    /// Zones (label topology.kubernetes.io/zone of the Kubernetes node), the best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 9), inner(length(min = 1, max = 63)))]
    #[x_kube(validation = Rule::new("self.all(z, self.exists_one(y, y == z))").message("zones must not name a zone twice"))]
    pub zones: Vec<String>,
    /// Pods of the cluster, the best first. They count before zones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 9), inner(length(min = 1, max = 63)))]
    #[x_kube(validation = Rule::new("self.all(n, self.exists_one(m, m == n))").message("nodes must not name a node twice"))]
    pub nodes: Vec<String>,
}

/// How many failovers may follow each other without proof that the primary has ended. A primary
/// whose container or pod is known to be gone is always failed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailoverLimit {
    /// So many.
    #[serde(default = "failover_count_default")]
    #[schemars(range(min = 1, max = 10))]
    pub count: i32,
    /// Within so many milliseconds.
    #[serde(default = "failover_within_ms_default")]
    #[schemars(range(min = 1_000, max = 86_400_000))]
    pub within_ms: i64,
}

/// When planned moves may happen: a rolling restart, and moving the primary to a preferred place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Maintenance {
    /// The windows. Empty: at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub windows: Vec<MaintenanceWindow>,
}

/// A time that comes again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceWindow {
    /// When it opens, as five fields of cron: minute, hour, day of the month, month, day of the week.
    #[schemars(length(min = 9, max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^[^ ]+( [^ ]+){4}$')").message(Message::Expression(
        "'schedule must have five fields separated by single spaces (minute hour day month weekday), such as \"0 3 * * 6\", was \"' + self + '\"'".into()
    )))]
    pub schedule: String,
    /// The time zone of the schedule, as in the IANA database, such as Europe/Berlin.
    #[serde(default = "time_zone_default")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$')").message(Message::Expression(
        "'timeZone must be a name of the IANA database, such as Europe/Berlin, was \"' + self + '\"'".into()
    )))]
    pub time_zone: String,
    /// How long it stays open, in minutes.
    #[schemars(range(min = 1, max = 10_080))]
    pub duration_minutes: i32,
}

/// Who promotes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailoverMode {
    /// The operator.
    #[default]
    Automatic,
    /// A person.
    Manual,
}

/// When a node counts as failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.silenceMinMs <= self.silenceMaxMs")
        .field_path(".silenceMinMs")
        .message("silenceMinMs must be at most silenceMaxMs"),
    validation = Rule::new("self.silenceMinMs >= 2 * self.heartbeatIntervalMs")
        .field_path(".silenceMinMs")
        .message("silenceMinMs must be at least twice heartbeatIntervalMs")
)]
pub struct Detection {
    /// How often operator and nodes send each other a heartbeat.
    #[serde(default = "heartbeat_interval_ms_default")]
    #[schemars(range(min = 20, max = 5_000))]
    pub heartbeat_interval_ms: i64,
    /// How unlikely a silence must be before it counts: 8 is one wrong alarm in 10^8 heartbeats that
    /// arrive as they have so far.
    #[serde(default = "phi_default")]
    #[schemars(range(min = 1, max = 16))]
    pub phi: i32,
    /// A silence shorter than this never counts, however regular the heartbeats have been.
    #[serde(default = "silence_min_ms_default")]
    #[schemars(range(min = 100, max = 60_000))]
    pub silence_min_ms: i64,
    /// A silence longer than this always counts, however irregular the heartbeats have been.
    #[serde(default = "silence_max_ms_default")]
    #[schemars(range(min = 200, max = 600_000))]
    pub silence_max_ms: i64,
    /// A primary whose commits have not moved for so long while writes wait has failed: its disk is
    /// dead or hangs.
    #[serde(default = "stuck_writes_ms_default")]
    #[schemars(range(min = 500, max = 600_000))]
    pub stuck_writes_ms: i64,
}

/// The volume of each node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)").field_path(".storageClassName").message(
        "storageClassName cannot be changed: volumes do not move between storage classes; make a new cluster"
    ),
    validation = Rule::new("!isQuantity(self.size) || !isQuantity(oldSelf.size) || quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0").field_path(".size").message(Message::Expression(
        "'size cannot shrink: must be at least ' + oldSelf.size + ', was ' + self.size".into()
    ))
)]
pub struct Storage {
    /// The size of each node's volume, such as 10Gi. Can grow where the storage class allows it; never
    /// shrinks.
    #[schemars(schema_with = "crate::schemas::quantity_text")]
    #[x_kube(validation = Rule::new("isQuantity(self) && quantity(self).compareTo(quantity('1Gi')) >= 0").message(Message::Expression(
        "'size must be a quantity of at least 1Gi, such as 10Gi, was \"' + self + '\"'".into()
    )))]
    pub size: Quantity,
    /// The storage class of the volumes. Default: the default class of Kubernetes. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// What becomes of the volumes when the cluster is deleted. Delete: they go with it. Retain: the
    /// claims stay, and a new cluster of the same name finds its data again.
    #[serde(default)]
    pub deletion_policy: Deletion,
}

/// What becomes of the volumes when the cluster is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Deletion {
    /// They go with the cluster.
    #[default]
    Delete,
    /// They stay.
    Retain,
}

/// CPU and memory of each node, as in a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What is set aside for the node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schemas::quantity_map")]
    pub requests: BTreeMap<String, Quantity>,
    /// What the node may use at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schemas::quantity_map")]
    pub limits: BTreeMap<String, Quantity>,
}

/// Encryption and certificates. Between nodes, and from the operator to nodes, both sides always show
/// a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// How clients connect. Mutual: encrypted, and the client shows a certificate of the cluster's CA
    /// (Secret NAME-client-tls). ServerOnly: encrypted. Disabled: plain.
    #[serde(default)]
    pub client: Client,
}

/// How clients connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Client {
    /// Encrypted, and the client shows a certificate of the cluster's CA.
    #[default]
    Mutual,
    /// Encrypted; the client shows nothing.
    ServerOnly,
    /// Plain.
    Disabled,
}

/// Which nodes the Services lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceOptions {
    /// Whether the read-only Service leads to the synchronous standby too. It is left out by default,
    /// so that readers cannot slow down writes; with two instances the Service then leads nowhere.
    #[serde(default)]
    pub read_only_from_synchronous: bool,
}

/// Who may reach the pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicyOptions {
    /// Whether the operator keeps a NetworkPolicy for the cluster.
    #[serde(default = "network_policy_enabled_default")]
    pub enabled: bool,
    /// From where clients may connect. Empty: from everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub clients_from: Vec<NetworkSource>,
}

/// A set of pods that may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkSource {
    /// Labels of the namespaces. Empty: only the cluster's own namespace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schemas::label_map")]
    pub namespace_labels: BTreeMap<String, String>,
    /// Labels of the pods. Empty: every pod of those namespaces.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schemas::label_map")]
    pub pod_labels: BTreeMap<String, String>,
}

/// When the image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImagePullPolicy {
    /// At every start.
    Always,
    /// When the host does not have it.
    IfNotPresent,
    /// Never: it must be on the host.
    Never,
}

/// Labels and annotations for the pods. Keys of standby.dev and app.kubernetes.io are the operator's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodMetadata {
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schemas::label_map")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schemas::annotation_map")]
    pub annotations: BTreeMap<String, String>,
}

/// Settings of the etcd interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EtcdOptions {
    /// The size in bytes from which on writes are refused with etcd's NOSPACE error. Default: half of
    /// the volume, at most 2 GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16_777_216, max = 1_099_511_627_776_i64))]
    pub quota_backend_bytes: Option<i64>,
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            mode: FailoverMode::default(),
            detection: Detection::default(),
            replace_after_ms: replace_after_ms_default(),
            preference: Preference::default(),
            limit: FailoverLimit::default(),
        }
    }
}

impl Default for FailoverLimit {
    fn default() -> Self {
        Self {
            count: failover_count_default(),
            within_ms: failover_within_ms_default(),
        }
    }
}

impl Default for Detection {
    fn default() -> Self {
        Self {
            heartbeat_interval_ms: heartbeat_interval_ms_default(),
            phi: phi_default(),
            silence_min_ms: silence_min_ms_default(),
            silence_max_ms: silence_max_ms_default(),
            stuck_writes_ms: stuck_writes_ms_default(),
        }
    }
}

impl Default for NetworkPolicyOptions {
    fn default() -> Self {
        Self {
            enabled: network_policy_enabled_default(),
            clients_from: Vec::new(),
        }
    }
}

fn instances_default() -> i32 {
    3
}

fn replace_after_ms_default() -> i64 {
    60_000
}

fn failover_count_default() -> i32 {
    5
}

fn failover_within_ms_default() -> i64 {
    600_000
}

fn time_zone_default() -> String {
    "UTC".into()
}

fn heartbeat_interval_ms_default() -> i64 {
    250
}

fn phi_default() -> i32 {
    8
}

fn silence_min_ms_default() -> i64 {
    1_000
}

fn silence_max_ms_default() -> i64 {
    5_000
}

fn stuck_writes_ms_default() -> i64 {
    3_000
}

fn network_policy_enabled_default() -> bool {
    true
}
