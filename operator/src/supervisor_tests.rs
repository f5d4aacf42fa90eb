//! The supervisor with caches that a scripted API server fills.

use std::time::Duration;

use http::Uri;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::timeout;
use tower_test::mock::SendResponse;

use super::*;
use crate::remembered::Remembered;
use crate::stores::Stores;
use crate::testkit::{Server, answer, context_with, server};

/// Far above anything these tests wait for.
const LIMIT: Duration = Duration::from_secs(20);
/// Each keeps a call for `API_CALL_MS`: together far longer than the limit.
const ORPHANS: usize = 50;

fn lists(uri: &Uri, plural: &str) -> bool {
    uri.path().ends_with(plural)
}

fn list(kind: &str, items: &[Value]) -> Value {
    json!({"kind": format!("{kind}List"), "apiVersion": "standby.dev/v1alpha1",
        "metadata": {"resourceVersion": "1"}, "items": items})
}

fn orphans() -> Vec<Value> {
    let orphan = |serial| {
        json!({"apiVersion": "standby.dev/v1alpha1", "kind": "StandbyView",
            "metadata": {"name": format!("gone-{serial}"), "namespace": "shop",
                "finalizers": ["standby.dev/view"], "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {}})
    };
    (0..ORPHANS).map(orphan).collect()
}

/// Fills the caches: no cluster, and views that are being deleted. Hands out how to answer the watch of
/// clusters; the other watches stay open.
async fn fill(server: &mut Server) -> (SendResponse<http::Response<Body>>, Vec<impl Sized>) {
    let (mut clusters, mut open, mut filled) = (None, Vec::new(), 0);
    while clusters.is_none() || filled < 6 {
        let (request, send) = server.next_request().await.expect("a request");
        let uri = request.uri().clone();
        if uri.query().is_some_and(|query| query.contains("watch=")) {
            if lists(&uri, "standbyclusters") {
                clusters = Some(send);
            } else {
                open.push(send);
            }
            continue;
        }
        let items = if lists(&uri, "standbyviews") {
            orphans()
        } else {
            Vec::new()
        };
        filled += 1;
        answer(send, 200, &list("Some", &items));
    }
    (clusters.expect("a watch"), open)
}

#[tokio::test]
async fn a_new_cluster_does_not_wait_for_views_of_old_ones_to_be_let_go() {
    let (client, mut caches) = server("shop");
    let stop = CancellationToken::new();
    let stores = Stores::start(&client, &[], Remembered::default(), &stop);
    let (context, mut api) = context_with(stores);
    let context = Arc::new(context);
    let (clusters, _open) = timeout(LIMIT, fill(&mut caches)).await.expect("in time");
    let ready = context.stores.ready(&context.readiness);
    timeout(LIMIT, ready)
        .await
        .expect("in time")
        .expect("filled");
    let leading = tokio::spawn(run(context.clone(), stop.clone()));
    // It is not answered: the API server has much to do.
    let (first, _unanswered) = api.next_request().await.expect("a request");
    assert!(first.uri().path().contains("/gone-"), "{}", first.uri());
    answer(
        clusters,
        200,
        &json!({"type": "ADDED", "object": {
            "apiVersion": "standby.dev/v1alpha1", "kind": "StandbyCluster",
            "metadata": {"name": "fresh", "namespace": "shop", "uid": "c0ffee",
                "resourceVersion": "2", "generation": 1},
            "spec": {"storage": {"size": "1Gi"}}}}),
    );
    let mut unanswered = Vec::new();
    let asked = async {
        loop {
            let (request, send) = api.next_request().await.expect("a request");
            if request.uri().path().contains("/fresh") {
                return;
            }
            unanswered.push(send);
        }
    };
    timeout(LIMIT, asked).await.expect("its actor began");
    leading.abort();
    stop.cancel();
}
