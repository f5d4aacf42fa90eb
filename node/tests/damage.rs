//! A volume whose log is damaged below what was known to be durable: it never leads and acknowledges
//! nothing, is given up as soon as a primary has everything, and comes back as a new, empty node.

use std::path::Path;

use etcd_client::Client;
use standby_testkit::LoopbackCluster;

/// Flips a bit in the first entry of the oldest segment.
fn damage_log(data_dir: &Path) {
    let segments = std::fs::read_dir(data_dir.join("log")).expect("there is a log");
    let oldest = segments
        .map(|file| file.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "segment"))
        .min()
        .expect("there is a segment");
    let mut bytes = std::fs::read(&oldest).expect("it can be read");
    let first = usize::try_from(standby_store::log::FRAMES_START).expect("a small number");
    bytes[first + 16] ^= 1;
    std::fs::write(&oldest, bytes).expect("it can be written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_damaged_log_begins_anew_and_is_filled_again() {
    let mut cluster =
        LoopbackCluster::start(Path::new(env!("CARGO_BIN_EXE_standby-node")), 3, None)
            .await
            .expect("it starts");
    let mut first = Client::connect([cluster.client_url(0)], None)
        .await
        .expect("the client port is open");
    for n in 0..50 {
        let put = first.put(format!("key-{n}"), "value", None).await;
        put.expect("acknowledged");
    }
    let commit = cluster.report(0).expect("it runs").commit_index;
    cluster
        .wait(2, "all applied", |report| report.applied_index >= commit)
        .await
        .expect("it follows");
    let before = cluster.id(2).await.expect("it has one");
    cluster.kill(2).expect("it runs");
    damage_log(cluster.node(2).data_dir());

    cluster.start_node(2).await.expect("it starts");
    let ended = cluster.wait_ended(2).expect("it ends by itself");
    assert!(!ended.success());
    assert!(
        !cluster.node(2).data_dir().join("engine").exists(),
        "the state goes with the log"
    );
    cluster.start_node(2).await.expect("it starts again");
    let after = cluster.id(2).await.expect("it has one");
    assert_eq!(after.name, before.name);
    assert_ne!(
        after.volume, before.volume,
        "to its cluster it is a new node"
    );
    cluster.pair_with(2).await.expect("it is filled");
}
