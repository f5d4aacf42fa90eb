//! Every document as text and as JSON, against files under `golden/`: a change of what people and
//! programs see shows up as a change of a file. Run with `STANDBY_REWRITE_GOLDEN=1` to write them.

use std::path::PathBuf;

use clap::CommandFactory;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use standby_kubectl::cli::Arguments;
use standby_kubectl::document::{
    ChangeDocument, Head, LeftOut, ListDocument, OperatorDocument, OutcomeDocument, PlanDocument,
    StatusDocument, WhyDocument,
};
use standby_kubectl::orders::{self, Consent, Loss, Order};
use standby_kubectl::render::{Show, manifest};
use standby_kubectl::report::{Entry, never, pack};

use crate::fixtures::{awaiting_person, failing_over, healthy, new, now, paused, typed};

/// The folder of the files.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Whether files are to be written instead of compared.
pub fn rewrites() -> bool {
    std::env::var_os("STANDBY_REWRITE_GOLDEN").is_some()
}

/// Compares a text with its file.
pub fn compare(file: &str, text: &str) {
    let path = folder().join(file);
    if rewrites() {
        std::fs::write(&path, text).expect("the golden file is written");
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text, expected,
        "{file} differs: run with STANDBY_REWRITE_GOLDEN=1 and look at the change"
    );
}

/// Compares both forms of a document.
fn both<D: Serialize + Show>(name: &str, document: &D) {
    compare(&format!("{name}.txt"), &document.show(now()));
    let json = serde_json::to_string_pretty(document).expect("JSON") + "\n";
    compare(&format!("{name}.json"), &json);
}

fn leader(renewed: &str, leads: bool) -> Vec<OperatorDocument> {
    vec![OperatorDocument {
        namespace: "standby-system".into(),
        holder: Some("standby-6d5f7c9b8-x2x4q".into()),
        renewed: Some(renewed.parse::<Timestamp>().expect("a time")),
        leads,
    }]
}

fn status(cluster: &Value) -> StatusDocument {
    StatusDocument::new(&typed(cluster), Some(leader("2026-11-21T11:59:59Z", true)))
}

#[test]
fn the_status_of_a_healthy_cluster() {
    both("status_healthy", &status(&healthy()));
}

#[test]
fn the_status_while_a_person_is_awaited() {
    both("status_awaiting_person", &status(&awaiting_person()));
}

#[test]
fn the_status_during_a_failover_without_a_right_to_see_the_operator() {
    both(
        "status_failing_over",
        &StatusDocument::new(&typed(&failing_over()), None),
    );
}

#[test]
fn the_status_of_a_paused_cluster_without_an_operator() {
    let operators = leader("2026-11-21T11:50:00Z", false);
    both(
        "status_paused",
        &StatusDocument::new(&typed(&paused()), Some(operators)),
    );
}

#[test]
fn the_status_of_a_cluster_nobody_has_looked_at() {
    both(
        "status_new",
        &StatusDocument::new(&typed(&new()), Some(Vec::new())),
    );
}

#[test]
fn the_status_of_a_sleeping_cluster() {
    let mut cluster = healthy();
    cluster["spec"]["hibernated"] = true.into();
    let text = StatusDocument::new(&typed(&cluster), None).show(now());
    compare("status_hibernated.txt", &text);
}

#[test]
fn the_status_of_all_clusters() {
    let items = vec![
        status(&new()),
        status(&healthy()),
        status(&awaiting_person()),
    ];
    both("status_all", &ListDocument::new("Status", items));
    let nothing = ListDocument::<StatusDocument>::new("Status", Vec::new());
    compare("status_none.txt", &nothing.show(now()));
}

#[test]
fn the_plan_in_each_state() {
    both("plan_healthy", &PlanDocument::new(&typed(&healthy())));
    both(
        "plan_failing_over",
        &PlanDocument::new(&typed(&failing_over())),
    );
    both("plan_paused", &PlanDocument::new(&typed(&paused())));
    both(
        "plan_awaiting_person",
        &PlanDocument::new(&typed(&awaiting_person())),
    );
    let items = vec![
        PlanDocument::new(&typed(&new())),
        PlanDocument::new(&typed(&failing_over())),
    ];
    both("plan_all", &ListDocument::new("Plan", items));
}

#[test]
fn why_nobody_is_promoted_in_each_state() {
    both("why_healthy", &WhyDocument::new(&typed(&healthy())));
    both(
        "why_awaiting_person",
        &WhyDocument::new(&typed(&awaiting_person())),
    );
    both(
        "why_failing_over",
        &WhyDocument::new(&typed(&failing_over())),
    );
    both("why_paused", &WhyDocument::new(&typed(&paused())));
    both("why_new", &WhyDocument::new(&typed(&new())));
}

#[test]
fn why_a_cluster_that_could_not_fail_over_says_so() {
    let mut cluster = healthy();
    cluster["status"]["conditions"][2]["status"] = "False".into();
    cluster["status"]["conditions"][2]["message"] = "nobody could take over from db-2".into();
    both("why_unsafe", &WhyDocument::new(&typed(&cluster)));
}

fn changed(cluster: &Value, order: &Order, dry_run: bool) -> ChangeDocument {
    let cluster = typed(cluster);
    let change = orders::change(&cluster, order).expect("the order fits");
    let patch = change.patch(Some("41"));
    let status = StatusDocument::new(&cluster, None);
    ChangeDocument {
        head: Head {
            kind: "Change",
            ..status.head
        },
        verb: change.verb,
        dry_run,
        changed: patch.is_some(),
        patch,
        message: change.message,
        notes: change.notes,
        outcome: None,
    }
}

fn ended(mut document: ChangeDocument, outcome: &str, reason: &str) -> ChangeDocument {
    let outcome = serde_json::from_value(outcome.into()).expect("an outcome");
    document.outcome = Some(OutcomeDocument {
        outcome,
        reason: reason.into(),
        time: Some(now()),
    });
    document
}

#[test]
fn what_changes_say() {
    let to = |node: &str| Order::Switchover {
        to: Some(node.into()),
    };
    let switchover = changed(&healthy(), &to("db-1"), false);
    let done = ended(switchover.clone(), "Done", "db-1 is primary in epoch 8");
    both("switchover", &done);
    let reason = "db-1 is 12000 entries behind (the order has been taken back)";
    both("switchover_refused", &ended(switchover, "Refused", reason));
    both(
        "switchover_dry_run",
        &changed(&healthy(), &to("db-3"), true),
    );
    both(
        "switchover_nothing",
        &changed(&healthy(), &to("db-2"), false),
    );
    let fence = Order::Fence {
        nodes: vec!["db-2".into()],
        stop_writes: false,
    };
    both("fence", &changed(&healthy(), &fence, false));
    let unfence = Order::Unfence { nodes: None };
    both("unfence", &changed(&paused(), &unfence, false));
    both("pause", &changed(&healthy(), &Order::Pause(true), false));
    both("resume", &changed(&paused(), &Order::Pause(false), false));
    both(
        "hibernate",
        &changed(&healthy(), &Order::Hibernate(true), false),
    );
    let restart = Order::Restart {
        nodes: Some(vec!["db-3".into()]),
        pods: vec![orders::PodIdentity {
            name: "db-3".into(),
            uid: "5f0c7c57-2f0f-4f5e-9a3a-0f6f1f9f3a11".into(),
        }],
    };
    both("restart", &changed(&healthy(), &restart, false));
}

fn loss(loses_up_to: i64) -> Order {
    let consent = Consent {
        confirm: "shop/db".into(),
        by: "ada@example.org".into(),
        reason: "db-1 and db-2 lost with rack 4".into(),
    };
    Order::Promote {
        node: "db-3".into(),
        loss: Some(Loss {
            consent,
            loses_up_to,
        }),
    }
}

#[test]
fn what_promotions_say() {
    let without = |node: &str| Order::Promote {
        node: node.into(),
        loss: None,
    };
    both(
        "promote",
        &changed(&awaiting_person(), &without("db-1"), false),
    );
    both(
        "promote_with_loss",
        &changed(&awaiting_person(), &loss(120_433), false),
    );
    let cluster = typed(&awaiting_person());
    let refused = [
        ("promote_refused", without("db-3")),
        ("promote_loss_too_low", loss(120_000)),
    ];
    for (name, order) in refused {
        let error = orders::change(&cluster, &order).expect_err("it is refused");
        let hint = error.hint().expect("a hint");
        compare(
            &format!("{name}.txt"),
            &format!("error: {error}\nhint: {hint}\n"),
        );
        let json = serde_json::to_string_pretty(&error.document()).expect("JSON") + "\n";
        compare(&format!("{name}.json"), &json);
    }
}

#[test]
fn what_a_report_says_about_itself() {
    let entry = |file: &str, what: &str| Entry {
        file: file.into(),
        what: what.into(),
        content: "x".repeat(1_500),
    };
    let entries = [
        entry("status.txt", "what `status` shows"),
        entry("logs/nodes/db-1.node.log", "the last 5000 lines"),
    ];
    let mut left_out = never();
    left_out.push(LeftOut {
        what: "nodes".into(),
        why: "not allowed to list nodes".into(),
    });
    let head = Head {
        kind: "Report",
        ..status(&healthy()).head
    };
    let mut document = pack::document(head, now(), &entries, left_out);
    document.plugin_version = "0.1.0";
    compare("manifest.txt", &manifest(&document));
    document.archive = Some("standby-report-shop-db-20261121T120000Z.zip".into());
    both("report", &document);
}

#[test]
fn the_help() {
    let help = Arguments::command().term_width(100).render_long_help();
    compare("help.txt", &help.to_string());
}
