//! A promotion that accepts data loss, as clients see it: another cluster, no revision given twice, no
//! watch that goes on from what was lost. And what becomes of the volumes that hold what was given up.

use std::path::Path;

use etcd_client::{Client, GetOptions, WatchOptions, WatchStream};
use standby_testkit::LoopbackCluster;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_standby-node"))
}

async fn put(client: &mut Client, from: usize, to: usize) -> i64 {
    let mut revision = 0;
    for n in from..to {
        let answer = client.put(format!("key-{n:06}"), "value", None).await;
        let answer = answer.expect("acknowledged");
        revision = answer.header().expect("a header").revision();
    }
    revision
}

async fn watch_from(client: &mut Client, revision: i64) -> WatchStream {
    let options = WatchOptions::new()
        .with_prefix()
        .with_start_revision(revision);
    let mut stream = client.watch("key-", Some(options)).await.expect("watched");
    let created = stream.message().await.expect("it answers");
    assert!(created.expect("it is open").created());
    stream
}

/// The compacted revision by which the watch was ended.
async fn compacted_by(stream: &mut WatchStream) -> i64 {
    let ended = stream.message().await.expect("it answers");
    let ended = ended.expect("it is open");
    assert!(ended.canceled() && ended.events().is_empty(), "{ended:?}");
    ended.compact_revision()
}

/// Node 2 lacks the last 20 acknowledged writes, and the only two that have them are down.
async fn two_gone() -> (LoopbackCluster, i64, u64) {
    let mut cluster = LoopbackCluster::start(binary(), 3, None)
        .await
        .expect("it starts");
    let mut first = cluster.client(0).await;
    put(&mut first, 0, 20).await;
    let commit = cluster.report(0).expect("it runs").commit_index;
    cluster
        .wait(2, "all so far", |report| report.applied_index >= commit)
        .await
        .expect("the replica follows");
    cluster.kill(2).expect("it runs");
    let seen = put(&mut first, 20, 40).await;
    let last = cluster.wait(0, "the last index", |report| {
        report.commit_index >= commit + 20
    });
    let may_lose = last.await.expect("it reports").log_last_index;
    cluster.kill(0).expect("it runs");
    // In order, so that it will know what was committed.
    cluster.terminate(1).expect("it runs");
    let ended = cluster.wait_ended(1).expect("it ends");
    assert!(ended.success(), "{ended}");
    cluster.start_node(2).await.expect("it starts again");
    (cluster, seen, may_lose)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_see_that_acknowledged_writes_were_given_up() {
    let (mut cluster, seen, may_lose) = two_gone().await;
    let mut left = cluster.client(2).await;
    // From a client that has seen what will be lost, before anybody here knows of it.
    let mut early = watch_from(&mut left, seen + 1).await;
    let serializable = || Some(GetOptions::new().with_prefix().with_serializable());
    let before = left.get("key-", serializable()).await.expect("readable");

    let promoted = cluster.promote_with_loss(2, may_lose).await;
    promoted.expect("it is told");
    // The old standby comes back with what was given up, and gives up its volume.
    cluster.start_node(1).await.expect("it starts again");
    let ended = cluster.wait_ended(1).expect("it ends by itself");
    assert!(!ended.success());
    cluster.start_node(1).await.expect("it starts empty");
    cluster.pair_with(1).await.expect("it is filled");
    cluster.wait_serving(2).await.expect("it serves");

    let compacted = compacted_by(&mut early).await;
    assert!(compacted > seen, "{compacted} is above {seen}");
    let all = GetOptions::new().with_prefix();
    let after = left.get("key-", Some(all)).await.expect("readable");
    assert_eq!(after.kvs().len(), 20);
    let (old, new) = (before.header(), after.header());
    let (old, new) = (old.expect("a header"), new.expect("a header"));
    assert_ne!(old.cluster_id(), new.cluster_id());
    assert_ne!(old.member_id(), new.member_id());
    assert_eq!(new.revision(), compacted);
    let status = left.status().await.expect("it answers");
    assert_eq!(status.leader(), new.member_id());

    let mut late = watch_from(&mut left, seen + 1).await;
    assert_eq!(compacted_by(&mut late).await, compacted);
    let options = GetOptions::new().with_revision(seen);
    let error = left.get("key-000000", Some(options)).await;
    let error = error.expect_err("it was lost").to_string();
    assert!(error.contains("has been compacted"), "{error}");

    let mut next = watch_from(&mut left, compacted + 1).await;
    assert_eq!(put(&mut left, 50, 51).await, compacted + 1);
    let event = next.message().await.expect("it answers").expect("open");
    assert_eq!(event.events().len(), 1);
    // The standby says the same.
    let mut standby = cluster.client(1).await;
    let there = standby.get("key-", serializable()).await.expect("readable");
    let there = there.header().expect("a header");
    assert_eq!(there.cluster_id(), new.cluster_id());
}
