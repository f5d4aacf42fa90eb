//! What can be ordered, and what is said of what cannot be understood.

use std::collections::BTreeMap;

use standby_api::names;
use standby_core::{Epoch, Index};

use super::Orders;

fn read(annotation: &str, value: &str) -> Orders {
    Orders::read(&BTreeMap::from([(annotation.to_owned(), value.to_owned())]))
}

fn complaint(annotation: &str, value: &str) -> String {
    let orders = read(annotation, value);
    assert_eq!(orders.given.len(), 1);
    let error = orders.given[0].error.as_ref();
    error.map(ToString::to_string).unwrap_or_default()
}

#[test]
fn a_switchover_names_a_pod_and_an_epoch() {
    let order = read(names::ANNOTATION_SWITCHOVER, " db-2@17 ").switchover;
    let order = order.expect("understood");
    assert_eq!((order.node.as_str(), order.epoch), ("db-2", Epoch(17)));
    for wrong in ["db-2", "@17", "db-2@", "db-2@x", "db-2@-1"] {
        let text = complaint(names::ANNOTATION_SWITCHOVER, wrong);
        assert!(text.contains("<pod>@<epoch>"), "{wrong}: {text}");
        assert_eq!(read(names::ANNOTATION_SWITCHOVER, wrong).switchover, None);
    }
}

#[test]
fn consent_to_loss_is_json_with_every_field() {
    let text =
        r#"{"cluster":"shop/db","epoch":7,"node":"db-3","losesUpTo":120,"by":"a","why":"b"}"#;
    let consent = read(names::ANNOTATION_ACCEPT_DATA_LOSS, text).accept_loss;
    let consent = consent.expect("understood");
    assert_eq!((consent.up_to(), consent.epoch), (Index(120), 7));
    let missing = r#"{"cluster":"shop/db","epoch":7,"node":"db-3","by":"a","why":"b"}"#;
    let text = complaint(names::ANNOTATION_ACCEPT_DATA_LOSS, missing);
    assert!(text.contains("losesUpTo"), "{text}");
    let silent = r#"{"cluster":"shop/db","epoch":7,"node":"db-3","losesUpTo":1,"by":"a","why":""}"#;
    assert_eq!(
        complaint(names::ANNOTATION_ACCEPT_DATA_LOSS, silent),
        "why must have between 1 and 1000 characters"
    );
}

#[test]
fn consent_to_recovery_names_no_node() {
    let good = r#"{"cluster":"shop/db","epoch":7,"by":"a","why":"b"}"#;
    assert!(
        read(names::ANNOTATION_ACCEPT_RECOVERY, good)
            .accept_recovery
            .is_some()
    );
    let more = r#"{"cluster":"shop/db","epoch":7,"node":"db-3","by":"a","why":"b"}"#;
    assert!(complaint(names::ANNOTATION_ACCEPT_RECOVERY, more).contains("unknown field"));
}

#[test]
fn pods_are_fenced_and_restarted_by_lists() {
    let orders = read(names::ANNOTATION_FENCE, "db-1, db-3,");
    assert!(orders.fences("db-1") && orders.fences("db-3") && !orders.fences("db-2"));
    let orders = read(names::ANNOTATION_RESTART, "db-1@u-1,db-2@u-2");
    assert!(orders.restarts("db-1", "u-1") && !orders.restarts("db-1", "u-2"));
    assert!(complaint(names::ANNOTATION_RESTART, "db-1").contains("\"db-1\" is not"));
}

#[test]
fn a_cluster_is_paused_by_exactly_the_word_true() {
    assert!(read(names::ANNOTATION_PAUSED, "true").paused);
    assert!(!read(names::ANNOTATION_PAUSED, "false").paused);
    let orders = read(names::ANNOTATION_PAUSED, "yes");
    assert!(!orders.paused && orders.given[0].error.is_some());
    assert!(read(names::ANNOTATION_PAUSED, "").given.is_empty());
}
