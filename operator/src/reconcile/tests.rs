//! The shell's safety-relevant calls against a scripted API server.

use http::Method;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use standby_api::{DataLoss, StandbyCluster};
use standby_core::{ClusterId, NodeId, View, ViewChange};
use standby_operator_core::build::endpoint_slice::Family;
use standby_operator_core::build::pki::{Authority, Subject};
use standby_operator_core::build::secret;
use standby_operator_core::plan::{Action, Basis, Planned, Recovery};
use standby_operator_core::validate::{ValidatedCluster, validate};

use super::record::Held;
use super::{StepError, announce, apply, pki, record};
use crate::api;
use crate::context::{Context, Key};
use crate::testkit::{context, failure, serve, serve_back, settings};

fn key() -> Key {
    Key {
        namespace: "shop".into(),
        name: "db".into(),
    }
}

fn cluster() -> ValidatedCluster {
    let cluster: StandbyCluster = serde_json::from_value(json!({
        "apiVersion": "standby.dev/v1alpha1", "kind": "StandbyCluster",
        "metadata": {"name": "db", "namespace": "shop", "uid": "c0ffee", "generation": 1},
        "spec": {"storage": {"size": "1Gi"}}
    }))
    .expect("a cluster");
    validate(&cluster, &settings(), None).expect("a valid cluster")
}

fn node(serial: u32) -> NodeId {
    NodeId::new(format!("db-{serial}"), format!("{serial:016x}"))
}

fn first() -> View {
    View::first(ClusterId("c0ffee".into()), node(1))
}

fn healthy() -> View {
    first().with_synchronous([node(2)].into())
}

fn stored(view: &View, version: &str) -> Value {
    json!({
        "apiVersion": "standby.dev/v1alpha1", "kind": "StandbyView",
        "metadata": {"name": "db", "namespace": "shop", "resourceVersion": version,
            "finalizers": ["standby.dev/view"]},
        "spec": standby_api::StandbyViewSpec::from(view),
    })
}

/// Records with nothing in hand: the object is read live first.
async fn record_once(
    context: &Context,
    next: &View,
    basis: &Basis,
) -> Result<ViewChange, StepError> {
    let mut held = Held::default();
    record::record(context, &key(), &cluster(), &mut held, (next, basis), &[]).await
}

#[tokio::test]
async fn a_second_view_is_written_against_the_answer_to_the_first_without_another_read() {
    let (context, mut server) = context();
    let first_next = healthy().promote(node(2));
    let second_next = first_next.with_synchronous([node(1)].into());
    let (one, two) = (first_next.clone(), second_next.clone());
    let run = tokio::spawn(async move {
        let mut held = Held::default();
        let basis = Basis::View(healthy());
        record::record(&context, &key(), &cluster(), &mut held, (&one, &basis), &[]).await?;
        let basis = Basis::View(one);
        record::record(&context, &key(), &cluster(), &mut held, (&two, &basis), &[]).await
    });
    serve(&mut server, 200, stored(&healthy(), "41")).await;
    serve(&mut server, 200, stored(&first_next, "42")).await;
    let (method, written) = serve(&mut server, 200, stored(&second_next, "43")).await;
    assert_eq!(method, Method::PUT);
    assert_eq!(written["metadata"]["resourceVersion"], "42");
    run.await.expect("it ends").expect("it is recorded");
}

#[tokio::test]
async fn an_accepted_loss_is_written_with_its_view_and_stays_beside_every_later_one() {
    let (context, mut server) = context();
    let lost = DataLoss {
        epoch: 3,
        node: "db-3".into(),
        from: 90,
        loses_up_to: Some(100),
        by: "a person".into(),
        why: "both disks burned".into(),
        time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH),
    };
    let next = healthy()
        .promote_with_loss(node(3), standby_core::Index(100))
        .without_loss();
    let (planned, record_of_loss) = (next.clone(), lost.clone());
    let run = tokio::spawn(async move {
        let mut held = Held::default();
        let basis = Basis::Loss {
            view: healthy(),
            record: record_of_loss,
        };
        let planned = (&planned, &basis);
        let change = record::record(&context, &key(), &cluster(), &mut held, planned, &[]).await;
        (change, held.losses().to_vec())
    });
    serve(&mut server, 200, stored(&healthy(), "41")).await;
    let (_, written) = serve_back(&mut server).await;
    assert_eq!(written["spec"]["consent"]["kind"], "acceptDataLoss");
    assert_eq!(written["spec"]["consent"]["by"], "a person");
    let kept = &written["metadata"]["annotations"]["standby.dev/data-loss"];
    assert!(kept.as_str().expect("kept").contains("both disks burned"));
    let (change, losses) = run.await.expect("it ends");
    change.expect("it is recorded");
    assert_eq!(losses, [lost]);
}

#[tokio::test]
async fn a_promotion_is_written_against_the_version_that_was_read_live() {
    let (context, mut server) = context();
    let next = healthy().promote(node(2));
    let planned = next.clone();
    let run =
        tokio::spawn(async move { record_once(&context, &planned, &Basis::View(healthy())).await });
    let (method, _) = serve(&mut server, 200, stored(&healthy(), "41")).await;
    assert_eq!(method, Method::GET);
    let (method, written) = serve(&mut server, 200, stored(&next, "42")).await;
    assert_eq!(method, Method::PUT);
    assert_eq!(written["metadata"]["resourceVersion"], "41");
    assert_eq!(written["spec"]["epoch"], 3);
    assert_eq!(written["spec"]["primary"], node(2).to_string());
    let change = run.await.expect("it ends").expect("it is recorded");
    assert_eq!(change, ViewChange::Promoted);
}

#[tokio::test]
async fn nothing_is_written_when_something_else_is_recorded_than_was_planned_with() {
    let (context, mut server) = context();
    let run = tokio::spawn(async move {
        let next = healthy().promote(node(2));
        record_once(&context, &next, &Basis::View(healthy())).await
    });
    let other = healthy().promote(node(1));
    serve(&mut server, 200, stored(&other, "42")).await;
    let error = run.await.expect("it ends").expect_err("the plan is void");
    assert!(matches!(error, StepError::Superseded), "{error}");
    assert!(server.next_request().await.is_none(), "no write was tried");
}

#[tokio::test]
async fn a_write_that_lost_the_race_is_planned_anew() {
    let (context, mut server) = context();
    let run = tokio::spawn(async move {
        let next = healthy().promote(node(2));
        record_once(&context, &next, &Basis::View(healthy())).await
    });
    serve(&mut server, 200, stored(&healthy(), "41")).await;
    serve(&mut server, 409, failure(409, "Conflict")).await;
    let error = run
        .await
        .expect("it ends")
        .expect_err("somebody was faster");
    assert!(matches!(error, StepError::Superseded), "{error}");
}

#[tokio::test]
async fn a_first_view_is_created_and_never_written_over_another() {
    let (context, mut server) = context();
    let run = tokio::spawn(async move {
        let once = record_once(&context, &first(), &Basis::Nothing)
            .await
            .is_ok();
        let twice = record_once(&context, &first(), &Basis::Nothing).await;
        (once, twice)
    });
    serve(&mut server, 404, failure(404, "NotFound")).await;
    let (method, made) = serve(&mut server, 201, stored(&first(), "1")).await;
    assert_eq!(method, Method::POST);
    assert_eq!(made["metadata"]["finalizers"], json!(["standby.dev/view"]));
    serve(&mut server, 200, stored(&first(), "1")).await;
    let (once, twice) = run.await.expect("it ends");
    assert!(once);
    assert!(matches!(twice, Err(StepError::Superseded)));
}

#[tokio::test]
async fn a_continued_view_names_its_evidence() {
    let (context, mut server) = context();
    let next = healthy().promote(node(1));
    let planned = next.clone();
    let run = tokio::spawn(async move {
        let recovery = Recovery {
            loses_up_to: None,
            above: healthy().epoch,
            evidence: "db-1 epoch 2".into(),
            consent: None,
        };
        let basis = Basis::Nodes {
            recorded: None,
            recovery,
            record: None,
        };
        record_once(&context, &planned, &basis).await
    });
    serve(&mut server, 404, failure(404, "NotFound")).await;
    let (_, made) = serve(&mut server, 201, stored(&next, "1")).await;
    assert_eq!(made["spec"]["consent"]["kind"], "recovery");
    assert_eq!(made["spec"]["consent"]["epoch"], 3);
    assert_eq!(made["spec"]["consent"]["mayLose"], "nothing: db-1 epoch 2");
    run.await.expect("it ends").expect("it is recorded");
}

async fn carry_out(context: &Context, actions: &[Action]) -> Result<(), StepError> {
    let planned: Vec<Planned> = actions
        .iter()
        .map(|action| Planned {
            action: action.clone(),
            why: "of the test".into(),
        })
        .collect();
    apply::actions(context, &cluster(), &planned).await
}

#[tokio::test]
async fn a_claim_that_the_view_recorded_now_needs_is_not_deleted() {
    let (context, mut server) = context();
    let delete = Action::DeleteClaim {
        node: "db-2".into(),
        uid: "claim-2".into(),
    };
    let run = tokio::spawn(async move { carry_out(&context, &[delete]).await });
    let (method, _) = serve(&mut server, 200, stored(&healthy(), "41")).await;
    assert_eq!(method, Method::GET);
    run.await.expect("it ends").expect("nothing fails");
    assert!(server.next_request().await.is_none(), "nothing is deleted");
}

#[tokio::test]
async fn exactly_the_claim_that_was_planned_is_deleted() {
    let (context, mut server) = context();
    let delete = Action::DeleteClaim {
        node: "db-3".into(),
        uid: "claim-3".into(),
    };
    let run = tokio::spawn(async move { carry_out(&context, &[delete]).await });
    serve(&mut server, 200, stored(&healthy(), "41")).await;
    let (method, body) = serve(&mut server, 409, failure(409, "Conflict")).await;
    assert_eq!(method, Method::DELETE);
    assert_eq!(body["preconditions"]["uid"], "claim-3");
    run.await
        .expect("it ends")
        .expect("another claim is not ours to delete");
}

#[tokio::test]
async fn a_cluster_is_not_released_while_its_volumes_could_not_be_kept() {
    let (context, mut server) = context();
    let keep = Action::RetainClaims {
        nodes: vec!["db-1".into()],
    };
    let run = tokio::spawn(async move { carry_out(&context, &[keep, Action::Release]).await });
    let (method, body) = serve(&mut server, 500, failure(500, "InternalError")).await;
    assert_eq!(method, Method::PATCH);
    assert_eq!(body["metadata"]["ownerReferences"], Value::Null);
    run.await.expect("it ends").expect_err("it failed");
    assert!(server.next_request().await.is_none(), "nothing is released");
}

#[tokio::test]
async fn an_address_is_written_over_the_version_this_operator_wrote_last() {
    let (context, mut server) = context();
    let announced = announce::Announced {
        primary: None,
        family: Family::default(),
    };
    let run = tokio::spawn(async move {
        announce::read_write(&context, &cluster(), &announced, Some("7".into()), api::HOT).await
    });
    let (method, body) = serve(&mut server, 409, failure(409, "Conflict")).await;
    assert_eq!(method, Method::PATCH);
    assert_eq!(body["metadata"]["resourceVersion"], "7");
    assert!(
        run.await
            .expect("it ends")
            .expect_err("too late")
            .is_conflict()
    );
}

#[tokio::test]
async fn a_claim_grows_to_what_the_specification_says() {
    let (context, mut server) = context();
    let grow = Action::GrowClaim {
        node: "db-1".into(),
        bytes: 1 << 30,
    };
    let run = tokio::spawn(async move { carry_out(&context, &[grow]).await });
    let (method, body) = serve(&mut server, 200, json!({"metadata": {"name": "db-1"}})).await;
    assert_eq!(method, Method::PATCH);
    assert_eq!(body["spec"]["resources"]["requests"]["storage"], "1Gi");
    run.await.expect("it ends").expect("nothing fails");
}

#[tokio::test]
async fn the_budget_says_how_many_must_stay_and_a_cluster_of_one_has_none() {
    let (context, mut server) = context();
    let run = tokio::spawn(async move {
        apply::budget(&context, &cluster(), Some(3)).await?;
        apply::budget(&context, &cluster(), None).await
    });
    let written = json!({"metadata": {"name": "db"}});
    let (method, body) = serve(&mut server, 200, written).await;
    assert_eq!(method, Method::PATCH);
    assert_eq!(body["spec"]["minAvailable"], 3);
    let (method, _) = serve(&mut server, 404, failure(404, "NotFound")).await;
    assert_eq!(method, Method::DELETE);
    run.await.expect("it ends").expect("nothing fails");
}

#[tokio::test]
async fn a_storage_class_that_is_gone_grows_nothing() {
    let (context, mut server) = context();
    let run = tokio::spawn(async move {
        let grows = apply::expandable(&context, "fast").await;
        (grows, apply::expandable(&context, "gone").await)
    });
    let class = json!({"metadata": {"name": "fast"}, "provisioner": "p",
        "allowVolumeExpansion": true});
    serve(&mut server, 200, class).await;
    serve(&mut server, 404, failure(404, "NotFound")).await;
    let (grows, gone) = run.await.expect("it ends");
    assert!(grows.expect("it was read"));
    assert!(!gone.expect("it was asked for"));
}

#[tokio::test]
async fn a_step_of_a_new_ca_is_taken_against_the_version_that_was_read() {
    let (context, mut server) = context();
    let now = jiff::Timestamp::now();
    let ca = Authority::new("db", "shop", now).expect("a CA");
    let mut stored = secret::authority(&cluster(), &ca);
    stored.metadata.resource_version = Some("7".into());
    let asked = stored.metadata.annotations.get_or_insert_default();
    asked.insert("standby.dev/rotate-ca".into(), "true".into());
    let issue = |subject: &Subject<'_>| ca.issue(subject, now).expect("it is issued");
    let client = secret::client(&cluster(), &issue(&Subject::Client));
    let operator = secret::operator(&cluster(), &issue(&Subject::Operator));
    let run = tokio::spawn(async move { pki::keep(&context, &cluster(), &[]).await.map(|_| ()) });
    let json = |secret: &Secret| serde_json::to_value(secret).expect("json");
    serve(&mut server, 200, json(&stored)).await;
    serve(&mut server, 200, json(&client)).await;
    serve(&mut server, 200, json(&operator)).await;
    let (method, patch) = serve(&mut server, 200, json(&stored)).await;
    assert_eq!(method, Method::PATCH);
    assert_eq!(patch["metadata"]["resourceVersion"], "7");
    assert!(patch["data"]["next.crt"].is_string(), "{patch}");
    assert!(patch["data"].get("tls.crt").is_none(), "{patch}");
    run.await.expect("it ends").expect("nothing fails");
}
