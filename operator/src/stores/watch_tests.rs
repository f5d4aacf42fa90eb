//! Caches against a scripted API server.

use std::pin::pin;

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::*;
use crate::stores::labelled_with;
use crate::testkit::{self, failure, serve};

fn pods(version: &str, names: &[&str]) -> serde_json::Value {
    let items: Vec<_> = names
        .iter()
        .map(|name| json!({"metadata": {"name": name, "namespace": "shop"}}))
        .collect();
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": version},
        "items": items})
}

#[tokio::test]
async fn a_watch_that_failed_begins_with_a_list_so_that_a_store_put_back_is_seen() {
    let (client, mut server) = testkit::server("shop");
    let api: Api<Pod> = Api::all(client);
    let script = tokio::spawn(async move {
        serve(&mut server, 200, pods("900", &["db-1"])).await;
        serve(&mut server, 500, failure(500, "the store is put back")).await;
        let (request, answer) = server.next_request().await.expect("a request");
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = serde_json::to_vec(&pods("100", &["db-2"])).expect("json");
        answer.send_response(http::Response::new(kube::client::Body::from(body)));
        query
    });
    let mut events = pin!(relisting(api, watcher::Config::default()));
    let mut listed = Vec::new();
    let mut failures = 0;
    while listed.len() < 2 {
        match events.next().await.expect("it goes on") {
            Ok(Event::InitApply(pod)) => listed.push(pod.name_any()),
            Ok(_) => {}
            Err(_) => failures += 1,
        }
    }
    assert_eq!(
        (listed, failures),
        (vec!["db-1".to_owned(), "db-2".to_owned()], 1)
    );
    let query = script.await.expect("the script ended");
    assert!(!query.contains("watch="), "a list, not a watch: {query}");
}

#[tokio::test(start_paused = true)]
async fn a_list_after_a_watch_that_broke_is_counted() {
    let (client, mut server) = testkit::server("shop");
    tokio::spawn(async move {
        serve(&mut server, 200, pods("900", &["db-1"])).await;
        serve(&mut server, 500, failure(500, "the store is put back")).await;
        serve(&mut server, 200, pods("100", &["db-1"])).await;
        // The next watch stays open.
        server.next_request().await.expect("a request");
    });
    let (changes, mut news) = broadcast::channel(8);
    let stop = CancellationToken::new();
    let watch = Watch {
        client: &client,
        namespaces: &[],
        stop: &stop,
        changes: &changes,
    };
    let lists = Arc::<AtomicU64>::default();
    let _pods = watch.scoped(&watcher::Config::default(), &lists, |pod: &Pod, _| {
        labelled_with(pod)
    });
    for count in 1..=2 {
        // Told when it has been counted.
        assert_eq!(news.recv().await, Ok(Change::Everything));
        assert_eq!(lists.load(Ordering::Acquire), count);
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_goes_wakes_nobody_unless_it_is_somebodys() {
    let (client, mut server) = testkit::server("shop");
    let event = |kind: &str, name: &str| {
        json!({"type": kind, "object": {"kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": name, "namespace": "shop", "resourceVersion": "901",
                "labels": {"standby.dev/cluster": name}}}})
        .to_string()
    };
    let events = event("DELETED", "nobodys") + "\n" + &event("DELETED", "db") + "\n";
    tokio::spawn(async move {
        serve(&mut server, 200, pods("900", &["db-1"])).await;
        let (_, send) = server.next_request().await.expect("a request");
        send.send_response(http::Response::new(events.into_bytes().into()));
        // The next watch stays open.
        server.next_request().await.expect("a request");
    });
    let (changes, mut news) = broadcast::channel(8);
    let stop = CancellationToken::new();
    let watch = Watch {
        client: &client,
        namespaces: &[],
        stop: &stop,
        changes: &changes,
    };
    let _pods = watch.scoped(
        &watcher::Config::default(),
        &Arc::default(),
        |pod: &Pod, _| labelled_with(pod).filter(|key| key.name == "db"),
    );
    assert_eq!(news.recv().await, Ok(Change::Everything));
    let db = Key {
        namespace: "shop".into(),
        name: "db".into(),
    };
    assert_eq!(news.recv().await, Ok(Change::Cluster(db)));
}

#[test]
fn hosts_that_are_gone_are_forgotten() {
    let host = |name: &str| Node {
        metadata: kube::api::ObjectMeta {
            name: Some(name.into()),
            ..Default::default()
        },
        ..Node::default()
    };
    let mut known = KnownHosts::default();
    assert!(known.saw(&host("a"), false) && known.saw(&host("b"), false));
    known.listed();
    assert!(!known.saw(&host("a"), false), "nothing changed");
    assert!(known.saw(&host("a"), true), "it went");
    assert_eq!(known.hosts.len(), 1);
    // A list that no longer holds the other one.
    known.saw(&host("c"), false);
    known.listed();
    assert_eq!(known.hosts.keys().collect::<Vec<_>>(), ["c"]);
}
