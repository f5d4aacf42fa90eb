//! The node's ports: opened before anything serves, and watched for as long as the node runs.
//!
//! Never knows what is served.

use std::fmt::Display;

use anyhow::{Context as _, anyhow};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// Moves a port to another runtime: what listens there goes on when the others' threads hang in a disk.
pub(super) fn moved(listener: TcpListener, to: &Handle) -> std::io::Result<TcpListener> {
    let listener = listener.into_std()?;
    let _entered = to.enter();
    TcpListener::from_std(listener)
}

/// Ports that are open; opened before anything serves, so that a taken one ends the start.
pub(super) struct Ports {
    pub(super) client: TcpListener,
    pub(super) peer: Option<TcpListener>,
    pub(super) control: Option<TcpListener>,
    pub(super) probe: Option<TcpListener>,
}

impl Ports {
    pub(super) async fn open(config: &Config, driver_thread: &Handle) -> anyhow::Result<Self> {
        let client = bind("--client-listen", config.client_address()).await?;
        let (mut peer, mut control, mut probe) = (None, None, None);
        if !config.standalone {
            // A socket belongs to the runtime that opens it.
            let opened = driver_thread.spawn(bind("--peer-listen", config.peer_listen));
            peer = Some(opened.await??);
            control = Some(bind("--control-listen", config.control_listen).await?);
        }
        if let Some(address) = config.probe_address() {
            probe = Some(bind("--probe-listen", address).await?);
        }
        Ok(Self {
            client,
            peer,
            control,
            probe,
        })
    }
}

async fn bind(flag: &'static str, address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("{flag} {address} cannot be listened on"))
}

/// Notices ports that are served no more. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct PortWatch {
    shutdown: CancellationToken,
    ended: mpsc::Sender<anyhow::Error>,
}

impl PortWatch {
    /// Until `shutdown` every port is to be served. The first one that is not comes out of the receiver.
    pub(super) fn until(shutdown: CancellationToken) -> (Self, mpsc::Receiver<anyhow::Error>) {
        let (ended, first) = mpsc::channel(1);
        (Self { shutdown, ended }, first)
    }

    /// Serves a port. A node without it looks alive and is of no use: it has to end, so that somebody
    /// notices and it is started anew.
    pub(super) async fn port<E: Display>(
        self,
        flag: &'static str,
        serves: impl Future<Output = Result<(), E>>,
    ) {
        let error = match serves.await {
            Ok(()) if self.shutdown.is_cancelled() => return,
            Ok(()) => anyhow!("{flag}: the port is served no more"),
            Err(error) => anyhow!("{flag}: the port cannot be served: {error}"),
        };
        tracing::error!("{error}");
        // One is enough to end the process.
        let _ = self.ended.try_send(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_cannot_be_served_ends_the_node() {
        let (watch, mut first) = PortWatch::until(CancellationToken::new());
        let taken = async { Err::<(), _>("no such metric") };
        watch.clone().port("--client-listen", taken).await;
        let gone = async { Ok::<_, String>(()) };
        watch.port("--probe-listen", gone).await;
        let error = first.recv().await.expect("it is told").to_string();
        assert!(error.contains("--client-listen") && error.contains("no such metric"));
    }

    #[tokio::test]
    async fn a_port_that_ends_with_the_node_is_no_error() {
        let shutdown = CancellationToken::new();
        let (watch, mut first) = PortWatch::until(shutdown.clone());
        shutdown.cancel();
        let gone = async { Ok::<_, String>(()) };
        watch.port("--client-listen", gone).await;
        assert!(first.recv().await.is_none(), "nobody is left to tell");
    }
}
