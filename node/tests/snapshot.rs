//! A node that was away for longer than the log is kept is filled by a snapshot, also when it dies in
//! the middle of that.

use std::path::Path;

use etcd_client::GetOptions;
use standby_testkit::LoopbackCluster;

/// More than is applied before the state is made durable, and with that the log given up.
const PUTS: usize = 72;
const VALUE_BYTES: usize = 1 << 20;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_standby-node"))
}

fn value(n: usize) -> Vec<u8> {
    vec![u8::try_from(n % 251).expect("it is small"); VALUE_BYTES]
}

/// Node 2 was away while the log of the primary was released beyond its end.
async fn far_behind() -> LoopbackCluster {
    let flags = [
        "--log-retain-bytes",
        "1048576",
        "--log-segment-bytes",
        "4194304",
    ];
    let mut cluster = LoopbackCluster::start_with(binary(), 3, None, &flags)
        .await
        .expect("it starts");
    let mut first = cluster.client(0).await;
    first.put("early", "1", None).await.expect("acknowledged");
    let commit = cluster.report(0).expect("it runs").commit_index;
    let follows = cluster.wait(2, "all so far", |report| report.applied_index >= commit);
    follows.await.expect("the replica follows");
    cluster.kill(2).expect("it runs");
    for n in 0..PUTS {
        let put = first.put(format!("key-{n:03}"), value(n), None).await;
        put.expect("acknowledged");
    }
    let released = cluster.wait(0, "a released log", |report| report.log_first > commit + 2);
    released.await.expect("the log is given up");
    cluster
}

/// Waits until the primary fills node 2.
async fn in_snapshot(cluster: &LoopbackCluster) {
    let filled = |report: &standby_control::v1::Report| {
        let mut peers = report.peers.iter();
        peers.any(|peer| {
            peer.in_snapshot && peer.node.as_ref().is_some_and(|node| node.name == "node-2")
        })
    };
    let filling = cluster.wait(0, "a snapshot", filled).await;
    filling.expect("it is filled by a snapshot");
}

async fn assert_whole(cluster: &LoopbackCluster, at: usize) {
    let mut client = cluster.client(at).await;
    let early = client.get("early", None).await.expect("readable");
    assert_eq!(early.kvs().len(), 1);
    let keys = GetOptions::new().with_prefix().with_count_only();
    let count = client.get("key-", Some(keys)).await.expect("readable");
    assert_eq!(usize::try_from(count.count()).expect("it fits"), PUTS);
    for n in [0, 1, PUTS / 2, PUTS - 1] {
        let there = client.get(format!("key-{n:03}"), None).await;
        assert_eq!(there.expect("readable").kvs()[0].value(), value(n));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_far_behind_is_filled_by_a_snapshot_also_when_killed_in_the_middle() {
    let mut cluster = far_behind().await;
    cluster.start_node(2).await.expect("it starts again");
    in_snapshot(&cluster).await;
    cluster.kill(2).expect("it runs");
    cluster.start_node(2).await.expect("it starts with a part");
    in_snapshot(&cluster).await;
    let paired = cluster.pair_with(2).await;
    paired.unwrap_or_else(|error| panic!("{error}; node-2: {}", cluster.node(2).log_tail()));
    cluster.kill(0).expect("it runs");
    cluster.promote(2, true).await.expect("it is complete");
    cluster.pair_with(1).await.expect("the other follows");
    cluster.wait_serving(2).await.expect("it serves");
    assert_whole(&cluster, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_whose_sender_is_killed_comes_from_the_next_primary() {
    let mut cluster = far_behind().await;
    cluster.start_node(2).await.expect("it starts again");
    in_snapshot(&cluster).await;
    cluster.kill(0).expect("it runs");
    cluster.promote(1, true).await.expect("it is complete");
    // A snapshot that broke off ends the process: what its state would be nobody knows.
    if !cluster.runs(2).expect("it was started") {
        cluster.wait_ended(2).expect("it has ended");
        cluster.start_node(2).await.expect("it starts with a part");
    }
    for _ in 0..3 {
        match cluster.pair_with(2).await {
            Ok(()) => break,
            Err(error) if cluster.runs(2).expect("it was started") => panic!("{error}"),
            Err(_) => {
                cluster.wait_ended(2).expect("it has ended");
                cluster.start_node(2).await.expect("it starts with a part");
            }
        }
    }
    cluster.wait_serving(1).await.expect("it serves");
    assert_whole(&cluster, 1).await;
    cluster.kill(1).expect("it runs");
    cluster.start_node(0).await.expect("it starts again");
    cluster.promote(2, true).await.expect("it is complete");
    cluster.pair_with(0).await.expect("the other follows");
    cluster.wait_serving(2).await.expect("it serves");
    assert_whole(&cluster, 2).await;
}
