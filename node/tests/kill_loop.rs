//! The primary is killed again and again under concurrent writers, and paused past its lease. Every
//! acknowledged write is there at the end, once, with its value; nobody reads a stale state.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, GetOptions, Txn, TxnOp};
use standby_testkit::{LoopbackCluster, connect};

const WRITERS: usize = 4;
const KILLS: usize = 20;
/// How long one attempt of a writer may take.
const ATTEMPT_MS: u64 = 1_000;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_standby-node"))
}

/// Creates `key`, and says whether that was acknowledged.
async fn create(client: &mut Client, key: &str, value: &str) -> bool {
    let absent = Compare::version(key, CompareOp::Equal, 0);
    let txn = Txn::new()
        .when([absent])
        .and_then([TxnOp::put(key, value, None)]);
    let limit = Duration::from_millis(ATTEMPT_MS);
    let answer = tokio::time::timeout(limit, client.txn(txn)).await;
    matches!(answer, Ok(Ok(answer)) if answer.succeeded())
}

struct Shared {
    urls: Vec<String>,
    primary: AtomicUsize,
    stop: AtomicBool,
    acknowledged: AtomicUsize,
}

/// Writes keys that nobody else writes, each once, wherever the primary is.
async fn write(shared: Arc<Shared>, writer: usize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let mut connected: Option<(usize, Client)> = None;
    let mut next = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        let primary = shared.primary.load(Ordering::SeqCst);
        let client = match connected.take() {
            Some((at, client)) if at == primary => Some(client),
            _ => connect(&shared.urls[primary]).await,
        };
        let Some(mut client) = client else { continue };
        let key = format!("key-{writer}-{next:06}");
        next += 1;
        if create(&mut client, &key, &format!("value of {key}")).await {
            acknowledged.push(key);
            shared.acknowledged.fetch_add(1, Ordering::SeqCst);
            connected = Some((primary, client));
        }
    }
    acknowledged
}

/// Waits until so many more writes were acknowledged.
async fn progress(shared: &Shared, more: usize) {
    let goal = shared.acknowledged.load(Ordering::SeqCst) + more;
    let reached = async {
        while shared.acknowledged.load(Ordering::SeqCst) < goal {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reached)
        .await
        .expect("writers go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_of_the_primary_lose_nothing_and_double_nothing() {
    let mut cluster = LoopbackCluster::start(binary(), 3, None)
        .await
        .expect("it starts");
    let shared = Arc::new(Shared {
        urls: (0..3).map(|at| cluster.client_url(at)).collect(),
        primary: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        acknowledged: AtomicUsize::new(0),
    });
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(Arc::clone(&shared), writer)))
        .collect();
    let (mut primary, mut standby, mut spare) = (0, 1, 2);
    for kill in 0..KILLS {
        progress(&shared, 20).await;
        cluster.kill(primary).expect("it runs");
        cluster
            .promote(standby, true)
            .await
            .expect("the standby is complete");
        cluster
            .pair_with(spare)
            .await
            .expect("the spare catches up");
        cluster.wait_serving(standby).await.expect("it serves");
        shared.primary.store(standby, Ordering::SeqCst);
        cluster.start_node(primary).await.expect("it starts again");
        // Now and then the node that was killed is the next standby, with whatever tail it has.
        if kill % 3 == 0 {
            cluster.pair_with(primary).await.expect("it catches up");
            cluster.wait_serving(standby).await.expect("it serves");
            (primary, standby) = (standby, primary);
        } else {
            (primary, standby, spare) = (standby, spare, primary);
        }
    }
    progress(&shared, 20).await;
    shared.stop.store(true, Ordering::SeqCst);
    let mut expected = Vec::new();
    for writer in writers {
        expected.extend(writer.await.expect("a writer does not panic"));
    }
    assert!(
        expected.len() >= KILLS * 20,
        "only {} writes",
        expected.len()
    );
    let mut reader = connect(&shared.urls[primary]).await.expect("it serves");
    let options = GetOptions::new().with_prefix();
    let all = reader.get("key-", Some(options)).await.expect("readable");
    let mut found = BTreeMap::new();
    for kv in all.kvs() {
        let key = kv.key_str().expect("text").to_owned();
        assert_eq!(kv.version(), 1, "{key} was written more than once");
        found.insert(key, kv.value_str().expect("text").to_owned());
    }
    for key in &expected {
        assert_eq!(
            found.get(key),
            Some(&format!("value of {key}")),
            "{key} is lost"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_paused_past_its_lease_acknowledges_nothing_and_reads_nothing_stale() {
    let mut cluster = LoopbackCluster::start(binary(), 3, None)
        .await
        .expect("it starts");
    let mut old = connect(&cluster.client_url(0)).await.expect("it serves");
    assert!(create(&mut old, "before", "1").await);
    cluster.pause(0).expect("it runs");
    // What is asked of a stopped process is answered when it goes on.
    let mut writer = old.clone();
    let late_write = tokio::spawn(async move { writer.put("key", "old", None).await });
    let mut reader = old.clone();
    let late_read = tokio::spawn(async move { reader.get("key", None).await });
    cluster
        .promote(1, false)
        .await
        .expect("the standby is complete");
    cluster.pair_with(2).await.expect("the replica catches up");
    cluster.wait_serving(1).await.expect("it serves");
    let mut new = connect(&cluster.client_url(1)).await.expect("it serves");
    new.put("key", "new", None).await.expect("acknowledged");
    cluster.resume(0).expect("it is stopped");
    assert!(
        late_write.await.expect("no panic").is_err(),
        "the deposed primary acknowledged a write"
    );
    if let Ok(answer) = late_read.await.expect("no panic") {
        let values: Vec<_> = answer.kvs().iter().map(|kv| kv.value().to_vec()).collect();
        assert_eq!(
            values,
            [b"new".to_vec()],
            "the deposed primary answered a stale read"
        );
    }
    cluster
        .wait(0, "the new view", |report| {
            report.view.as_ref().is_some_and(|view| view.epoch >= 4)
        })
        .await
        .expect("it hears of the new view");
    let answer = new.get("key", None).await.expect("readable");
    assert_eq!(answer.kvs()[0].value(), b"new");
}
