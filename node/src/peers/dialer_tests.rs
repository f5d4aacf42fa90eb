//! Whom the dialer keeps and whom it leaves, over loopback.

use super::*;
use crate::peers::network::Tcp;
use crate::peers::testing::context;
use tokio::net::TcpListener;

/// Rounds of the runtime in which a task that was woken has surely run.
const ROUNDS: usize = 32;

fn addresses(peers: &[(&str, &TcpListener)]) -> (Vec<PeerAddress>, String) {
    let peers = peers.iter().map(|(name, listener)| PeerAddress {
        name: (*name).into(),
        peer: listener.local_addr().expect("it is bound").to_string(),
        client_url: String::new(),
    });
    (peers.collect(), String::new())
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}

#[tokio::test]
async fn a_connection_is_left_only_when_its_own_end_moves() {
    let (first, second, other) = (listener().await, listener().await, listener().await);
    let (context, mut told) = context();
    let (_follow, following) = watch::channel(Some(NodeId::new("p", "1")));
    let (known, knowing) = watch::channel(addresses(&[("p", &first)]));
    let dialing = tokio::spawn(run(Arc::new(context), Tcp, following, knowing));
    let _kept = first.accept().await.expect("it dials");
    for _ in 0..ROUNDS {
        tokio::task::yield_now().await;
    }
    known.send_replace(addresses(&[("o", &other), ("p", &first)]));
    for _ in 0..ROUNDS {
        tokio::task::yield_now().await;
    }
    known.send_replace(addresses(&[("o", &other), ("p", &second)]));
    let _moved = second.accept().await.expect("it dials again");
    dialing.abort();
    let _ended = dialing.await;
    let connections = std::iter::from_fn(|| told.try_recv().ok())
        .filter(|command| matches!(command, Command::Peer { dialled: true, .. }))
        .count();
    assert!(connections <= 2, "{connections} connections for one move");
}
