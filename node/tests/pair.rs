//! Real processes on loopback: a primary, its synchronous standby, a replica; killed, promoted,
//! brought back, filled by a snapshot. Nothing acknowledged is lost.

use std::path::Path;

use etcd_client::{Client, GetOptions};
use standby_testkit::LoopbackCluster;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_standby-node"))
}

async fn put(client: &mut Client, from: usize, to: usize) {
    for n in from..to {
        client
            .put(format!("key-{n:06}"), format!("value-{n}"), None)
            .await
            .expect("acknowledged");
    }
}

async fn assert_holds(client: &mut Client, count: usize) {
    let options = GetOptions::new().with_prefix();
    let all = client.get("key-", Some(options)).await.expect("readable");
    assert_eq!(all.kvs().len(), count);
    for (n, kv) in all.kvs().iter().enumerate() {
        assert_eq!(kv.value_str().expect("text"), format!("value-{n}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_standby_has_every_acknowledged_write_when_the_primary_is_killed() {
    let mut cluster = LoopbackCluster::start(binary(), 3, None)
        .await
        .expect("it starts");
    let mut first = cluster.client(0).await;
    put(&mut first, 0, 200).await;
    cluster.kill(0).expect("it runs");
    cluster
        .promote(1, true)
        .await
        .expect("the standby is complete");
    cluster.pair_with(2).await.expect("the replica catches up");
    cluster.wait_serving(1).await.expect("it serves");
    let mut second = cluster.client(1).await;
    assert_holds(&mut second, 200).await;
    put(&mut second, 200, 300).await;

    // The old primary comes back as a follower and is as good as any.
    cluster.start_node(0).await.expect("it starts again");
    cluster.pair_with(0).await.expect("it catches up");
    cluster.kill(1).expect("it runs");
    cluster.promote(0, true).await.expect("it is complete");
    cluster.pair_with(2).await.expect("the replica catches up");
    cluster.wait_serving(0).await.expect("it serves");
    assert_holds(&mut cluster.client(0).await, 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_without_the_standby_is_not_acknowledged_and_its_tail_is_cut() {
    let mut cluster = LoopbackCluster::start(binary(), 3, None)
        .await
        .expect("it starts");
    let mut first = cluster.client(0).await;
    put(&mut first, 0, 10).await;
    cluster.kill(1).expect("it runs");
    let before = cluster.report(0).expect("it runs").log_last_index;
    let waiting = tokio::spawn(async move { first.put("lost", "lost", None).await });
    let written = cluster.wait(0, "a tail", |r| {
        r.durable_index > before.max(r.commit_index)
    });
    written
        .await
        .expect("the write stands in the primary's log");
    cluster.kill(0).expect("it runs");
    assert!(
        waiting.await.expect("no panic").is_err(),
        "an unacknowledged write fails"
    );
    // Only the primary's disk has the tail; the standby is promoted without it.
    cluster.start_node(1).await.expect("it starts again");
    cluster
        .promote(1, true)
        .await
        .expect("the standby is complete");
    cluster.pair_with(2).await.expect("the replica catches up");
    cluster.wait_serving(1).await.expect("it serves");
    let mut second = cluster.client(1).await;
    put(&mut second, 10, 20).await;

    cluster.start_node(0).await.expect("it starts again");
    cluster
        .pair_with(0)
        .await
        .expect("it cuts its tail and catches up");
    let commit = cluster.report(1).expect("it runs").commit_index;
    cluster
        .wait(0, "all applied", |r| r.applied_index >= commit)
        .await
        .expect("it catches up");
    let options = GetOptions::new().with_serializable().with_prefix();
    let there = cluster
        .client(0)
        .await
        .get("", Some(options))
        .await
        .expect("readable");
    assert_eq!(there.kvs().len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_refuses_writes_and_linearizable_reads_as_a_learner_does() {
    let cluster = LoopbackCluster::start(binary(), 2, None)
        .await
        .expect("it starts");
    let mut standby = cluster.client(1).await;
    for refused in [
        standby.put("a", "b", None).await.map(drop),
        standby.get("a", None).await.map(drop),
    ] {
        let error = refused.expect_err("only the primary answers").to_string();
        assert!(
            error.contains("etcdserver: rpc not supported for learner"),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_node_is_filled_by_the_log_or_a_snapshot_and_can_lead() {
    let mut cluster = LoopbackCluster::start(binary(), 3, None)
        .await
        .expect("it starts");
    let mut first = cluster.client(0).await;
    put(&mut first, 0, 50).await;
    cluster.kill(2).expect("it runs");
    std::fs::remove_dir_all(cluster.node(2).data_dir()).expect("it is there");
    put(&mut first, 50, 100).await;
    cluster
        .start_node(2)
        .await
        .expect("it starts with an empty volume");
    cluster.pair_with(2).await.expect("it is filled");
    cluster.kill(0).expect("it runs");
    cluster.promote(2, true).await.expect("it is complete");
    cluster.pair_with(1).await.expect("the other follows");
    cluster.wait_serving(2).await.expect("it serves");
    assert_holds(&mut cluster.client(2).await, 100).await;
}
