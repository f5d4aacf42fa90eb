//! The node's metrics as Prometheus reads them.

use std::path::Path;

use standby_testkit::LoopbackCluster;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_standby-node"))
}

async fn metrics_of(address: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer
}

#[tokio::test]
async fn the_client_port_shows_what_the_node_is_now() {
    let cluster = LoopbackCluster::start(binary(), 1, None).await;
    let cluster = cluster.expect("it starts");
    let mut client = cluster.client(0).await;
    client
        .put("key", "value", None)
        .await
        .expect("acknowledged");
    let metrics = metrics_of(&cluster.node(0).client_address()).await;
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|value| value.trim().parse::<u64>().ok());
        value.unwrap_or_else(|| panic!("{name} is missing in {metrics}"))
    };
    assert_eq!(value("standby_node_primary"), 1);
    let epoch = cluster.view().expect("it was recorded").epoch.0;
    assert_eq!(value("standby_node_epoch"), epoch);
    assert!(value("standby_node_commit_index") > 0);
    assert!(value("standby_node_disk_free_bytes") > 0);
}
