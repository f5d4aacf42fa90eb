//! Clusters in the states that people meet.

use jiff::Timestamp;
use serde_json::{Value, json};
use standby_api::StandbyCluster;

/// The present moment of every test.
pub fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().expect("a time")
}

/// A cluster as the types know it.
pub fn typed(cluster: &Value) -> StandbyCluster {
    serde_json::from_value(cluster.clone()).expect("a cluster")
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-11-21T09:30:00Z", "observedGeneration": 3})
}

fn node(serial: u32, role: &str, rest: &Value) -> Value {
    let letter = ["a", "b", "c"][serial as usize - 1];
    let mut node = json!({
        "name": format!("db-{serial}"), "volume": format!("{serial:016x}"), "role": role,
        "host": format!("host-{serial}"), "zone": format!("zone-{letter}"),
        "appliedIndex": 120_433, "commitIndex": 120_433, "lag": 0,
        "healthy": true, "since": "2026-11-21T09:30:00Z",
    });
    for (key, value) in rest.as_object().expect("fields") {
        node[key] = value.clone();
    }
    node
}

fn primary() -> Value {
    let says = json!({"reason": "it accepts writes", "promotable": true,
        "promotableReason": "it is primary"});
    node(2, "primary", &says)
}

fn synchronous() -> Value {
    let says = json!({"reason": "it follows the primary", "promotable": true,
        "promotableReason": "it has every acknowledged write (complete in epoch 7)"});
    node(1, "synchronous", &says)
}

fn replica() -> Value {
    let says = json!({"reason": "it follows the primary", "promotable": false, "lag": 2,
        "promotableReason": "it may lack acknowledged writes: not complete in epoch 7"});
    node(3, "replica", &says)
}

/// Healthy, after a failover and a switchover.
pub fn healthy() -> Value {
    let steps = json!({"detectedMs": 3, "viewRecordedMs": 11, "announcedMs": 24, "promotedMs": 31,
        "synchronousAgainMs": 214});
    json!({
        "apiVersion": "standby.dev/v1alpha1", "kind": "StandbyCluster",
        "metadata": {"name": "db", "namespace": "shop", "uid": "c0ffee", "generation": 3,
            "resourceVersion": "41", "creationTimestamp": "2026-11-18T12:00:00Z"},
        "spec": {"instances": 3, "storage": {"size": "10Gi"}},
        "status": {
            "observedGeneration": 3, "phase": "Cluster in healthy state",
            "why": "db-2 accepts writes and db-1 has every acknowledged write",
            "epoch": 7, "primary": "db-2", "synchronous": ["db-1"], "synchronousStandby": "db-1",
            "replicas": 3, "readyReplicas": 3, "nodesReady": "3/3",
            "selector": "standby.dev/cluster=db",
            "conditions": [
                condition("Ready", "True", "ClusterIsReady", "every node is healthy"),
                condition("Available", "True", "AcceptsWrites", "db-2 accepts writes"),
                condition("Safe", "True", "CanFailOver", "db-1 has every acknowledged write"),
                condition("Reconciling", "False", "Steady", "nothing is being changed"),
                condition("Stalled", "False", "Progressing", "nobody is needed"),
            ],
            "nodes": [synchronous(), primary(), replica()],
            "failovers": [
                {"epoch": 6, "fault": "ContainerTerminated",
                    "reason": "the container has ended (exit code 137)",
                    "from": "db-1", "to": "db-2", "time": "2026-11-21T09:29:58.120000Z",
                    "steps": steps, "totalMs": 214},
                {"epoch": 4, "fault": "Handover", "reason": "its host is being drained",
                    "from": "db-3", "to": "db-1", "time": "2026-11-20T08:00:00.000000Z",
                    "steps": {"viewRecordedMs": 18}, "totalMs": 61},
            ],
            "orders": [
                {"order": "switchover", "value": "db-1@3", "outcome": "Done",
                    "reason": "db-1 is primary in epoch 4", "time": "2026-11-20T08:00:00Z"},
                {"order": "promote", "value": "db-9@3", "outcome": "Refused",
                    "reason": "there is no node db-9", "time": "2026-11-20T07:59:00Z"},
            ],
        },
    })
}

/// Manual mode: the primary has failed, and a person is asked.
pub fn awaiting_person() -> Value {
    let mut cluster = healthy();
    cluster["spec"]["failover"] = json!({"mode": "Manual"});
    let why = "db-2 has failed: connection refused, by the operator and by db-1";
    let status = &mut cluster["status"];
    status["phase"] = json!("Waiting for user action: the primary failed");
    status["why"] = json!(why);
    status["nodesReady"] = json!("2/3");
    status["conditions"] = json!([
        condition("Ready", "False", "AwaitingPerson", why),
        condition("Available", "False", "AwaitingPerson", why),
        condition(
            "Safe",
            "True",
            "CanFailOver",
            "db-1 has every acknowledged write"
        ),
        condition("Reconciling", "False", "Steady", "nothing is being changed"),
        condition("Stalled", "True", "AwaitingPerson", why),
    ]);
    status["nodes"][1]["healthy"] = json!(false);
    status["nodes"][1]["reason"] = json!("connection refused");
    status["nodes"][1]["promotable"] = json!(false);
    status["nodes"][1]["promotableReason"] = json!("connection refused");
    status["options"] = json!([
        {"action": "promote", "node": "db-1", "epoch": 7,
            "cost": "loses nothing; writes go again within about a second",
            "command": "kubectl annotate standbycluster db -n shop --overwrite standby.dev/promote='db-1@7'"},
        {"action": "restart", "node": "db-2",
            "cost": "bring db-2 back (host host-2): loses nothing, if its volume is intact; writes wait until it is back",
            "command": "kubectl delete pod db-2 -n shop"},
        {"action": "acceptDataLoss", "node": "db-3", "epoch": 7, "losesUpTo": 120_433,
            "cost": "LOSES up to 2 acknowledged entries, as far as is known: db-3 ends at 120431, and 120433 may have been acknowledged",
            "command": "kubectl annotate standbycluster db -n shop --overwrite standby.dev/accept-data-loss='{...}'"},
    ]);
    status["failovers"] = json!([]);
    status["orders"] = json!([]);
    cluster
}

/// A failover goes on.
pub fn failing_over() -> Value {
    let mut cluster = healthy();
    let why = "the container of db-2 has ended (exit code 137)";
    let status = &mut cluster["status"];
    status["phase"] = json!("Failing over");
    status["why"] = json!(why);
    status["conditions"][0] = condition("Ready", "False", "FailingOver", why);
    status["conditions"][1] = condition("Available", "False", "FailingOver", why);
    status["conditions"][3] = condition("Reconciling", "True", "FailingOver", why);
    status["next"] = json!([
        {"action": "record view 8: primary db-1, nobody synchronous", "why": why},
        {"action": "make pod db-2 anew", "why": "its pod has ended"},
    ]);
    cluster
}

/// Paused, with a fence, an order that stands, a loss long ago, and a specification that nobody has
/// looked at.
pub fn paused() -> Value {
    let mut cluster = failing_over();
    cluster["metadata"]["generation"] = json!(4);
    cluster["metadata"]["annotations"] = json!({
        "standby.dev/paused": "true",
        "standby.dev/fence": "db-3",
        "standby.dev/switchover": "any@7",
        "unrelated": "x",
    });
    let status = &mut cluster["status"];
    status["phase"] = json!("Paused");
    status["conditions"][3] = condition("Reconciling", "False", "Paused", "standby.dev/paused");
    status["dataLoss"] = json!([
        {"epoch": 2, "node": "db-3", "from": 120, "losesUpTo": 133, "by": "ada",
            "why": "rack 4 burnt", "time": "2026-11-19T12:00:00Z"},
        {"epoch": 3, "node": "db-1", "from": 140, "by": "ada", "why": "and rack 5",
            "time": "2026-11-19T13:00:00Z"},
    ]);
    cluster
}

/// Just made: the operator has not seen it.
pub fn new() -> Value {
    let mut cluster = healthy();
    cluster["metadata"]["name"] = json!("cache");
    cluster["metadata"]["generation"] = json!(1);
    cluster["metadata"]["creationTimestamp"] = json!("2026-11-21T11:59:58Z");
    cluster["spec"] = json!({"instances": 1, "durability": "Available",
        "storage": {"size": "1Gi"}});
    cluster.as_object_mut().expect("fields").remove("status");
    cluster
}
