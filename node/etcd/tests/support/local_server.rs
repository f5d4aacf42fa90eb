//! A server over a state in memory, on a loopback port of its own.

use std::net::Ipv4Addr;
use std::sync::Arc;

use standby_etcd::server::{EtcdServer, ServerOptions};
use standby_etcd::services::node::{MonotonicClock, Node, NodeParts};
use standby_etcd::state::{EtcdState, Outcome};
use standby_etcd::watch::WatchHub;
use standby_store::engine::MemoryEngine;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::LocalReplication;

/// A running server; it ends with this.
pub struct LocalServer {
    /// Where it listens.
    pub url: String,
    /// Its replication, to change its role.
    pub replication: Arc<LocalReplication<Outcome>>,
    /// The server itself.
    pub server: EtcdServer<Arc<LocalReplication<Outcome>>>,
    _shutdown: DropGuard,
}

impl LocalServer {
    /// Starts one with an empty store.
    pub async fn start() -> Self {
        Self::start_with(ServerOptions::default()).await
    }

    /// Starts one with an empty store and these options.
    pub async fn start_with(options: ServerOptions) -> Self {
        let mut state =
            EtcdState::open(Arc::new(MemoryEngine::default())).expect("an empty state opens");
        let view = state.view();
        let hub = WatchHub::new(view.current_revision());
        state.set_event_sink(Arc::new(hub.clone()));
        let replication = Arc::new(LocalReplication::start(state));
        let node = Node::new(NodeParts {
            replication: Arc::clone(&replication),
            view,
            quota_backend_bytes: None,
            clock: Arc::new(MonotonicClock::start()),
        });
        let server = EtcdServer::new(node, hub, options);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let shutdown = CancellationToken::new();
        let serving = server.clone();
        let until = shutdown.clone();
        tokio::spawn(async move {
            serving
                .serve(vec![listener], None, until)
                .await
                .expect("metrics are registered once");
        });
        let url = format!("http://{address}");
        Self {
            url,
            replication,
            server,
            _shutdown: shutdown.drop_guard(),
        }
    }
}
