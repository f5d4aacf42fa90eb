//! Each order against a cluster in some state: the patch, or the refusal.

use serde_json::{Value, json};
use standby_api::StandbyCluster;

use super::*;

/// A healthy cluster, with some fields changed.
fn cluster(changes: &Value) -> StandbyCluster {
    let node = |name: &str, role: &str, promotable: bool| {
        json!({"name": name, "role": role, "healthy": true, "reason": "it works",
            "promotable": promotable, "promotableReason": "of the test"})
    };
    let mut cluster = json!({
        "apiVersion": "standby.dev/v1alpha1", "kind": "StandbyCluster",
        "metadata": {"name": "db", "namespace": "shop", "uid": "c0ffee", "generation": 1,
            "resourceVersion": "41"},
        "spec": {"storage": {"size": "1Gi"}},
        "status": {
            "observedGeneration": 1, "epoch": 7, "primary": "db-1", "synchronous": ["db-2"],
            "phase": "Cluster in healthy state", "replicas": 3,
            "nodes": [node("db-1", "primary", true), node("db-2", "synchronous", true),
                node("db-3", "replica", false)],
        },
    });
    merge(&mut cluster, changes);
    serde_json::from_value(cluster).expect("a cluster")
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn healthy() -> StandbyCluster {
    cluster(&json!({}))
}

fn annotated(annotations: &Value) -> StandbyCluster {
    cluster(&json!({"metadata": {"annotations": annotations}}))
}

/// Both nodes with everything are lost; one that lacks something is left.
fn lost() -> StandbyCluster {
    cluster(&json!({"status": {
        "options": [{"action": "acceptDataLoss", "node": "db-3", "losesUpTo": 120_433, "epoch": 7,
            "cost": "loses up to 33 writes: 120401 to 120433"}],
    }}))
}

fn annotations(change: &Change) -> Value {
    change.patch(Some("41")).expect("a patch")["metadata"]["annotations"].clone()
}

fn fence_of(nodes: &[&str], stop_writes: bool) -> Order {
    Order::Fence {
        nodes: nodes.iter().map(ToString::to_string).collect(),
        stop_writes,
    }
}

fn loss_of(loses_up_to: i64, confirm: &str) -> Order {
    let consent = Consent {
        confirm: confirm.into(),
        by: "ada".into(),
        reason: "rack 4 burnt".into(),
    };
    Order::Promote {
        node: "db-3".into(),
        loss: Some(Loss {
            consent,
            loses_up_to,
        }),
    }
}

fn why(result: Result<Change>) -> String {
    match result {
        Err(error) => error.to_string(),
        Ok(change) => panic!("it was not refused: {change:?}"),
    }
}

#[test]
fn a_switchover_names_the_epoch_that_was_looked_at() {
    let change = change(
        &healthy(),
        &Order::Switchover {
            to: Some("db-2".into()),
        },
    )
    .unwrap();
    let patch = change.patch(Some("41")).unwrap();
    assert_eq!(
        patch,
        json!({"metadata": {"resourceVersion": "41",
            "annotations": {"standby.dev/switchover": "db-2@7"}}})
    );
    assert!(change.notes.is_empty());
}

#[test]
fn a_switchover_to_nobody_in_particular_asks_for_the_best() {
    let change = change(&healthy(), &Order::Switchover { to: None }).unwrap();
    assert_eq!(
        annotations(&change),
        json!({"standby.dev/switchover": "any@7"})
    );
}

#[test]
fn a_switchover_to_a_node_that_is_not_ready_for_it_says_so_and_leaves_it_to_the_operator() {
    let change = change(
        &healthy(),
        &Order::Switchover {
            to: Some("db-3".into()),
        },
    )
    .unwrap();
    assert_eq!(
        annotations(&change),
        json!({"standby.dev/switchover": "db-3@7"})
    );
    assert_eq!(change.notes.len(), 1);
}

#[test]
fn a_switchover_to_the_primary_changes_nothing() {
    let change = change(
        &healthy(),
        &Order::Switchover {
            to: Some("db-1".into()),
        },
    )
    .unwrap();
    assert_eq!(change.patch(Some("41")), None);
}

#[test]
fn a_node_that_is_not_there_is_told_with_those_that_are() {
    let order = Order::Switchover {
        to: Some("db-9".into()),
    };
    let error = change(&healthy(), &order).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert_eq!(error.hint().unwrap(), "its nodes are db-1, db-2, db-3");
}

#[test]
fn a_paused_or_sleeping_cluster_takes_no_order() {
    let order = Order::Switchover { to: None };
    let paused = annotated(&json!({"standby.dev/paused": "true"}));
    assert!(why(change(&paused, &order)).contains("paused"));
    let asleep = cluster(&json!({"spec": {"hibernated": true}}));
    assert!(why(change(&asleep, &order)).contains("hibernated"));
}

#[test]
fn a_node_with_everything_is_promoted_without_consent() {
    let order = Order::Promote {
        node: "db-2".into(),
        loss: None,
    };
    let change = change(&healthy(), &order).unwrap();
    assert_eq!(
        annotations(&change),
        json!({"standby.dev/promote": "db-2@7"})
    );
}

#[test]
fn while_the_primary_works_there_is_nothing_to_decide() {
    let works = cluster(&json!({"status": {"conditions": [
        {"type": "Available", "status": "True", "reason": "AcceptsWrites", "message": "",
            "lastTransitionTime": "2026-11-21T12:00:00Z"},
    ]}}));
    let order = Order::Promote {
        node: "db-2".into(),
        loss: None,
    };
    let error = change(&works, &order).unwrap_err();
    let hint = error.hint().unwrap();
    assert!(hint.ends_with("switchover db --to db-2"), "{hint}");
}

#[test]
fn a_node_that_may_lack_writes_is_refused_with_what_it_would_cost_and_how_to_consent() {
    let order = Order::Promote {
        node: "db-3".into(),
        loss: None,
    };
    let error = change(&lost(), &order).unwrap_err();
    assert!(error.to_string().contains("33 writes"), "{error}");
    assert_eq!(
        error.hint().unwrap(),
        "if that must be: kubectl standby promote shop/db db-3 --accept-data-loss \
         --loses-up-to 120433 --cluster shop/db --reason TEXT"
    );
}

#[test]
fn consent_that_names_less_than_may_be_lost_is_refused() {
    let text = why(change(&lost(), &loss_of(120_432, "shop/db")));
    assert!(text.contains("at least 120433, was 120432"), "{text}");
}

#[test]
fn consent_for_another_cluster_is_refused() {
    let text = why(change(&lost(), &loss_of(120_433, "shop/other")));
    assert!(text.contains("shop/db, was shop/other"), "{text}");
}

#[test]
fn consent_says_who_why_how_much_and_where() {
    let change = change(&lost(), &loss_of(120_433, "shop/db")).unwrap();
    let value = &annotations(&change)["standby.dev/accept-data-loss"];
    let value: Value = serde_json::from_str(value.as_str().unwrap()).unwrap();
    assert_eq!(
        value,
        json!({"cluster": "shop/db", "epoch": 7, "node": "db-3", "losesUpTo": 120_433,
            "by": "ada", "why": "rack 4 burnt"})
    );
    assert_eq!(change.notes[0], "loses up to 33 writes: 120401 to 120433");
}

#[test]
fn nothing_is_lost_where_nothing_needs_to_be() {
    let promotable = cluster(&json!({"status": {"nodes": [
        {"name": "db-3", "role": "replica", "healthy": true, "reason": "", "promotable": true,
            "promotableReason": ""},
    ]}}));
    let text = why(change(&promotable, &loss_of(9, "shop/db")));
    assert!(text.contains("nothing needs to be lost"), "{text}");
    let text = why(change(&healthy(), &loss_of(9, "shop/db")));
    assert!(text.contains("does not offer"), "{text}");
}

#[test]
fn a_view_is_recovered_only_when_one_was_lost() {
    let consent = Consent {
        confirm: "shop/db".into(),
        by: "ada".into(),
        reason: "db-2 is gone".into(),
    };
    let order = Order::Recover {
        consent,
        loses_up_to: None,
    };
    assert!(why(change(&healthy(), &order)).contains("no view was lost"));
    let blocked = cluster(&json!({"status": {"epoch": null,
        "options": [{"action": "acceptRecovery", "epoch": 12, "cost": "db-2 cannot be asked"}]}}));
    let change = change(&blocked, &order).unwrap();
    let value = &annotations(&change)["standby.dev/accept-recovery"];
    assert_eq!(
        value.as_str().unwrap(),
        r#"{"cluster":"shop/db","epoch":12,"by":"ada","why":"db-2 is gone"}"#
    );
}

#[test]
fn a_view_is_recovered_by_a_node_that_lacks_writes_only_when_that_loss_is_named() {
    let recover = |loses_up_to| Order::Recover {
        consent: Consent {
            confirm: "shop/db".into(),
            by: "ada".into(),
            reason: "all burned".into(),
        },
        loses_up_to,
    };
    let blocked = cluster(&json!({"status": {"epoch": null, "options": [
        {"action": "acceptRecovery", "node": "db-3", "epoch": 12, "losesUpTo": 9, "cost": "LOSES"}]}}));
    for too_little in [None, Some(8)] {
        let text = why(change(&blocked, &recover(too_little)));
        assert!(text.contains("--loses-up-to must be at least 9"), "{text}");
    }
    let change = change(&blocked, &recover(Some(9))).unwrap();
    let value = &annotations(&change)["standby.dev/accept-recovery"];
    assert!(
        value.as_str().unwrap().contains(r#""losesUpTo":9"#),
        "{value}"
    );
}

#[test]
fn fences_add_up() {
    let fenced = annotated(&json!({"standby.dev/fence": "db-3"}));
    let available = |mut cluster: StandbyCluster| {
        cluster.spec.durability = standby_api::Durability::Available;
        cluster
    };
    let change = change(&available(fenced), &fence_of(&["db-2"], false)).unwrap();
    assert_eq!(
        annotations(&change),
        json!({"standby.dev/fence": "db-2,db-3"})
    );
}

#[test]
fn a_fence_that_stops_writes_needs_to_be_meant() {
    let order = fence_of(&["db-2", "db-3"], false);
    let text = why(change(&healthy(), &order));
    assert!(text.contains("no healthy node would be left"), "{text}");
    let text = why(change(&healthy(), &fence_of(&["db-1", "db-2"], false)));
    assert!(text.contains("nobody could take over"), "{text}");
    let meant = change(&healthy(), &fence_of(&["db-1", "db-2"], true)).unwrap();
    assert_eq!(
        annotations(&meant),
        json!({"standby.dev/fence": "db-1,db-2"})
    );
}

#[test]
fn a_fenced_primary_hands_over() {
    let change = change(&healthy(), &fence_of(&["db-1"], false)).unwrap();
    assert!(
        change.notes[0].contains("hands over first"),
        "{:?}",
        change.notes
    );
}

#[test]
fn the_last_fence_takes_the_annotation_away() {
    let fenced = annotated(&json!({"standby.dev/fence": "db-2, db-3"}));
    let one = Order::Unfence {
        nodes: Some(vec!["db-2".into()]),
    };
    let change_one = change(&fenced, &one).unwrap();
    assert_eq!(
        annotations(&change_one),
        json!({"standby.dev/fence": "db-3"})
    );
    let all = change(&fenced, &Order::Unfence { nodes: None }).unwrap();
    assert_eq!(annotations(&all), json!({"standby.dev/fence": null}));
    let nothing = change(&healthy(), &Order::Unfence { nodes: None }).unwrap();
    assert_eq!(nothing.patch(None), None);
}

fn pods() -> Vec<PodIdentity> {
    ["db-1", "db-2", "db-3"]
        .map(|name| PodIdentity {
            name: name.into(),
            uid: format!("uid-{name}"),
        })
        .into()
}

#[test]
fn a_restart_names_the_pods_that_are_there_now() {
    let nodes = Some(vec!["db-3".into()]);
    let order = Order::Restart {
        nodes,
        pods: pods(),
    };
    let change = change(&healthy(), &order).unwrap();
    assert_eq!(
        annotations(&change),
        json!({"standby.dev/restart": "db-3@uid-db-3"})
    );
}

#[test]
fn a_restart_keeps_what_was_ordered_and_is_not_done() {
    let before = annotated(&json!({"standby.dev/restart": "db-2@uid-db-2,db-3@uid-before"}));
    let nodes = Some(vec!["db-1".into()]);
    let change = change(
        &before,
        &Order::Restart {
            nodes,
            pods: pods(),
        },
    )
    .unwrap();
    assert_eq!(
        annotations(&change),
        json!({"standby.dev/restart": "db-1@uid-db-1,db-2@uid-db-2"})
    );
}

#[test]
fn pausing_twice_changes_nothing() {
    let paused = annotated(&json!({"standby.dev/paused": "true"}));
    assert_eq!(
        change(&paused, &Order::Pause(true)).unwrap().patch(None),
        None
    );
    let resumed = change(&paused, &Order::Pause(false)).unwrap();
    assert_eq!(annotations(&resumed), json!({"standby.dev/paused": null}));
}

#[test]
fn sleep_is_a_field_of_the_specification() {
    let change = change(&healthy(), &Order::Hibernate(true)).unwrap();
    assert_eq!(
        change.patch(Some("41")).unwrap(),
        json!({"metadata": {"resourceVersion": "41"}, "spec": {"hibernated": true}})
    );
}

#[test]
fn nodes_of_two_clusters_are_not_meant_together() {
    let nodes = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        cluster_of(&nodes(&["my-db-2", "my-db-10"])).unwrap(),
        "my-db"
    );
    assert!(cluster_of(&nodes(&["db-1", "other-1"])).is_err());
    assert!(cluster_of(&nodes(&["db"])).is_err());
    assert!(cluster_of(&nodes(&["db-x"])).is_err());
}

fn answer(outcome: &str, time: &str) -> Value {
    json!({"order": "switchover", "value": "db-2@7", "outcome": outcome, "reason": "so it is",
        "time": time})
}

fn ended(cluster: &StandbyCluster, before: &[standby_api::OrderStatus]) -> Option<String> {
    let goal = Goal::answer(names::ANNOTATION_SWITCHOVER, "db-2@7");
    match progress(&goal, before, cluster) {
        Progress::Ended(outcome) => Some(format!("{:?}", outcome.outcome)),
        Progress::Pending(_) => None,
    }
}

#[test]
fn an_order_ends_with_the_operators_answer() {
    let with = |answers: &Value| cluster(&json!({"status": {"orders": answers}}));
    let time = "2026-11-21T12:00:00Z";
    assert_eq!(ended(&healthy(), &[]), None);
    assert_eq!(ended(&with(&json!([answer("Accepted", time)])), &[]), None);
    let done = with(&json!([answer("Done", time)]));
    assert_eq!(ended(&done, &[]).as_deref(), Some("Done"));
    let refused = with(&json!([answer("Refused", time)]));
    assert_eq!(ended(&refused, &[]).as_deref(), Some("Refused"));
}

#[test]
fn an_answer_from_before_is_no_answer() {
    let old = cluster(&json!({"status": {"orders": [answer("Refused", "2026-11-21T12:00:00Z")]}}));
    let before = old.status.clone().unwrap().orders;
    assert_eq!(ended(&old, &before), None);
    let new = cluster(&json!({"status": {"orders": [answer("Refused", "2026-11-21T12:00:09Z")]}}));
    assert_eq!(ended(&new, &before).as_deref(), Some("Refused"));
}

#[test]
fn a_fence_ends_when_nobody_of_it_has_a_role() {
    let goal = |node: &str| Goal::Relieved {
        nodes: vec![node.into()],
        value: node.into(),
    };
    let is = |node: &str| matches!(progress(&goal(node), &[], &healthy()), Progress::Ended(_));
    assert!(is("db-3"));
    assert!(!is("db-2"));
    assert!(!is("db-1"));
}

#[test]
fn sleep_ends_when_the_operator_has_seen_it_and_no_pod_is_left() {
    let is = |changes: &Value| {
        let state = progress(&Goal::Asleep(true), &[], &cluster(changes));
        matches!(state, Progress::Ended(_))
    };
    assert!(!is(&json!({})));
    assert!(!is(
        &json!({"metadata": {"generation": 2}, "status": {"replicas": 0}})
    ));
    assert!(is(&json!({"status": {"replicas": 0}})));
}

#[test]
fn pods_that_are_gone_have_been_replaced() {
    let goal = Goal::Replaced {
        value: "db-3@u".into(),
    };
    let void = cluster(&json!({"status": {"orders": [
        {"order": "restart", "value": "db-3@u", "outcome": "Void", "reason": "gone",
            "time": "2026-11-21T12:00:00Z"},
    ]}}));
    match progress(&goal, &[], &void) {
        Progress::Ended(ended) => assert_eq!(ended.outcome, standby_api::OrderOutcome::Done),
        Progress::Pending(last) => panic!("it goes on: {last}"),
    }
}

#[test]
fn a_fenced_primary_that_stepped_down_for_nobody_is_relieved() {
    let stalled = cluster(&json!({"status": {"conditions": [
        {"type": "Stalled", "status": "True", "reason": "GaveUp", "message": "nobody",
            "lastTransitionTime": "2026-11-21T12:00:00Z"},
    ]}}));
    let goal = Goal::Relieved {
        nodes: vec!["db-1".into()],
        value: "db-1".into(),
    };
    assert!(matches!(progress(&goal, &[], &stalled), Progress::Ended(_)));
    assert!(matches!(
        progress(&goal, &[], &healthy()),
        Progress::Pending(_)
    ));
}
