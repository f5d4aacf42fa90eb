//! The pod of one node.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, HTTPGetAction, LocalObjectReference,
    PersistentVolumeClaimVolumeSource, Pod, PodSecurityContext, PodSpec, Probe, SeccompProfile,
    SecretVolumeSource, SecurityContext, Toleration, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use standby_api::{Client, ImagePullPolicy, Interface, NodeRole, Spread, SpreadPolicy, names};

use super::{limits, meta, secret};
use crate::validate::ValidatedCluster;
use crate::validate::quantity::thousandths;

/// The name of the only container.
pub const CONTAINER: &str = "node";
const VOLUME_DATA: &str = "data";
const VOLUME_TLS: &str = "tls";
const PORT_NAME_PROBE: &str = "probe";
/// How many bytes of a hash tell two specifications apart.
const HASH_BYTES: usize = 8;
/// Which form of pod this module builds. Raised by hand, and only then do running pods follow a
/// change of this module: a new version of the operator must not restart every cluster for a detail.
pub const FORM: u32 = 1;
/// Taints Kubernetes sets on a host it has lost sight of. Whether the node is replaced then is the
/// operator's decision, not a timer's.
const HOST_TAINTS: [&str; 2] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
];

/// The pod of a node. `role` is what the recorded view makes of it, if there is one yet; it is only a
/// label. The annotation `standby.dev/built-from` tells from what specification a pod was made.
#[must_use]
pub fn pod(cluster: &ValidatedCluster, name: &str, role: Option<NodeRole>) -> Pod {
    let mut labels = cluster.pod_labels.clone();
    labels.extend(meta::instance_labels(cluster, name));
    if let Some(role) = role {
        labels.insert(names::LABEL_ROLE.to_owned(), role.as_str().to_owned());
    }
    let mut annotations = cluster.pod_annotations.clone();
    annotations.insert(names::ANNOTATION_BUILT_FROM.to_owned(), built_from(cluster));
    let mut metadata = meta::owned(cluster, name.to_owned(), labels);
    metadata.annotations = Some(annotations);
    Pod {
        metadata,
        spec: Some(spec(cluster, name)),
        status: None,
    }
}

/// What the pods of a cluster are built from, as a word: two specifications that differ in anything
/// that reaches a pod differ in it. It is made from what people set, not from the finished pod, and
/// what is left at its default is left out: so neither a default that this module changes nor a field
/// that is added later restarts anything, unless [`FORM`] is raised.
#[must_use]
pub fn built_from(cluster: &ValidatedCluster) -> String {
    let mut parts: BTreeMap<&str, Value> = BTreeMap::new();
    parts.insert("image", json!(cluster.image));
    parts.insert("quota", json!(cluster.quota_backend_bytes));
    let mut set = |name, value: Value| {
        let empty = match &value {
            Value::Null => true,
            Value::Array(all) => all.is_empty(),
            Value::Object(all) => all.is_empty(),
            _ => false,
        };
        if !empty {
            parts.insert(name, value);
        }
    };
    set(
        "interface",
        unlike(&cluster.interface, &Interface::default()),
    );
    set("clientTls", unlike(&cluster.client_tls, &Client::default()));
    set(
        "spreadHosts",
        unlike(&cluster.spread.hosts, &Spread::default().hosts),
    );
    set(
        "spreadZones",
        unlike(&cluster.spread.zones, &Spread::default().zones),
    );
    set("pullPolicy", json!(cluster.image_pull_policy));
    set("pullSecrets", json!(cluster.image_pull_secrets));
    set("requests", amounts(cluster.resources.requests.as_ref()));
    set("limits", amounts(cluster.resources.limits.as_ref()));
    set("nodeSelector", json!(cluster.node_selector));
    set("tolerations", json!(cluster.tolerations));
    set("priorityClass", json!(cluster.priority_class_name));
    set("labels", json!(cluster.pod_labels));
    set("annotations", json!(cluster.pod_annotations));
    format!("{FORM}-{}", hash(&parts))
}

fn unlike<T: PartialEq + serde::Serialize>(value: &T, default: &T) -> Value {
    if value == default {
        Value::Null
    } else {
        json!(value)
    }
}

/// Amounts as numbers: `1Gi` and `1024Mi` are no difference.
fn amounts(map: Option<&BTreeMap<String, Quantity>>) -> Value {
    let amount = |quantity: &Quantity| match thousandths(quantity) {
        Some(number) => number.to_string(),
        None => quantity.0.clone(),
    };
    let each = map.into_iter().flatten();
    json!(
        each.map(|(name, quantity)| (name, amount(quantity)))
            .collect::<BTreeMap<_, _>>()
    )
}

fn hash(parts: &BTreeMap<&str, Value>) -> String {
    let text = serde_json::to_vec(parts).expect("texts and numbers are always JSON");
    Sha256::digest(text)
        .iter()
        .take(HASH_BYTES)
        .fold(String::new(), |mut hex, byte| {
            use std::fmt::Write as _;
            write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
            hex
        })
}

fn spec(cluster: &ValidatedCluster, name: &str) -> PodSpec {
    PodSpec {
        // Nodes never talk to the Kubernetes API (V9).
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        containers: vec![container(cluster, name)],
        image_pull_secrets: (!cluster.image_pull_secrets.is_empty()).then(|| {
            let reference = |name: &String| LocalObjectReference { name: name.clone() };
            cluster.image_pull_secrets.iter().map(reference).collect()
        }),
        node_selector: (!cluster.node_selector.is_empty()).then(|| cluster.node_selector.clone()),
        priority_class_name: cluster.priority_class_name.clone(),
        restart_policy: Some("Always".to_owned()),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(limits::NODE_UID),
            run_as_group: Some(limits::NODE_UID),
            fs_group: Some(limits::NODE_UID),
            // A restart must not walk over a large volume.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        termination_grace_period_seconds: Some(limits::TERMINATION_GRACE_SECONDS),
        tolerations: Some(tolerations(cluster)),
        topology_spread_constraints: Some(spread(cluster)),
        volumes: Some(volumes(name)),
        ..PodSpec::default()
    }
}

fn container(cluster: &ValidatedCluster, name: &str) -> Container {
    let port = |name: &str, port: u16| ContainerPort {
        name: Some(name.to_owned()),
        container_port: port.into(),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    Container {
        name: CONTAINER.to_owned(),
        image: Some(cluster.image.clone()),
        image_pull_policy: cluster.image_pull_policy.map(pull_policy),
        args: Some(arguments(cluster, name)),
        ports: Some(vec![
            port("client", limits::PORT_CLIENT),
            port("peer", limits::PORT_PEER),
            port("control", limits::PORT_CONTROL),
            port(PORT_NAME_PROBE, limits::PORT_PROBE),
        ]),
        startup_probe: Some(probe(
            "/livez",
            limits::STARTUP_PERIOD_SECONDS,
            limits::STARTUP_FAILURES_MAX,
        )),
        liveness_probe: Some(probe(
            "/livez",
            limits::LIVENESS_PERIOD_SECONDS,
            limits::LIVENESS_FAILURES_MAX,
        )),
        readiness_probe: Some(probe(
            "/readyz",
            limits::READINESS_PERIOD_SECONDS,
            limits::READINESS_FAILURES_MAX,
        )),
        resources: Some(cluster.resources.clone()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: None,
            }),
            ..SecurityContext::default()
        }),
        // A node that ends by an assertion or a failed sync says so in its last lines.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(vec![
            mount(VOLUME_DATA, limits::DATA_DIR, false),
            mount(VOLUME_TLS, limits::TLS_DIR, true),
        ]),
        ..Container::default()
    }
}

fn arguments(cluster: &ValidatedCluster, name: &str) -> Vec<String> {
    let interface = match cluster.interface {
        Interface::Etcd => "etcd",
    };
    let client_tls = match cluster.client_tls {
        Client::Mutual => "mutual",
        Client::ServerOnly => "server-only",
        Client::Disabled => "disabled",
    };
    let listen = |name: &str, port: u16| format!("--{name}-listen=0.0.0.0:{port}");
    vec![
        format!("--name={name}"),
        format!("--cluster-id={}", cluster.id),
        format!("--interface={interface}"),
        format!("--data-dir={}", limits::DATA_DIR),
        listen("client", limits::PORT_CLIENT),
        listen("peer", limits::PORT_PEER),
        listen("control", limits::PORT_CONTROL),
        listen("probe", limits::PORT_PROBE),
        format!("--tls-dir={}", limits::TLS_DIR),
        format!("--client-tls={client_tls}"),
        format!("--quota-backend-bytes={}", cluster.quota_backend_bytes),
        "--log-format=json".to_owned(),
    ]
}

/// A probe asks the node about itself: its answer never depends on another machine.
fn probe(path: &str, period_seconds: i32, failures_max: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(PORT_NAME_PROBE.to_owned()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failures_max),
        timeout_seconds: Some(limits::PROBE_TIMEOUT_SECONDS),
        ..Probe::default()
    }
}

fn pull_policy(policy: ImagePullPolicy) -> String {
    match policy {
        ImagePullPolicy::Always => "Always",
        ImagePullPolicy::IfNotPresent => "IfNotPresent",
        ImagePullPolicy::Never => "Never",
    }
    .to_owned()
}

fn tolerations(cluster: &ValidatedCluster) -> Vec<Toleration> {
    let mut tolerations = cluster.tolerations.clone();
    tolerations.extend(HOST_TAINTS.map(|taint| Toleration {
        key: Some(taint.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        ..Toleration::default()
    }));
    tolerations
}

fn spread(cluster: &ValidatedCluster) -> Vec<TopologySpreadConstraint> {
    let constraint = |key: &str, policy: SpreadPolicy| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: match policy {
            SpreadPolicy::Required => "DoNotSchedule",
            SpreadPolicy::Preferred => "ScheduleAnyway",
        }
        .to_owned(),
        label_selector: Some(meta::selector(&cluster.name)),
        // Hosts that are gone or cordoned count for nothing, or no pod could take their pod's place.
        node_taints_policy: Some("Honor".to_owned()),
        node_affinity_policy: Some("Honor".to_owned()),
        ..TopologySpreadConstraint::default()
    };
    vec![
        constraint("kubernetes.io/hostname", cluster.spread.hosts),
        constraint("topology.kubernetes.io/zone", cluster.spread.zones),
    ]
}

fn volumes(name: &str) -> Vec<Volume> {
    vec![
        Volume {
            name: VOLUME_DATA.to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: name.to_owned(),
                read_only: None,
            }),
            ..Volume::default()
        },
        Volume {
            name: VOLUME_TLS.to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(secret::node_name(name)),
                default_mode: Some(limits::TLS_FILE_MODE),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        },
    ]
}
