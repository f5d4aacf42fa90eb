//! What the verbs ask and write, and how they end.

use clap::Parser;
use http::Method;
use serde_json::{Value, json};
use standby_kubectl::carry_out;
use standby_kubectl::cli::Arguments;
use standby_kubectl::error::{Error, Result};
use standby_kubectl::output::Output;

use crate::fixtures::{awaiting_person, healthy, new};
use crate::server::{CLUSTERS, Server};

/// Runs a command line; what it printed, and its exit code.
pub async fn run(server: &Server, line: &str) -> Result<(String, u8)> {
    let words = std::iter::once("kubectl-standby").chain(line.split(' '));
    let arguments = Arguments::try_parse_from(words).expect("the command line is right");
    let mut shell = server.shell();
    if let Some(namespace) = &arguments.global.namespace {
        shell.namespace.clone_from(namespace);
    }
    let mut printed = Vec::new();
    let mut output = Output::to(arguments.global.output, &mut printed);
    let code = carry_out(&shell, arguments.verb, &mut output).await?;
    Ok((String::from_utf8(printed).expect("text"), code))
}

async fn error(server: &Server, line: &str) -> Error {
    match run(server, line).await {
        Err(error) => error,
        Ok((printed, code)) => panic!("it ended with {code}: {printed}"),
    }
}

async fn json_of(server: &Server, line: &str) -> Value {
    let (printed, code) = run(server, line).await.expect("it succeeds");
    assert_eq!(code, 0, "{printed}");
    serde_json::from_str(&printed).expect("JSON")
}

fn elsewhere() -> Value {
    let mut cluster = healthy();
    cluster["metadata"]["namespace"] = json!("bank");
    cluster
}

#[tokio::test]
async fn the_only_cluster_of_a_namespace_needs_no_name() {
    let server = Server::with(&[healthy(), elsewhere()]);
    let status = json_of(&server, "status -o json").await;
    assert_eq!(status["namespace"], "shop");
    assert_eq!(status["kind"], "Status");
    assert_eq!(status["status"]["primary"], "db-2");
}

#[tokio::test]
async fn a_name_may_carry_its_namespace() {
    let server = Server::with(&[healthy(), elsewhere()]);
    let why = json_of(&server, "why bank/db -o json").await;
    assert_eq!(why["namespace"], "bank");
}

#[tokio::test]
async fn of_several_clusters_one_must_be_named() {
    let server = Server::with(&[healthy(), new()]);
    let error = error(&server, "status").await;
    assert_eq!(error.exit_code(), 3);
    let hint = error.hint().expect("a hint");
    assert!(hint.contains("shop/cache, shop/db"), "{hint}");
}

#[tokio::test]
async fn a_wrong_name_is_answered_with_those_there_are() {
    let server = Server::with(&[healthy(), elsewhere()]);
    let error = error(&server, "status dv").await;
    assert_eq!(error.to_string(), "there is no StandbyCluster shop/dv");
    let hint = error.hint().expect("a hint");
    assert!(hint.contains("bank/db, shop/db"), "{hint}");
}

#[tokio::test]
async fn a_hint_stays_short_however_many_clusters_there_are() {
    let clusters: Vec<Value> = (0..30)
        .map(|number| {
            let mut cluster = healthy();
            cluster["metadata"]["name"] = json!(format!("db{number:02}"));
            cluster
        })
        .collect();
    let error = error(&Server::with(&clusters), "status nope").await;
    let hint = error.hint().expect("a hint");
    assert!(hint.contains("shop/db09 and 20 more"), "{hint}");
    assert!(!hint.contains("shop/db10"), "{hint}");
}

#[tokio::test]
async fn an_empty_namespace_is_answered_with_what_others_have() {
    let server = Server::with(&[elsewhere()]);
    let error = error(&server, "plan").await;
    assert_eq!(error.exit_code(), 3);
    assert!(error.hint().expect("a hint").contains("bank/db"));
}

#[tokio::test]
async fn without_definitions_the_operator_is_not_installed() {
    let server = Server::default();
    server.change(|state| state.bare = true);
    for line in ["status", "status db", "status -A", "pause db"] {
        let error = error(&server, line).await;
        assert_eq!(error.exit_code(), 7, "{line}: {error}");
        assert!(error.hint().expect("a hint").contains("helm install"));
    }
}

#[tokio::test]
async fn a_missing_right_is_named() {
    let server = Server::with(&[healthy()]);
    server.change(|state| state.forbidden = vec!["/apis/standby.dev/"]);
    let error = error(&server, "status").await;
    assert_eq!(error.exit_code(), 6);
    let text = error.to_string();
    let expected = "not allowed to list standbyclusters.standby.dev in namespace shop";
    assert!(text.starts_with(expected), "{text}");
    let hint = error.hint().expect("a hint");
    assert!(
        hint.contains("kubectl auth can-i list standbyclusters.standby.dev -n shop"),
        "{hint}"
    );
}

#[tokio::test]
async fn an_expired_login_is_told_apart_from_a_missing_right() {
    let server = Server::with(&[healthy()]);
    server.change(|state| state.unknown_caller = true);
    let error = error(&server, "status").await;
    assert!(matches!(error, Error::Unauthorized(_)), "{error}");
    assert_eq!(error.exit_code(), 6);
}

#[tokio::test]
async fn a_status_needs_no_right_to_see_the_operator() {
    let server = Server::with(&[healthy()]);
    server.change(|state| state.forbidden = vec!["/apis/coordination.k8s.io/"]);
    let status = json_of(&server, "status -o json").await;
    assert_eq!(status["operators"], Value::Null);
}

#[tokio::test]
async fn an_operator_whose_lease_is_old_does_not_lead() {
    let server = Server::with(&[healthy()]);
    server.change(|state| {
        let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "standby-operator", "namespace": "standby-system"},
            "spec": {"holderIdentity": "standby-1", "renewTime": "2020-01-01T00:00:00.000000Z"}});
        let path = "/apis/coordination.k8s.io/v1/namespaces/standby-system/leases/standby-operator";
        state.objects.insert(path.into(), lease);
    });
    let status = json_of(&server, "status -o json").await;
    assert_eq!(status["operators"][0]["holder"], "standby-1");
    assert_eq!(status["operators"][0]["leads"], false);
}

#[tokio::test]
async fn all_clusters_are_one_list() {
    let server = Server::with(&[healthy(), elsewhere(), new()]);
    for (line, kind) in [
        ("status -A -o json", "StatusList"),
        ("plan -A -o json", "PlanList"),
        ("why -A -o json", "WhyList"),
    ] {
        let list = json_of(&server, line).await;
        assert_eq!(list["kind"], kind);
        assert_eq!(list["items"].as_array().map(Vec::len), Some(3));
    }
}

#[tokio::test]
async fn a_change_is_a_merge_patch_for_the_version_that_was_read() {
    let server = Server::with(&[healthy()]);
    let change = json_of(&server, "switchover db --to db-1 -o json").await;
    assert_eq!(change["changed"], true);
    assert_eq!(change["outcome"], Value::Null);
    let written = server.written();
    assert_eq!(written.len(), 1);
    assert_eq!(written[0].path, format!("{CLUSTERS}/db"));
    assert_eq!(written[0].content_type, "application/merge-patch+json");
    assert!(written[0].query.contains("fieldManager=kubectl-standby"));
    assert_eq!(
        written[0].body,
        json!({"metadata": {"resourceVersion": "41",
            "annotations": {"standby.dev/switchover": "db-1@7"}}})
    );
}

#[tokio::test]
async fn a_change_that_lost_a_race_is_made_anew() {
    let server = Server::with(&[healthy()]);
    server.change(|state| state.races = 2);
    run(&server, "pause db").await.expect("it succeeds");
    let versions: Vec<Value> = server
        .written()
        .iter()
        .map(|asked| asked.body["metadata"]["resourceVersion"].clone())
        .collect();
    assert_eq!(versions, ["41", "42", "43"]);
}

#[tokio::test]
async fn a_change_that_always_loses_gives_up() {
    let server = Server::with(&[healthy()]);
    server.change(|state| state.races = usize::MAX);
    let error = error(&server, "pause db").await;
    assert!(matches!(error, Error::Contended(..)), "{error}");
    assert_eq!(error.exit_code(), 1);
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let server = Server::with(&[awaiting_person()]);
    for line in [
        "switchover --to db-1 --dry-run",
        "promote db db-1 --dry-run",
        "fence db-3 --dry-run",
        "pause --dry-run",
        "hibernate --dry-run",
    ] {
        let (printed, code) = run(&server, line).await.expect("it succeeds");
        assert_eq!(code, 0);
        assert!(printed.contains("dry run"), "{line}: {printed}");
    }
    assert!(server.written().is_empty());
}

#[tokio::test]
async fn nodes_say_which_cluster_is_meant() {
    let server = Server::with(&[healthy(), new()]);
    run(&server, "fence db-3").await.expect("it succeeds");
    let written = server.written();
    assert_eq!(
        written[0].body["metadata"]["annotations"],
        json!({"standby.dev/fence": "db-3"})
    );
    run(&server, "unfence --all --cluster db")
        .await
        .expect("it succeeds");
    let written = server.written();
    assert_eq!(
        written[1].body["metadata"]["annotations"],
        json!({"standby.dev/fence": null})
    );
}

#[tokio::test]
async fn a_restart_names_the_pods_by_their_identities() {
    let server = Server::with(&[healthy()]);
    server.change(|state| {
        for name in ["db-1", "db-2"] {
            let pod = json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}")}});
            state
                .objects
                .insert(format!("/api/v1/namespaces/shop/pods/{name}"), pod);
        }
    });
    run(&server, "restart --all").await.expect("it succeeds");
    assert_eq!(
        server.written()[0].body["metadata"]["annotations"],
        json!({"standby.dev/restart": "db-1@uid-db-1,db-2@uid-db-2"})
    );
}

const LOSS: &str = "promote db db-3 --accept-data-loss --cluster shop/db --reason fire";

#[tokio::test]
async fn consent_carries_the_name_the_api_server_knows() {
    let server = Server::with(&[awaiting_person()]);
    run(&server, &format!("{LOSS} --loses-up-to 120433"))
        .await
        .expect("it succeeds");
    let annotations = &server.written()[0].body["metadata"]["annotations"];
    let consent = annotations["standby.dev/accept-data-loss"]
        .as_str()
        .expect("consent");
    let consent: Value = serde_json::from_str(consent).expect("JSON");
    assert_eq!(consent["by"], "ada@example.org");
    assert_eq!(consent["losesUpTo"], 120_433);
}

#[tokio::test]
async fn consent_to_less_than_may_be_lost_writes_nothing() {
    let server = Server::with(&[awaiting_person()]);
    let error = error(&server, &format!("{LOSS} --loses-up-to 5")).await;
    assert_eq!(error.exit_code(), 4);
    assert!(server.written().is_empty());
}

fn answer(outcome: &str, reason: &str) -> Value {
    json!({"status": {"orders": [{"order": "switchover", "value": "db-1@7", "outcome": outcome,
        "reason": reason, "time": "2026-11-21T12:00:00Z"}]}})
}

async fn waited(script: &[Value]) -> (Server, Result<(String, u8)>) {
    let server = Server::with(&[healthy()]);
    server.change(|state| state.script = script.to_vec().into());
    let ended = run(&server, "switchover --to db-1 --wait --timeout 30s").await;
    (server, ended)
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_when_the_operator_has_done_it() {
    let script = [
        json!({}),
        answer("Accepted", "it hands over"),
        answer("Done", "db-1 leads"),
    ];
    let (_, ended) = waited(&script).await;
    let (printed, code) = ended.expect("it succeeds");
    assert_eq!(code, 0);
    assert!(printed.ends_with("done: db-1 leads\n"), "{printed}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_and_the_order_taken_back() {
    let (server, ended) = waited(&[answer("Refused", "db-1 is too far behind")]).await;
    let (printed, code) = ended.expect("it ends");
    assert_eq!(code, 4);
    assert!(
        printed.contains("refused: db-1 is too far behind"),
        "{printed}"
    );
    let last = server.written().pop().expect("it is taken back");
    assert_eq!(
        last.body["metadata"]["annotations"],
        json!({"standby.dev/switchover": null})
    );
}

#[tokio::test(start_paused = true)]
async fn an_order_of_somebody_else_is_not_taken_back() {
    let mut refused = answer("Refused", "no");
    refused["metadata"] = json!({"annotations": {"standby.dev/switchover": "db-3@8"}});
    let (server, ended) = waited(&[refused]).await;
    assert_eq!(ended.expect("it ends").1, 4);
    assert_eq!(server.written().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_order_that_lapsed_is_no_success() {
    let (_, ended) = waited(&[answer("Void", "epoch 8 is recorded")]).await;
    assert_eq!(ended.expect("it ends").1, 4);
}

#[tokio::test(start_paused = true)]
async fn waiting_has_an_end() {
    let (_, ended) = waited(&[]).await;
    let error = ended.expect_err("nobody answers");
    assert_eq!(error.exit_code(), 5);
    let text = error.to_string();
    assert!(
        text.contains("not done after 30 s: Cluster in healthy state"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stood_there_before_counts_only_after_a_while() {
    let mut cluster = healthy();
    let old = answer("Refused", "db-1 was away");
    cluster["status"]["orders"] = old["status"]["orders"].clone();
    let server = Server::with(&[cluster]);
    let begin = tokio::time::Instant::now();
    let (_, code) = run(&server, "switchover --to db-1 --wait --timeout 30s")
        .await
        .expect("it ends");
    assert_eq!(code, 4);
    assert!(begin.elapsed().as_millis() >= 5_000);
}

#[tokio::test(start_paused = true)]
async fn json_tells_the_outcome_in_one_document() {
    let server = Server::with(&[healthy()]);
    server.change(|state| state.script = [answer("Done", "db-1 leads")].to_vec().into());
    let change = json_of(&server, "switchover --to db-1 --wait -o json").await;
    assert_eq!(change["outcome"]["outcome"], "Done");
    assert_eq!(change["outcome"]["reason"], "db-1 leads");
}

#[tokio::test(start_paused = true)]
async fn watching_writes_a_document_for_each_change_until_the_cluster_is_deleted() {
    let server = Server::with(&[healthy()]);
    let changed = |version: &str, phase: &str| {
        let mut cluster = healthy();
        cluster["metadata"]["resourceVersion"] = json!(version);
        cluster["status"]["phase"] = json!(phase);
        cluster
    };
    server.change(|state| {
        state.events = vec![
            json!({"type": "MODIFIED", "object": changed("42", "Failing over")}),
            json!({"type": "MODIFIED", "object": changed("43", "Healed")}),
            json!({"type": "DELETED", "object": changed("44", "Healed")}),
        ];
    });
    let words = ["kubectl-standby", "status", "--watch", "-o", "json"];
    let arguments = Arguments::parse_from(words);
    let mut printed = Vec::new();
    let mut output = Output::to(arguments.global.output, &mut printed);
    let error = carry_out(&server.shell(), arguments.verb, &mut output)
        .await
        .expect_err("it ends with the cluster");
    assert!(matches!(error, Error::Deleted(_)), "{error}");
    let printed = String::from_utf8(printed).expect("text");
    let phases: Vec<String> = printed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a document a line"))
        .map(|document| {
            document["status"]["phase"]
                .as_str()
                .expect("a phase")
                .to_owned()
        })
        .collect();
    assert_eq!(
        phases,
        ["Cluster in healthy state", "Failing over", "Healed"]
    );
}

#[tokio::test]
async fn only_verbs_that_change_something_write() {
    let server = Server::with(&[healthy()]);
    for line in ["status", "plan", "why", "status -A"] {
        run(&server, line).await.expect("it succeeds");
    }
    let reads = server.change(|state| state.asked.iter().all(|asked| asked.method == Method::GET));
    assert!(reads);
}
