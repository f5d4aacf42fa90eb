//! What the API server refuses of a `StandbyCluster`, and in which words.

use kube_cel::{Validator, apply_defaults, compile_schema, estimate_rule_cost};
use serde_json::{Value, json};

fn schema_of(kind: &str) -> Value {
    let definition = standby_api::crds::definitions()
        .into_iter()
        .find(|definition| definition["spec"]["names"]["kind"] == kind)
        .expect("the kind is among the custom resources");
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

fn cluster(spec: &Value) -> Value {
    named("db", spec)
}

fn named(name: &str, spec: &Value) -> Value {
    json!({ "metadata": { "name": name }, "spec": spec })
}

/// What the API server says to `new`, which replaces `old`.
fn verdict(old: Option<&Value>, new: &Value) -> String {
    match Validator::new().validate_with_defaults(&schema_of("StandbyCluster"), new, old) {
        Ok(()) => String::new(),
        Err(errors) => errors.to_string(),
    }
}

fn refused(old: Option<&Value>, new: &Value, words: &str) {
    let text = verdict(old, new);
    assert!(text.contains(words), "{text:?} does not say {words:?}");
}

#[test]
fn a_size_is_all_that_must_be_given() {
    assert_eq!(
        verdict(None, &cluster(&json!({ "storage": { "size": "1Gi" } }))),
        ""
    );
    let schema = schema_of("StandbyCluster");
    let filled = apply_defaults(&schema, &cluster(&json!({ "storage": { "size": "1Gi" } })));
    let parsed: standby_api::StandbyClusterSpec =
        serde_json::from_value(filled["spec"].clone()).expect("defaults make a whole spec");
    let ours: standby_api::StandbyClusterSpec =
        serde_json::from_value(json!({ "storage": { "size": "1Gi" } })).expect("as the operator");
    assert_eq!(
        parsed, ours,
        "the API server and the operator fill in the same defaults"
    );
}

#[test]
fn a_single_copy_cannot_be_strict() {
    let spec = json!({ "instances": 1, "storage": { "size": "1Gi" } });
    refused(
        None,
        &cluster(&spec),
        "instances: 1 needs durability: Available, was Strict",
    );
    let spec = json!({ "instances": 1, "durability": "Available", "storage": { "size": "1Gi" } });
    assert_eq!(verdict(None, &cluster(&spec)), "");
}

#[test]
fn a_size_is_a_quantity_and_not_too_small() {
    for size in ["ten", "1Mi", "1023Mi", "10GB"] {
        refused(
            None,
            &cluster(&json!({ "storage": { "size": size } })),
            &format!("size must be a quantity of at least 1Gi, such as 10Gi, was \"{size}\""),
        );
    }
}

#[test]
fn a_volume_never_shrinks_and_may_grow() {
    let ten = cluster(&json!({ "storage": { "size": "10Gi" } }));
    let five = cluster(&json!({ "storage": { "size": "5Gi" } }));
    refused(
        Some(&ten),
        &five,
        "size cannot shrink: must be at least 10Gi, was 5Gi",
    );
    assert_eq!(verdict(Some(&five), &ten), "");
}

#[test]
fn the_storage_class_never_changes() {
    let fast = cluster(&json!({ "storage": { "size": "1Gi", "storageClassName": "fast" } }));
    let slow = cluster(&json!({ "storage": { "size": "1Gi", "storageClassName": "slow" } }));
    let none = cluster(&json!({ "storage": { "size": "1Gi" } }));
    for (old, new) in [(&fast, &slow), (&fast, &none), (&none, &fast)] {
        refused(Some(old), new, "storageClassName cannot be changed");
    }
    assert_eq!(verdict(Some(&fast), &fast), "");
}

#[test]
fn a_quota_fits_the_volume() {
    let spec = |bytes: i64| {
        cluster(&json!({
            "storage": { "size": "1Gi" },
            "etcd": { "quotaBackendBytes": bytes },
        }))
    };
    refused(
        None,
        &spec(2_147_483_648),
        "etcd.quotaBackendBytes must be less than storage.size (1Gi)",
    );
    assert_eq!(verdict(None, &spec(536_870_912)), "");
}

#[test]
fn thresholds_fit_each_other() {
    let spec = |detection: Value| {
        cluster(&json!({
            "storage": { "size": "1Gi" },
            "failover": { "detection": detection },
        }))
    };
    refused(
        None,
        &spec(json!({ "silenceMinMs": 6000 })),
        "silenceMinMs must be at most silenceMaxMs",
    );
    refused(
        None,
        &spec(json!({ "heartbeatIntervalMs": 600 })),
        "silenceMinMs must be at least twice heartbeatIntervalMs",
    );
}

#[test]
fn a_maintenance_window_has_a_schedule_of_five_fields_and_a_time_zone() {
    let spec = |window: Value| {
        cluster(&json!({
            "storage": { "size": "1Gi" },
            "maintenance": { "windows": [window] },
        }))
    };
    let night = json!({ "schedule": "0 3 * * 6", "durationMinutes": 120 });
    assert_eq!(verdict(None, &spec(night)), "");
    let berlin = json!({
        "schedule": "30 2 1-7 */2 MON-FRI", "timeZone": "Europe/Berlin", "durationMinutes": 60,
    });
    assert_eq!(verdict(None, &spec(berlin)), "");
    refused(
        None,
        &spec(json!({ "schedule": "every saturday", "durationMinutes": 120 })),
        "schedule must have five fields separated by single spaces",
    );
    refused(
        None,
        &spec(json!({ "schedule": "0 3 * * 6", "timeZone": "CET!", "durationMinutes": 120 })),
        "timeZone must be a name of the IANA database, such as Europe/Berlin, was \"CET!\"",
    );
}

#[test]
fn a_preferred_place_is_named_once() {
    let spec = |preference: Value| {
        cluster(&json!({
            "storage": { "size": "1Gi" },
            "failover": { "preference": preference },
        }))
    };
    let good = json!({ "zones": ["a", "b"], "nodes": ["db-1"] });
    assert_eq!(verdict(None, &spec(good)), "");
    refused(
        None,
        &spec(json!({ "zones": ["a", "a"] })),
        "zones must not name a zone twice",
    );
    refused(
        None,
        &spec(json!({ "nodes": ["h", "g", "h"] })),
        "nodes must not name a node twice",
    );
}

#[test]
fn a_name_fits_its_pods_and_services() {
    let spec = json!({ "storage": { "size": "1Gi" } });
    refused(
        None,
        &named(&"a".repeat(41), &spec),
        "must have at most 40 characters, was \"aaaa",
    );
    refused(None, &named("1db", &spec), "must start with a letter");
    refused(None, &named("my.db", &spec), "hold only a-z, 0-9 and -");
}

#[test]
fn every_rule_stays_within_the_cost_limits_by_the_static_estimate() {
    fn visit(schema: &Value, at: &str) {
        let compiled = compile_schema(schema);
        assert!(
            !compiled.has_errors(),
            "{at}: {:?}",
            compiled.compilation_errors()
        );
        for rule in schema["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let text = rule["rule"].as_str().expect("a rule is text");
            let warnings = estimate_rule_cost(text, &compiled);
            assert!(warnings.is_empty(), "{at}: {warnings:?}");
        }
        for (name, child) in schema["properties"].as_object().into_iter().flatten() {
            visit(child, &format!("{at}.{name}"));
        }
        for child in [&schema["items"], &schema["additionalProperties"]] {
            if child.is_object() {
                visit(child, &format!("{at}[]"));
            }
        }
    }
    for kind in ["StandbyCluster", "StandbyView"] {
        visit(&schema_of(kind), kind);
    }
}
