//! Plain HTTP for the kubelet and Prometheus. Liveness never depends on other machines; readiness says
//! what the node is. Whoever reaches the port can take no more than a bounded number of connections, each
//! for a bounded time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Encoder as _, IntGauge, Registry, TextEncoder};
use standby_interface::{Role, RoleInfo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::limits::{ACCEPT_RETRY_MS, PROBE_CONNECTION_MS, PROBE_CONNECTIONS_MAX};
use crate::replication::Shared;

/// The node's own metrics, read when the registry is: on whichever port somebody asks, they are of now.
#[derive(Clone, Debug)]
pub struct NodeMetrics {
    shared: Arc<Shared>,
    role: watch::Receiver<RoleInfo>,
    epoch: IntGauge,
    primary: IntGauge,
    commit: IntGauge,
    applied: IntGauge,
    waiting: IntGauge,
    disk_free: IntGauge,
    disk_full: IntGauge,
}

impl NodeMetrics {
    /// The metrics of the node that these numbers and this role are of.
    pub fn new(
        shared: Arc<Shared>,
        role: watch::Receiver<RoleInfo>,
    ) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| IntGauge::new(name, help);
        Ok(Self {
            shared,
            role,
            epoch: gauge("standby_node_epoch", "Epoch of the adopted view.")?,
            primary: gauge(
                "standby_node_primary",
                "1 while this node serves as primary.",
            )?,
            commit: gauge(
                "standby_node_commit_index",
                "Index up to which the log is committed.",
            )?,
            applied: gauge(
                "standby_node_applied_index",
                "Index up to which the log is applied.",
            )?,
            waiting: gauge(
                "standby_node_waiting_requests",
                "Client requests that wait.",
            )?,
            disk_free: gauge("standby_node_disk_free_bytes", "Free bytes of the volume.")?,
            disk_full: gauge(
                "standby_node_disk_full",
                "1 while writes are refused for space.",
            )?,
        })
    }

    fn gauges(&self) -> [&IntGauge; 7] {
        [
            &self.epoch,
            &self.primary,
            &self.commit,
            &self.applied,
            &self.waiting,
            &self.disk_free,
            &self.disk_full,
        ]
    }

    fn read(&self) {
        let whole = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let (epoch, role) = {
            let info = self.role.borrow();
            (info.epoch.0, info.role)
        };
        let shared = &self.shared;
        self.epoch.set(whole(epoch));
        self.primary.set(i64::from(role == Role::Primary));
        self.commit.set(whole(shared.commit().0));
        self.applied.set(whole(shared.applied().0));
        self.waiting
            .set(whole(shared.waiting.load(Ordering::Relaxed) as u64));
        self.disk_free
            .set(whole(shared.disk_free.load(Ordering::Relaxed)));
        self.disk_full
            .set(i64::from(shared.disk_full.load(Ordering::Relaxed)));
    }
}

impl Collector for NodeMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges()
            .into_iter()
            .flat_map(Collector::desc)
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        self.gauges()
            .into_iter()
            .flat_map(Collector::collect)
            .collect()
    }
}

#[derive(Clone)]
struct Probes {
    role: watch::Receiver<RoleInfo>,
    registry: Registry,
}

/// Serves `/livez`, `/readyz` and `/metrics` until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    role: watch::Receiver<RoleInfo>,
    registry: Registry,
    shutdown: CancellationToken,
) {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .with_state(Probes { role, registry });
    let slots = Arc::new(Semaphore::new(PROBE_CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, slot)) = accepted else {
            continue;
        };
        let (router, shutdown) = (router.clone(), shutdown.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = answer(stream, router) => {}
            }
            drop(slot);
        });
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    // Connections beyond the bound wait in the kernel's queue.
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, slot)),
        Err(error) => {
            tracing::warn!(%error, "accepting a connection for a probe failed");
            tokio::time::sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
            None
        }
    }
}

/// One question and its answer: a connection that is not kept needs one time limit for everything.
async fn answer(stream: TcpStream, router: Router) {
    let service = TowerToHyperService::new(router);
    let mut builder = http1::Builder::new();
    builder.keep_alive(false);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let limit = Duration::from_millis(PROBE_CONNECTION_MS);
    match tokio::time::timeout(limit, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection for a probe ended"),
        Err(_) => tracing::debug!(limit_ms = PROBE_CONNECTION_MS, "a probe took too long"),
    }
}

/// Ready means that clients can use the node for what it is; the answer says what that is.
async fn ready(State(probes): State<Probes>) -> (StatusCode, String) {
    let info = probes.role.borrow().clone();
    let (status, text) = match info.role {
        Role::Primary => (StatusCode::OK, "primary"),
        Role::Follower if info.primary_alive => (StatusCode::OK, "follower"),
        Role::Follower => (
            StatusCode::SERVICE_UNAVAILABLE,
            "follower without a connection to its primary",
        ),
        Role::PrimaryWaiting => (
            StatusCode::SERVICE_UNAVAILABLE,
            "primary that may not serve yet: no synchronous standby is recorded, or its lease has \
             not begun",
        ),
        Role::SteppedDown => (
            StatusCode::SERVICE_UNAVAILABLE,
            "primary that has stepped down: the next view is awaited",
        ),
        Role::Unassigned => (
            StatusCode::SERVICE_UNAVAILABLE,
            "no role yet: waiting for the operator's view",
        ),
    };
    (status, format!("{text}, epoch {}\n", info.epoch))
}

async fn metrics_text(State(probes): State<Probes>) -> Result<String, StatusCode> {
    let mut text = Vec::new();
    let encoded = TextEncoder::new().encode(&probes.registry.gather(), &mut text);
    encoded.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    String::from_utf8(text).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use standby_core::{Epoch, Index};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn registry() -> (Registry, watch::Receiver<RoleInfo>) {
        let shared = Arc::new(Shared::new(Index(7)));
        let nothing_yet = RoleInfo {
            role: Role::Unassigned,
            epoch: Epoch(0),
            primary: None,
            primary_alive: false,
        };
        let role = watch::Sender::new(nothing_yet).subscribe();
        let metrics = NodeMetrics::new(shared, role.clone()).expect("they are consistent");
        let registry = Registry::new();
        let registered = registry.register(Box::new(metrics));
        registered.expect("nothing else is there");
        (registry, role)
    }

    #[test]
    fn the_guide_names_every_metric_of_the_node_and_no_other() {
        let families = registry().0.gather();
        let registered = families.iter().map(|family| family.name().to_owned());
        let registered: BTreeSet<String> = registered.collect();
        let documented: BTreeSet<String> = include_str!("../../docs/operating.md")
            .split(|c: char| !c.is_ascii_lowercase() && c != '_')
            .filter(|word| word.starts_with("standby_node_"))
            .map(str::to_owned)
            .collect();
        assert_eq!(registered, documented);
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_takes_no_place_for_long() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let (registry, role) = registry();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, role, registry, shutdown.clone()));
        let mut silent = Vec::new();
        for _ in 0..=PROBE_CONNECTIONS_MAX {
            silent.push(TcpStream::connect(address).await.expect("accepted"));
        }
        // Every place is taken, and given back; the probe comes after all of them.
        let mut probe = TcpStream::connect(address).await.expect("accepted");
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
        probe.write_all(request).await.expect("taken");
        let mut answer = String::new();
        probe.read_to_string(&mut answer).await.expect("answered");
        assert!(answer.contains("standby_node_applied_index 7"), "{answer}");
        for mut stream in silent {
            let mut said = Vec::new();
            let closed = stream.read_to_end(&mut said);
            let limit = Duration::from_millis(3 * PROBE_CONNECTION_MS);
            let closed = tokio::time::timeout(limit, closed).await;
            // Whether by an end or a reset is nothing to the test.
            let _ = closed.expect("it is closed");
        }
        shutdown.cancel();
        serving.await.expect("no panic");
    }
}
