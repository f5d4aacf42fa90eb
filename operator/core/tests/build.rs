//! The objects of a cluster, compared with files under `golden/`: a change of what users get shows up
//! as a change of a file. Run with `STANDBY_REWRITE_GOLDEN=1` to write them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::Digest as _;
use standby_api::{NodeRole, StandbyCluster};
use standby_core::{ClusterId, NodeId, View};
use standby_operator_core::build::endpoint_slice::{self, Family, Target};
use standby_operator_core::build::service::{self, Access};
use standby_operator_core::build::{
    meta, network_policy, pod, pod_disruption_budget, view, volume_claim,
};
use standby_operator_core::validate::{
    Invalid, Settings, ValidatedCluster, for_failover, validate,
};

fn settings() -> Settings {
    Settings {
        node_image: "standby-node:0.1.0".into(),
        operator_namespace: "standby-system".into(),
        version: "0.1.0".into(),
    }
}

fn resource(name: &str, spec: &Value) -> StandbyCluster {
    serde_json::from_value(json!({
        "apiVersion": "standby.dev/v1alpha1",
        "kind": "StandbyCluster",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": "0c9d7a52-6b6e-4d65-a7c5-0f1f4d5f5a11",
            "generation": 3,
        },
        "spec": spec,
    }))
    .expect("the resource fits the types")
}

fn valid(spec: &Value) -> ValidatedCluster {
    validate(&resource("db", spec), &settings(), None).expect("the resource is valid")
}

fn minimal() -> ValidatedCluster {
    valid(&json!({ "storage": { "size": "1Gi" } }))
}

fn full() -> ValidatedCluster {
    valid(&json!({
        "instances": 5,
        "durability": "Available",
        "storage": { "size": "10Gi", "storageClassName": "fast", "deletionPolicy": "Retain" },
        "resources": {
            "requests": { "cpu": "100m", "memory": "64Mi" },
            "limits": { "memory": "1Gi" },
        },
        "tls": { "client": "ServerOnly" },
        "placement": {
            "nodeSelector": { "disk": "nvme" },
            "tolerations": [{ "key": "storage", "operator": "Exists", "effect": "NoSchedule" }],
            "spread": { "hosts": "Preferred", "zones": "Required" },
            "priorityClassName": "important",
        },
        "services": { "readOnlyFromSynchronous": true },
        "networkPolicy": {
            "clientsFrom": [
                { "namespaceLabels": { "team": "web" } },
                { "podLabels": { "app": "cart" } },
            ],
        },
        "image": "registry.example.org/standby-node:0.2.0",
        "imagePullPolicy": "Always",
        "imagePullSecrets": ["registry"],
        "podMetadata": { "labels": { "team": "web" }, "annotations": { "note": "ours" } },
        "etcd": { "quotaBackendBytes": 4_294_967_296_i64 },
    }))
}

fn golden(name: &str, object: &impl Serialize) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    // By way of JSON, so that keys are sorted and absent fields stay absent.
    let value = serde_json::to_value(object).expect("an object is JSON");
    let yaml = serde_yaml::to_string(&value).expect("JSON is YAML");
    if std::env::var_os("STANDBY_REWRITE_GOLDEN").is_some() {
        std::fs::write(&path, &yaml).expect("the folder can be written");
    }
    let file = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        file == yaml,
        "{name} has changed: look at it, then run with STANDBY_REWRITE_GOLDEN=1\n{yaml}"
    );
}

fn target(pod: &str, last: u8, role: NodeRole) -> Target {
    Target {
        pod: pod.into(),
        address: IpAddr::from([10, 1, 2, last]),
        host: Some(format!("host-{last}")),
        zone: Some("a".into()),
        role,
        readable: true,
    }
}

fn targets() -> [Target; 3] {
    [
        target("db-3", 3, NodeRole::Replica),
        target("db-1", 1, NodeRole::Primary),
        target("db-2", 2, NodeRole::Synchronous),
    ]
}

fn led_to(slice: &k8s_openapi::api::discovery::v1::EndpointSlice) -> Vec<&str> {
    slice
        .endpoints
        .iter()
        .map(|endpoint| endpoint.addresses[0].as_str())
        .collect()
}

#[test]
fn the_objects_of_a_minimal_cluster() {
    let cluster = minimal();
    golden(
        "pod.yaml",
        &pod::pod(&cluster, "db-1", Some(NodeRole::Primary)),
    );
    golden(
        "persistentvolumeclaim.yaml",
        &volume_claim::volume_claim(&cluster, "db-1"),
    );
    golden(
        "service-rw.yaml",
        &service::service(&cluster, Access::ReadWrite),
    );
    golden(
        "poddisruptionbudget.yaml",
        &pod_disruption_budget::pod_disruption_budget(&cluster, 2),
    );
    golden(
        "networkpolicy.yaml",
        &network_policy::network_policy(&cluster),
    );
    let first = View::first(cluster.id.clone(), NodeId::new("db-1", "00000000000000a1"));
    golden("standbyview.yaml", &view::view(&cluster, &first, None));
    let [_, primary, _] = targets();
    golden(
        "endpointslice-rw.yaml",
        &endpoint_slice::read_write(&cluster, Family::V4, Some(&primary)),
    );
    golden(
        "endpointslice-ro.yaml",
        &endpoint_slice::read(&cluster, Access::ReadOnly, Family::V4, &targets()),
    );
}

#[test]
fn the_objects_of_a_cluster_with_every_field() {
    let cluster = full();
    golden("full-pod.yaml", &pod::pod(&cluster, "db-2", None));
    golden(
        "full-persistentvolumeclaim.yaml",
        &volume_claim::volume_claim(&cluster, "db-2"),
    );
    golden(
        "full-networkpolicy.yaml",
        &network_policy::network_policy(&cluster),
    );
}

#[test]
fn the_read_write_service_leads_to_the_primary_or_nowhere() {
    let [_, primary, _] = targets();
    let slice = endpoint_slice::read_write(&minimal(), Family::V4, Some(&primary));
    assert_eq!(led_to(&slice), ["10.1.2.1"]);
    assert!(
        endpoint_slice::read_write(&minimal(), Family::V4, None)
            .endpoints
            .is_empty()
    );
    let other = endpoint_slice::read_write(&minimal(), Family::V6, Some(&primary));
    assert!(
        other.endpoints.is_empty(),
        "an IPv6 slice takes no IPv4 address"
    );
}

#[test]
#[should_panic(expected = "only the primary is announced for writes")]
fn nothing_but_the_primary_is_ever_announced_for_writes() {
    let [replica, _, _] = targets();
    let _ = endpoint_slice::read_write(&minimal(), Family::V4, Some(&replica));
}

#[test]
fn readers_reach_the_synchronous_standby_only_when_asked() {
    let read = |cluster: &ValidatedCluster, access, targets: &[Target]| {
        let slice = endpoint_slice::read(cluster, access, Family::V4, targets);
        led_to(&slice)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(read(&minimal(), Access::ReadOnly, &targets()), ["10.1.2.3"]);
    assert_eq!(
        read(&full(), Access::ReadOnly, &targets()),
        ["10.1.2.2", "10.1.2.3"]
    );
    assert_eq!(
        read(&minimal(), Access::Read, &targets()),
        ["10.1.2.1", "10.1.2.2", "10.1.2.3"]
    );
    let [_, primary, standby] = targets();
    let none = read(&minimal(), Access::ReadOnly, &[primary, standby]);
    assert!(
        none.is_empty(),
        "without replicas readers are refused, not sent to the primary"
    );
}

#[test]
fn a_node_that_cannot_be_read_is_left_out() {
    let mut all = targets();
    all[0].readable = false;
    let slice = endpoint_slice::read(&minimal(), Access::ReadOnly, Family::V4, &all);
    assert!(slice.endpoints.is_empty());
}

#[test]
fn the_order_of_targets_makes_no_difference() {
    let mut all = targets();
    let one = endpoint_slice::read(&minimal(), Access::Read, Family::V4, &all);
    all.reverse();
    assert_eq!(
        one,
        endpoint_slice::read(&minimal(), Access::Read, Family::V4, &all)
    );
}

#[test]
fn a_role_is_only_a_label() {
    let cluster = minimal();
    let one = pod::pod(&cluster, "db-1", Some(NodeRole::Primary));
    let other = pod::pod(&cluster, "db-1", Some(NodeRole::Replica));
    assert_eq!(one.spec, other.spec);
    assert_eq!(one.metadata.annotations, other.metadata.annotations);
    let role = |pod: &Pod| pod.metadata.labels.clone().expect("labels")["standby.dev/role"].clone();
    assert_eq!(
        (role(&one), role(&other)),
        ("primary".into(), "replica".into())
    );
}

/// What a pod says it was built from.
fn built_from(cluster: &ValidatedCluster) -> String {
    let annotations = pod::pod(cluster, "db-1", None).metadata.annotations;
    annotations.expect("annotations")["standby.dev/built-from"].clone()
}

#[test]
fn another_operator_version_alone_restarts_nothing() {
    let old = minimal();
    let new = ValidatedCluster {
        version: "0.2.0".into(),
        ..minimal()
    };
    assert_eq!(built_from(&old), built_from(&new));
    let image = ValidatedCluster {
        image: "standby-node:0.2.0".into(),
        ..minimal()
    };
    assert_ne!(built_from(&old), built_from(&image));
}

/// A change of any of these reaches running pods.
#[test]
fn everything_that_people_set_and_a_pod_is_made_of_makes_a_difference() {
    let spec = |more: Value| {
        let mut spec = json!({ "storage": { "size": "1Gi" } });
        let object = spec.as_object_mut().expect("an object");
        object.extend(more.as_object().expect("an object").clone());
        built_from(&valid(&spec))
    };
    let plain = spec(json!({}));
    let mut seen = BTreeSet::from([plain.clone()]);
    for more in [
        json!({ "image": "another:1" }),
        json!({ "imagePullPolicy": "Always" }),
        json!({ "imagePullSecrets": ["registry"] }),
        json!({ "resources": { "requests": { "cpu": "1" } } }),
        json!({ "resources": { "limits": { "cpu": "1" } } }),
        json!({ "tls": { "client": "Disabled" } }),
        json!({ "placement": { "nodeSelector": { "disk": "fast" } } }),
        json!({ "placement": { "tolerations": [{ "operator": "Exists" }] } }),
        json!({ "placement": { "priorityClassName": "high" } }),
        json!({ "placement": { "spread": { "hosts": "Preferred" } } }),
        json!({ "placement": { "spread": { "zones": "Required" } } }),
        json!({ "podMetadata": { "labels": { "team": "shop" } } }),
        json!({ "podMetadata": { "annotations": { "shop/restarted-at": "now" } } }),
        json!({ "etcd": { "quotaBackendBytes": 67_108_864 } }),
    ] {
        assert!(
            seen.insert(spec(more.clone())),
            "{more} makes no difference"
        );
    }
    for more in [
        json!({ "instances": 5 }),
        json!({ "durability": "Available" }),
        json!({ "hibernated": true }),
        json!({ "failover": { "mode": "Manual" } }),
        json!({ "services": { "readOnlyFromSynchronous": true } }),
        json!({ "networkPolicy": { "enabled": false } }),
        json!({ "placement": { "spread": { "hosts": "Required" } } }),
    ] {
        assert_eq!(spec(more.clone()), plain, "{more} restarts pods");
    }
}

#[test]
fn the_same_amount_written_otherwise_restarts_nothing() {
    let limit = |memory: &str| {
        built_from(&valid(&json!({
            "storage": { "size": "1Gi" }, "resources": { "limits": { "memory": memory } },
        })))
    };
    assert_eq!(limit("1Gi"), limit("1024Mi"));
    assert_ne!(limit("1Gi"), limit("1025Mi"));
}

/// If this fails, the pod that is built has changed. Decide whether running pods shall be replaced for
/// it: then raise `pod::FORM`. Put the new hash here either way.
#[test]
fn whether_a_changed_pod_restarts_every_cluster_is_a_decision() {
    let spec = pod::pod(&minimal(), "db-1", None).spec;
    let text = serde_json::to_vec(&spec).expect("json");
    let hash = sha2::Sha256::digest(text);
    let start = [0xb2, 0xf7, 0xdc, 0xd2, 0x65, 0x2d, 0x17, 0xbb];
    assert_eq!((pod::FORM, &hash[..8]), (1, start.as_slice()));
    assert!(built_from(&minimal()).starts_with("1-"));
}

#[test]
fn a_cluster_can_do_without_a_network_policy() {
    let open = valid(&json!({
        "storage": { "size": "1Gi" }, "networkPolicy": { "enabled": false },
    }));
    assert_eq!(network_policy::network_policy(&open), None);
}

#[test]
fn retained_volumes_have_no_owner_and_keep_their_identity() {
    let adopted = validate(
        &resource(
            "db",
            &json!({ "storage": { "size": "1Gi", "deletionPolicy": "Retain" } }),
        ),
        &settings(),
        Some(ClusterId("an-earlier-one".into())),
    )
    .expect("the resource is valid");
    let claim = volume_claim::volume_claim(&adopted, "db-1");
    assert_eq!(claim.metadata.owner_references, None);
    assert_eq!(
        claim.metadata.annotations.unwrap()["standby.dev/cluster-id"],
        "an-earlier-one"
    );
    assert_eq!(
        adopted.uid,
        meta::owner(&adopted).uid,
        "objects still belong to the new one"
    );
}

#[test]
fn the_quota_fits_the_volume_by_default() {
    assert_eq!(minimal().quota_backend_bytes, 512 << 20, "half of 1Gi");
    let large = valid(&json!({ "storage": { "size": "100Gi" } }));
    assert_eq!(large.quota_backend_bytes, 2 << 30, "as etcd has it");
}

#[test]
fn of_a_wrong_specification_as_much_is_taken_as_failover_needs() {
    let mut wrong = resource(
        "db",
        &json!({
            "instances": 99,
            "failover": { "mode": "Manual", "detection": { "silenceMinMs": 1 } },
            "storage": { "size": "ten" },
        }),
    );
    let taken = for_failover(&wrong, &settings(), None, 3).expect("its identity is there");
    assert_eq!(taken.failover_mode, standby_api::FailoverMode::Manual);
    assert!(taken.instances >= 3, "nobody is let go of");
    assert_eq!(taken.detection, minimal().detection);
    wrong.metadata.uid = None;
    assert_eq!(for_failover(&wrong, &settings(), None, 3), None);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let cluster = resource(
        "1.db",
        &json!({
            "instances": 1,
            "storage": { "size": "ten" },
            "podMetadata": { "labels": { "standby.dev/role": "primary" } },
            "resources": {
                "requests": { "cpu": "1600m" }, "limits": { "cpu": "1.5" },
            },
        }),
    );
    let wrong = validate(&cluster, &settings(), None).expect_err("it is wrong");
    let kinds: Vec<bool> = [
        wrong
            .0
            .iter()
            .any(|one| matches!(one, Invalid::Name { .. })),
        wrong
            .0
            .iter()
            .any(|one| matches!(one, Invalid::SingleStrict)),
        wrong
            .0
            .iter()
            .any(|one| matches!(one, Invalid::Size { .. })),
        wrong
            .0
            .iter()
            .any(|one| matches!(one, Invalid::Reserved { .. })),
        wrong
            .0
            .iter()
            .any(|one| matches!(one, Invalid::Resources { .. })),
    ]
    .into();
    assert_eq!(kinds, [true; 5], "{wrong}");
    assert_eq!(wrong.0.len(), 5, "{wrong}");
}
