//! A planned move of the role (V8), as clients of the old primary see it: they are held for a moment and
//! then answered by the next primary, over the connection they have.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use etcd_client::{Client, GetOptions, LeaseGrantOptions};
use standby_testkit::LoopbackCluster;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_standby-node"))
}

async fn three() -> LoopbackCluster {
    LoopbackCluster::start(binary(), 3, None)
        .await
        .expect("it starts")
}

/// Moves the role from node 0 to node 1, with node 2 beside it.
async fn move_to_the_standby(cluster: &mut LoopbackCluster) {
    cluster.step_down(0).await.expect("it drains");
    cluster.promote(1, true).await.expect("it is complete");
    cluster.pair_with(2).await.expect("the replica catches up");
    cluster.wait_serving(1).await.expect("it serves");
}

/// Writes one after the other until told to end; the keys that were acknowledged, and the errors.
async fn write_on(
    mut client: Client,
    name: usize,
    end: Arc<AtomicBool>,
) -> (Vec<String>, Vec<String>) {
    let (mut acknowledged, mut errors) = (Vec::new(), Vec::new());
    while !end.load(Ordering::Relaxed) {
        let key = format!("{name}/{}", acknowledged.len() + errors.len());
        match client.put(key.as_str(), "value", None).await {
            Ok(_) => acknowledged.push(key),
            Err(error) => errors.push(error.to_string()),
        }
    }
    (acknowledged, errors)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_the_old_primary_write_on_over_the_connections_they_have() {
    const WRITERS: usize = 4;
    let mut cluster = three().await;
    let end = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for name in 0..WRITERS {
        let writes = write_on(cluster.client(0).await, name, Arc::clone(&end));
        tasks.push(tokio::spawn(writes));
    }
    let mut first = cluster.client(0).await;
    first.put("begun", "", None).await.expect("acknowledged");
    move_to_the_standby(&mut cluster).await;
    // The old primary follows now, and a connection of before still writes.
    let after = first.put("moved", "", None).await.expect("acknowledged");
    let primary = cluster.client(1).await.status().await.expect("it runs");
    let answered_by = after.header().expect("there is one").member_id();
    assert_eq!(
        answered_by,
        primary.header().expect("there is one").member_id()
    );
    let read = first.get("begun", None).await.expect("readable");
    assert_eq!(read.kvs().len(), 1);
    let lease = first.lease_grant(60, Some(LeaseGrantOptions::new())).await;
    lease.expect("granted");
    end.store(true, Ordering::Relaxed);
    for task in tasks {
        let (acknowledged, errors) = task.await.expect("no panic");
        // One that was on its way to the log in that very moment is refused, and nothing of it written.
        assert!(errors.len() <= 1, "{errors:?}");
        let mut client = cluster.client(1).await;
        for key in acknowledged {
            let found = client.get(key.as_str(), None).await.expect("readable");
            assert_eq!(found.kvs().len(), 1, "{key} was acknowledged");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_were_held_are_answered_here_when_the_move_comes_to_nothing() {
    let mut cluster = three().await;
    let mut client = cluster.client(0).await;
    client.put("before", "", None).await.expect("acknowledged");
    cluster.step_down(0).await.expect("it drains");
    let held = tokio::spawn(async move { client.put("held", "", None).await });
    // Nobody took over: the old primary goes on in a new epoch.
    cluster.promote(0, true).await.expect("it is complete");
    cluster.pair_with(1).await.expect("the standby is there");
    held.await.expect("no panic").expect("acknowledged");
    let all = GetOptions::new().with_all_keys();
    let found = cluster.client(0).await.get("", Some(all)).await;
    assert_eq!(found.expect("readable").kvs().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_ends_after_a_move_passes_on_what_comes_until_it_has_ended() {
    let mut cluster = three().await;
    let mut client = cluster.client(0).await;
    client.put("before", "", None).await.expect("acknowledged");
    cluster.terminate(0).expect("it runs");
    let asks = |report: &standby_control::v1::Report| report.wants_handover;
    cluster.wait(0, "the wish", asks).await.expect("it asks");
    move_to_the_standby(&mut cluster).await;
    client.put("after", "", None).await.expect("acknowledged");
    let ended = cluster.wait_ended(0).expect("it ends");
    assert!(ended.success(), "{ended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_told_to_end_just_after_a_move_passes_on_before_it_ends() {
    let mut cluster = three().await;
    let mut client = cluster.client(0).await;
    client.put("before", "", None).await.expect("acknowledged");
    move_to_the_standby(&mut cluster).await;
    cluster.terminate(0).expect("it runs");
    client.put("after", "", None).await.expect("acknowledged");
    let ended = cluster.wait_ended(0).expect("it ends");
    assert!(ended.success(), "{ended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_next_primary_dies_requests_are_not_passed_on_to_it_any_more() {
    let mut cluster = three().await;
    let mut client = cluster.client(0).await;
    client.put("before", "", None).await.expect("acknowledged");
    move_to_the_standby(&mut cluster).await;
    client.put("moved", "", None).await.expect("acknowledged");
    cluster.kill(1).expect("it runs");
    // Where nobody can be passed on to, this node says what it is.
    let mut said = String::new();
    for _ in 0..200 {
        let refused = client.put("none", "", None).await;
        said = refused.expect_err("nobody leads").to_string();
        if said.contains("not supported for learner") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(said.contains("not supported for learner"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_comes_back_at_once_is_answered_for_here() {
    let mut cluster = three().await;
    let mut client = cluster.client(0).await;
    client.put("before", "", None).await.expect("acknowledged");
    move_to_the_standby(&mut cluster).await;
    client.put("there", "", None).await.expect("acknowledged");
    cluster
        .pair_with(0)
        .await
        .expect("the old primary is there");
    cluster.wait_serving(1).await.expect("it serves");
    cluster.step_down(1).await.expect("it drains");
    cluster.promote(0, true).await.expect("it is complete");
    cluster.pair_with(2).await.expect("the replica is there");
    cluster.wait_serving(0).await.expect("it serves");
    let here = cluster.client(0).await.status().await.expect("it runs");
    let here = here.header().expect("there is one").member_id();
    // Through both: the connections of before and those to the other.
    let mut other = cluster.client(1).await;
    for through in [&mut client, &mut other] {
        let put = through.put("back", "", None).await.expect("acknowledged");
        assert_eq!(put.header().expect("there is one").member_id(), here);
    }
}

/// A put over a connection to the old primary ends here: this node says what it is.
async fn refused_here(client: &mut Client) {
    // However long it is held, it is answered. Much longer than any limit of the node's.
    let put = tokio::time::timeout(
        std::time::Duration::from_secs(20),
        client.put("put", "", None),
    );
    let refused = put
        .await
        .expect("it is answered")
        .expect_err("nobody is passed on to");
    let said = refused.to_string();
    assert!(said.contains("not supported for learner"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_answered_here_when_the_next_primary_cannot_be_reached() {
    let mut cluster = three().await;
    let mut client = cluster.client(0).await;
    client.put("before", "", None).await.expect("acknowledged");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = closed.local_addr().expect("it is bound");
    drop(closed);
    cluster.say_client_url(1, &format!("http://{address}"));
    cluster.step_down(0).await.expect("it drains");
    let held = tokio::spawn(async move { refused_here(&mut client).await });
    cluster.promote(1, true).await.expect("it is complete");
    cluster.pair_with(2).await.expect("the replica catches up");
    held.await.expect("it was refused");
    let log = cluster.node(0).log();
    assert!(log.contains("requests are not passed on"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_next_primary_speaks_is_said_by_its_address() {
    let mut cluster = three().await;
    let mut client = cluster.client(0).await;
    client.put("before", "", None).await.expect("acknowledged");
    // It is told to speak TLS, has no certificates, and must not fall back to none.
    let address = cluster.node(1).client_address();
    cluster.say_client_url(1, &format!("https://{address}"));
    move_to_the_standby(&mut cluster).await;
    refused_here(&mut client).await;
}

/// Moves the role between nodes of these values of `--client-tls`: a client of the old primary writes on.
async fn clients_write_on(modes: [&'static str; 3]) {
    let started = LoopbackCluster::start_with_tls(binary(), &modes).await;
    let mut cluster = started.expect("it starts");
    let mut client = cluster.client(0).await;
    client.put("before", "", None).await.expect("acknowledged");
    move_to_the_standby(&mut cluster).await;
    let after = client.put("after", "", None).await.expect("acknowledged");
    let primary = cluster.client(1).await.status().await.expect("it runs");
    let primary = primary.header().expect("there is one").member_id();
    let answered_by = after.header().expect("there is one").member_id();
    assert_eq!(answered_by, primary, "{modes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_must_be_known_write_on() {
    clients_write_on(["mutual"; 3]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_only_know_the_server_write_on() {
    clients_write_on(["server-only"; 3]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_write_on_when_the_next_primary_begins_to_speak_tls() {
    clients_write_on(["disabled", "mutual", "mutual"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_write_on_when_the_next_primary_speaks_tls_no_more() {
    clients_write_on(["mutual", "disabled", "disabled"]).await;
}
