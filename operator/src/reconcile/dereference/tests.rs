//! From objects to facts.

use k8s_openapi::api::core::v1::{Taint, Toleration};

use std::cell::Cell;
use std::sync::Arc;

use standby_api::StandbyCluster;
use standby_operator_core::validate::{Settings, ValidatedCluster, validate};

use super::hosts::tolerates;
use super::*;
use serde_json::json;

#[test]
fn a_claim_of_an_earlier_resource_is_about_to_go() {
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": {"name": "db-1", "uid": "c", "ownerReferences": [
            {"apiVersion": "standby.dev/v1alpha1", "kind": "StandbyCluster", "name": "db",
             "uid": "old"}
        ]}
    }))
    .expect("a claim");
    let facts = claim_facts(&claim, "new", &Volumes::default());
    assert!(facts.deleting && !facts.owned);
    let facts = claim_facts(&claim, "old", &Volumes::default());
    assert!(!facts.deleting && facts.owned);
}

fn pod(state: &serde_json::Value, last: &serde_json::Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "db-1", "uid": "u"},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [{
            "name": CONTAINER, "image": "i", "imageID": "", "ready": false, "restartCount": 1,
            "containerID": "containerd://two", "state": state, "lastState": last
        }]}
    }))
    .expect("a pod")
}

#[test]
fn a_container_that_waits_for_its_restart_has_ended() {
    let ended = json!({"terminated": {"exitCode": 137, "reason": "Error",
        "containerID": "containerd://one"}});
    let facts = container(&pod(
        &json!({"waiting": {"reason": "CrashLoopBackOff"}}),
        &ended,
    ));
    assert!(facts.ended);
    assert_eq!(facts.ended_why, "Error, exit code 137");
    assert!(facts.terminated.contains("containerd://one"));
}

#[test]
fn a_container_that_runs_again_has_not_ended_but_the_one_before_has() {
    let ended = json!({"terminated": {"exitCode": 137, "containerID": "containerd://one"}});
    let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
    let facts = container(&pod(&running, &ended));
    assert!(!facts.ended);
    assert_eq!(facts.running.as_deref(), Some("containerd://two"));
    assert!(facts.terminated.contains("containerd://one"));
}

#[test]
fn a_first_container_that_waits_for_its_image_has_not_ended() {
    let waiting = json!({"waiting": {"reason": "ContainerCreating"}});
    assert!(!container(&pod(&waiting, &json!({}))).ended);
}

fn host(spec: &serde_json::Value) -> Node {
    serde_json::from_value(json!({"metadata": {"name": "h"}, "spec": spec})).expect("a host")
}

#[test]
fn a_host_that_is_about_to_be_emptied_counts_as_cordoned() {
    for spec in [
        json!({"unschedulable": true}),
        json!({"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]}),
        json!({"taints": [{"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}]}),
    ] {
        assert!(cordoned(&host(&spec)), "{spec}");
    }
    for spec in [
        json!({}),
        json!({"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]}),
    ] {
        assert!(!cordoned(&host(&spec)), "{spec}");
    }
}

#[test]
fn a_taint_is_tolerated_as_the_scheduler_does() {
    let taint = |value: &str| Taint {
        key: "disk".into(),
        value: Some(value.into()),
        effect: "NoSchedule".into(),
        time_added: None,
    };
    let toleration = |all: serde_json::Value| -> Toleration {
        serde_json::from_value(all).expect("a toleration")
    };
    for good in [
        json!({"operator": "Exists"}),
        json!({"key": "disk", "operator": "Exists"}),
        json!({"key": "disk", "value": "fast"}),
        json!({"key": "disk", "value": "fast", "effect": "NoSchedule"}),
    ] {
        assert!(
            tolerates(&toleration(good.clone()), &taint("fast")),
            "{good}"
        );
    }
    for bad in [
        json!({"key": "disk", "value": "slow"}),
        json!({"key": "other", "operator": "Exists"}),
        json!({"key": "disk", "value": "fast", "effect": "NoExecute"}),
        json!({}),
    ] {
        assert!(
            !tolerates(&toleration(bad.clone()), &taint("fast")),
            "{bad}"
        );
    }
}

#[test]
fn why_a_pod_does_not_run_is_taken_over_in_kubernetes_words() {
    let pull = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
    assert_eq!(
        waits(&pod(&pull, &json!({}))),
        "ImagePullBackOff: no such image"
    );
    let creating = json!({"waiting": {"reason": "ContainerCreating"}});
    assert_eq!(waits(&pod(&creating, &json!({}))), "");
    let unplaced: Pod = serde_json::from_value(json!({"status": {"conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
         "message": "0/3 nodes are available"}
    ]}}))
    .expect("a pod");
    assert_eq!(waits(&unplaced), "Unschedulable: 0/3 nodes are available");
}

#[test]
fn a_claim_says_how_large_it_is_whether_it_can_grow_and_whether_it_is_lost() {
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": {"name": "db-1", "uid": "c"},
        "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "2Gi"}}},
        "status": {"phase": "Lost", "conditions": [
            {"type": "FileSystemResizePending", "status": "True"}
        ]}
    }))
    .expect("a claim");
    let mut volumes = Volumes::default();
    let facts = claim_facts(&claim, "", &volumes);
    assert_eq!((facts.requested_bytes, facts.expandable), (2 << 30, None));
    assert!(facts.lost && facts.grows_when_mounted);
    volumes.expandable.insert("fast".into(), true);
    assert_eq!(claim_facts(&claim, "", &volumes).expandable, Some(true));
    let by_hand = PersistentVolumeClaim::default();
    assert_eq!(claim_facts(&by_hand, "", &volumes).expandable, Some(false));
}

#[test]
fn pods_that_are_no_more_are_forgotten() {
    let mut seen = FirstSeen::default();
    let at = |millis| Micros::from_millis(millis);
    seen.since("pod/one".into(), at(1));
    seen.since("deleting/two".into(), at(1));
    seen.since("away/host".into(), at(1));
    seen.keep_pods(&["one"].into());
    assert_eq!(seen.since("pod/one".into(), at(9)), at(1));
    assert_eq!(seen.since("deleting/two".into(), at(9)), at(9));
    assert_eq!(seen.since("away/host".into(), at(9)), at(1));
}

#[test]
fn what_was_first_seen_is_timed_until_it_is_over() {
    let mut seen = FirstSeen::default();
    let at = |millis| Micros::from_millis(millis);
    assert_eq!(
        host_facts(Some("h"), None, &mut seen, at(1)),
        HostFacts::Gone(at(1))
    );
    assert_eq!(
        host_facts(Some("h"), None, &mut seen, at(9)),
        HostFacts::Gone(at(1))
    );
    assert_eq!(
        host_facts(Some("h"), Some(&Node::default()), &mut seen, at(9)),
        HostFacts::Ready
    );
    assert_eq!(
        host_facts(Some("h"), None, &mut seen, at(10)),
        HostFacts::Gone(at(10))
    );
}

fn apart() -> Arc<ValidatedCluster> {
    let cluster: StandbyCluster = serde_json::from_value(json!({
        "apiVersion": "standby.dev/v1alpha1", "kind": "StandbyCluster",
        "metadata": {"name": "db", "namespace": "shop", "uid": "u", "generation": 1},
        "spec": {"storage": {"size": "1Gi"}, "placement": {"spread": {"hosts": "Required"}}}
    }))
    .expect("a cluster");
    let settings = Settings {
        node_image: "node:1".into(),
        operator_namespace: "operators".into(),
        version: "0.1.0".into(),
    };
    Arc::new(validate(&cluster, &settings, None).expect("a valid cluster"))
}

#[test]
fn hosts_are_looked_through_again_only_when_one_of_them_or_the_specification_changed() {
    let (mut room, looks) = (Room::default(), Cell::new(0));
    let host: Node = serde_json::from_value(json!({"metadata": {"name": "h1"}})).expect("a host");
    let hosts = || {
        looks.set(looks.get() + 1);
        vec![Arc::new(host.clone())]
    };
    let cluster = apart();
    let mut nodes = BTreeMap::new();
    assert!(room.left(1, hosts, &cluster, &nodes));
    // Who uses a host is looked at each time.
    let mut facts = NodeFacts::default();
    facts.pod.get_or_insert_default().host = Some("h1".into());
    nodes.insert("db-1".into(), facts);
    assert!(!room.left(1, hosts, &cluster, &nodes));
    assert_eq!(looks.get(), 1);
    assert!(!room.left(2, hosts, &cluster, &nodes));
    assert!(!room.left(2, hosts, &apart(), &nodes));
    assert_eq!(looks.get(), 3);
}
