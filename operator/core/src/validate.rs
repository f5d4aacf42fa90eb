//! From what a person wrote to what the operator works with.
//!
//! Everything after this module reads the [`ValidatedCluster`], never the resource: what is wrong is
//! found once, in one place, and said in the words of the field. The API server has checked most of
//! it already; what it cannot check, or what an older schema let through, is checked here.

mod invalid;
pub(crate) mod quantity;

pub use invalid::{Invalid, InvalidCluster};
pub use quantity::whole as bytes;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use standby_api::{
    Client, Deletion, Durability, FailoverMode, ImagePullPolicy, Interface, NetworkSource, Spread,
    StandbyCluster, names,
};
use standby_core::{ClusterId, Micros};

use crate::policy::{Limit, Policy, Window};

/// The smallest volume. The log alone takes a file in use and two filled ahead of 64 MiB each, up to a
/// quarter of the volume is kept of it for nodes that come back, and the engine's journals take up to
/// 128 MiB: with less, writes would be refused for want of room almost at once.
const STORAGE_BYTES_MIN: u64 = 1 << 30;
/// etcd's own default for its quota, and the most we choose by ourselves.
const QUOTA_BYTES_DEFAULT_MAX: u64 = 2 << 30;
/// Label and annotation keys with these prefixes are the operator's.
const RESERVED_PREFIXES: [&str; 2] = ["standby.dev/", "app.kubernetes.io/"];

/// What the operator itself was started with, as far as the objects of clusters depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The image of nodes whose cluster names none.
    pub node_image: String,
    /// The namespace the operator runs in: only from there may control ports be reached.
    pub operator_namespace: String,
    /// The operator's version, for labels.
    pub version: String,
}

/// A cluster that can be built.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedCluster {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The uid of the resource, for owner references.
    pub uid: String,
    /// The identity written on its volumes (V10).
    pub id: ClusterId,
    /// The generation of the specification this was made from.
    pub generation: i64,
    /// The protocol that clients speak.
    pub interface: Interface,
    /// How many nodes.
    pub instances: usize,
    /// V7.
    pub durability: Durability,
    /// Who promotes.
    pub failover_mode: FailoverMode,
    /// When a node counts as failed.
    pub detection: ValidatedDetection,
    /// A node whose host or volume is gone is replaced after so long.
    pub replace_after: Micros,
    /// Where the primary should be, and when it may be moved.
    pub policy: Policy,
    /// The volumes.
    pub storage: ValidatedStorage,
    /// CPU and memory of each node.
    pub resources: ResourceRequirements,
    /// How clients connect.
    pub client_tls: Client,
    /// Labels of the Kubernetes nodes that pods may run on.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that pods tolerate.
    pub tolerations: Vec<Toleration>,
    /// How strictly pods are spread.
    pub spread: Spread,
    /// The priority class of pods.
    pub priority_class_name: Option<String>,
    /// Whether readers may be led to the synchronous standby.
    pub read_only_from_synchronous: bool,
    /// From where clients may connect; nothing: no `NetworkPolicy` is wanted.
    pub network_policy: Option<Vec<NetworkSource>>,
    /// The image of nodes.
    pub image: String,
    /// When it is pulled.
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Names of Secrets with credentials for pulling it.
    pub image_pull_secrets: Vec<String>,
    /// Labels people want on pods.
    pub pod_labels: BTreeMap<String, String>,
    /// Annotations people want on pods.
    pub pod_annotations: BTreeMap<String, String>,
    /// The size from which on etcd writes are refused.
    pub quota_backend_bytes: u64,
    /// No pods are wanted.
    pub hibernated: bool,
    /// The namespace the operator runs in.
    pub operator_namespace: String,
    /// The operator's version.
    pub version: String,
}

/// When a node counts as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidatedDetection {
    /// Between two heartbeats.
    pub heartbeat_interval: Micros,
    /// The phi from which on a silence counts.
    pub phi: u32,
    /// A shorter silence never counts.
    pub silence_min: Micros,
    /// A longer silence always counts.
    pub silence_max: Micros,
    /// Writes that wait for so long mean a dead disk.
    pub stuck_writes: Micros,
}

/// The volumes.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedStorage {
    /// As it is asked for.
    pub size: Quantity,
    /// In bytes.
    pub size_bytes: u64,
    /// The storage class, if not the default one.
    pub storage_class_name: Option<String>,
    /// Whether the volumes outlive the cluster.
    pub retain: bool,
}

/// Checks a resource. `adopted` is the identity found on volumes that an earlier cluster of the same
/// name left behind (`standby.dev/cluster-id` on their claims), if any.
pub fn validate(
    cluster: &StandbyCluster,
    settings: &Settings,
    adopted: Option<ClusterId>,
) -> Result<ValidatedCluster, InvalidCluster> {
    let mut wrong = Wrong::default();
    let checked = wrong.check(cluster);
    if !wrong.0.is_empty() {
        return Err(InvalidCluster(wrong.0));
    }
    Ok(assemble(checked, cluster, settings, adopted))
}

/// As much of a wrong resource as failover needs, for an operator that knows no earlier one: what is wrong
/// is replaced by defaults, and nobody is let go of. `existing` is the highest serial number of a pod or
/// claim there is. Nothing must be built from it. None when not even its identity is there.
#[must_use]
pub fn for_failover(
    cluster: &StandbyCluster,
    settings: &Settings,
    adopted: Option<ClusterId>,
    existing: u32,
) -> Option<ValidatedCluster> {
    let mut wrong = Wrong::default();
    let mut checked = wrong.check(cluster);
    if checked.name.is_empty() || checked.namespace.is_empty() || checked.uid.is_empty() {
        return None;
    }
    let existing = usize::try_from(existing).unwrap_or_default();
    let most = usize::try_from(names::INSTANCES_MAX).unwrap_or_default();
    checked.instances = checked.instances.min(most).max(existing).max(1);
    let default = standby_api::Failover::default();
    let ranged = |start: &str| {
        wrong.0.iter().any(|invalid| match invalid {
            Invalid::Range { field, .. } => field.starts_with(start),
            Invalid::Silence { .. } => start == "spec.failover.detection",
            _ => false,
        })
    };
    let (detection, replacing) = (
        ranged("spec.failover.detection"),
        ranged("spec.failover.replaceAfterMs"),
    );
    if detection {
        checked.detection = Wrong::default().detection(&default.detection);
    }
    if replacing {
        let default = u64::try_from(default.replace_after_ms).unwrap_or_default();
        checked.replace_after = Micros::from_millis(default);
    }
    // No move is made that can wait.
    checked.policy = Policy::default();
    Some(assemble(checked, cluster, settings, adopted))
}

/// What had to be read to be checked.
struct Checked {
    name: String,
    namespace: String,
    uid: String,
    instances: usize,
    size_bytes: u64,
    quota_backend_bytes: u64,
    detection: ValidatedDetection,
    replace_after: Micros,
    policy: Policy,
}

fn assemble(
    checked: Checked,
    cluster: &StandbyCluster,
    settings: &Settings,
    adopted: Option<ClusterId>,
) -> ValidatedCluster {
    let spec = cluster.spec.clone();
    ValidatedCluster {
        name: checked.name,
        namespace: checked.namespace,
        id: adopted.unwrap_or_else(|| ClusterId(checked.uid.clone())),
        uid: checked.uid,
        generation: cluster.metadata.generation.unwrap_or_default(),
        interface: spec.interface,
        instances: checked.instances,
        durability: spec.durability,
        failover_mode: spec.failover.mode,
        detection: checked.detection,
        replace_after: checked.replace_after,
        policy: checked.policy,
        storage: ValidatedStorage {
            size: spec.storage.size,
            size_bytes: checked.size_bytes,
            storage_class_name: spec.storage.storage_class_name,
            retain: spec.storage.deletion_policy == Deletion::Retain,
        },
        resources: requirements(spec.resources),
        client_tls: spec.tls.client,
        node_selector: spec.placement.node_selector,
        tolerations: spec.placement.tolerations,
        spread: spec.placement.spread,
        priority_class_name: spec.placement.priority_class_name,
        read_only_from_synchronous: spec.services.read_only_from_synchronous,
        network_policy: spec
            .network_policy
            .enabled
            .then_some(spec.network_policy.clients_from),
        image: spec.image.unwrap_or_else(|| settings.node_image.clone()),
        image_pull_policy: spec.image_pull_policy,
        image_pull_secrets: spec.image_pull_secrets,
        pod_labels: spec.pod_metadata.labels,
        pod_annotations: spec.pod_metadata.annotations,
        quota_backend_bytes: checked.quota_backend_bytes,
        hibernated: spec.hibernated,
        operator_namespace: settings.operator_namespace.clone(),
        version: settings.version.clone(),
    }
}

fn requirements(resources: standby_api::Resources) -> ResourceRequirements {
    let some = |map: BTreeMap<String, Quantity>| (!map.is_empty()).then_some(map);
    ResourceRequirements {
        requests: some(resources.requests),
        limits: some(resources.limits),
        ..ResourceRequirements::default()
    }
}

/// Collects what is wrong, so that a person sees all of it at once.
#[derive(Default)]
struct Wrong(Vec<Invalid>);

impl Wrong {
    fn check(&mut self, cluster: &StandbyCluster) -> Checked {
        let meta = &cluster.metadata;
        let spec = &cluster.spec;
        let name = self.present("metadata.name", meta.name.clone());
        self.name(&name);
        let instances = self.range(
            "spec.instances",
            spec.instances.into(),
            1,
            names::INSTANCES_MAX.into(),
        );
        if spec.instances == 1 && spec.durability == Durability::Strict {
            self.0.push(Invalid::SingleStrict);
        }
        self.reserved("spec.podMetadata.labels", &spec.pod_metadata.labels);
        self.reserved(
            "spec.podMetadata.annotations",
            &spec.pod_metadata.annotations,
        );
        self.resources(&spec.resources);
        let size_bytes = self.size(&spec.storage.size);
        let policy = self.policy(&spec.failover, &spec.maintenance);
        let replace_after_ms = spec.failover.replace_after_ms;
        Checked {
            name,
            namespace: self.present("metadata.namespace", meta.namespace.clone()),
            uid: self.present("metadata.uid", meta.uid.clone()),
            instances: usize::try_from(instances).unwrap_or_default(),
            size_bytes,
            quota_backend_bytes: self.quota(
                spec.etcd.quota_backend_bytes,
                &spec.storage.size,
                size_bytes,
            ),
            detection: self.detection(&spec.failover.detection),
            replace_after: self.millis(
                "spec.failover.replaceAfterMs",
                replace_after_ms,
                1_000,
                86_400_000,
            ),
            policy,
        }
    }

    fn policy(
        &mut self,
        failover: &standby_api::Failover,
        maintenance: &standby_api::Maintenance,
    ) -> Policy {
        let limit = &failover.limit;
        let count = self.range("spec.failover.limit.count", limit.count.into(), 1, 10);
        let within = self.millis(
            "spec.failover.limit.withinMs",
            limit.within_ms,
            1_000,
            86_400_000,
        );
        let mut windows = Vec::new();
        for (at, given) in maintenance.windows.iter().enumerate() {
            let minutes = given.duration_minutes.into();
            match Window::new(&given.schedule, &given.time_zone, minutes) {
                Ok(window) => windows.push(window),
                Err(problem) => self.0.push(Invalid::Window { at, problem }),
            }
        }
        Policy {
            zones: failover.preference.zones.clone(),
            nodes: failover.preference.nodes.clone(),
            limit: Limit {
                count: usize::try_from(count).unwrap_or_default().max(1),
                within,
            },
            windows,
        }
    }

    fn present(&mut self, field: &'static str, value: Option<String>) -> String {
        value.unwrap_or_else(|| {
            self.0.push(Invalid::Missing { field });
            String::new()
        })
    }

    fn name(&mut self, name: &str) {
        let mut bytes = name.bytes();
        let good = bytes.next().is_none_or(|first| first.is_ascii_lowercase())
            && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !name.ends_with('-')
            && name.len() <= names::CLUSTER_NAME_LENGTH_MAX;
        if !good {
            self.0.push(Invalid::Name {
                given: name.to_owned(),
            });
        }
    }

    fn range(&mut self, field: &'static str, given: i64, min: i64, max: i64) -> u64 {
        if given < min || given > max {
            self.0.push(Invalid::Range {
                field,
                min,
                max,
                given,
            });
        }
        u64::try_from(given).unwrap_or_default()
    }

    fn millis(&mut self, field: &'static str, given: i64, min: i64, max: i64) -> Micros {
        Micros::from_millis(self.range(field, given, min, max).min(max.unsigned_abs()))
    }

    fn size(&mut self, size: &Quantity) -> u64 {
        match quantity::whole(size) {
            Some(bytes) if bytes >= STORAGE_BYTES_MIN => bytes,
            _ => {
                self.0.push(Invalid::Size {
                    given: size.0.clone(),
                });
                0
            }
        }
    }

    fn quota(&mut self, quota: Option<i64>, size: &Quantity, size_bytes: u64) -> u64 {
        let Some(given) = quota else {
            return QUOTA_BYTES_DEFAULT_MAX.min(size_bytes / 2);
        };
        match u64::try_from(given) {
            Ok(bytes) if bytes > 0 && bytes < size_bytes => bytes,
            _ => {
                self.0.push(Invalid::Quota {
                    size: size.0.clone(),
                    given,
                });
                0
            }
        }
    }

    fn detection(&mut self, detection: &standby_api::Detection) -> ValidatedDetection {
        let given = detection.silence_min_ms;
        let min = detection.heartbeat_interval_ms.saturating_mul(2);
        let max = detection.silence_max_ms;
        if given < min || given > max {
            self.0.push(Invalid::Silence { min, max, given });
        }
        let phi = self.range("spec.failover.detection.phi", detection.phi.into(), 1, 16);
        ValidatedDetection {
            heartbeat_interval: self.millis(
                "spec.failover.detection.heartbeatIntervalMs",
                detection.heartbeat_interval_ms,
                20,
                5_000,
            ),
            phi: u32::try_from(phi).unwrap_or_default(),
            silence_min: self.millis(
                "spec.failover.detection.silenceMinMs",
                detection.silence_min_ms,
                100,
                60_000,
            ),
            silence_max: self.millis(
                "spec.failover.detection.silenceMaxMs",
                detection.silence_max_ms,
                200,
                600_000,
            ),
            stuck_writes: self.millis(
                "spec.failover.detection.stuckWritesMs",
                detection.stuck_writes_ms,
                500,
                600_000,
            ),
        }
    }

    fn reserved(&mut self, field: &'static str, map: &BTreeMap<String, String>) {
        for key in map.keys() {
            if RESERVED_PREFIXES
                .iter()
                .any(|prefix| key.starts_with(prefix))
            {
                self.0.push(Invalid::Reserved {
                    field,
                    key: key.clone(),
                });
            }
        }
    }

    fn resources(&mut self, resources: &standby_api::Resources) {
        for (name, request) in &resources.requests {
            let Some(limit) = resources.limits.get(name) else {
                continue;
            };
            let (ask, most) = (quantity::thousandths(request), quantity::thousandths(limit));
            if ask.zip(most).is_some_and(|(ask, most)| ask > most) {
                self.0.push(Invalid::Resources {
                    name: name.clone(),
                    request: request.0.clone(),
                    limit: limit.0.clone(),
                });
            }
        }
    }
}
