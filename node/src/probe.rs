//! Plain HTTP for the kubelet and Prometheus. Liveness never depends on other machines; readiness says
//! what the node is.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Encoder as _, IntGauge, Registry, TextEncoder};
use standby_interface::{Role, RoleInfo};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

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
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .with_state(Probes { role, registry });
    let ended = async move { shutdown.cancelled().await };
    axum::serve(listener, router)
        .with_graceful_shutdown(ended)
        .await
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

    use super::*;

    fn registry() -> Registry {
        let shared = Arc::new(Shared::new(Index(7)));
        let nothing_yet = RoleInfo {
            role: Role::Unassigned,
            epoch: Epoch(0),
            primary: None,
            primary_alive: false,
        };
        let role = watch::Sender::new(nothing_yet).subscribe();
        let metrics = NodeMetrics::new(shared, role).expect("they are consistent");
        let registry = Registry::new();
        let registered = registry.register(Box::new(metrics));
        registered.expect("nothing else is there");
        registry
    }

    #[test]
    fn the_guide_names_every_metric_of_the_node_and_no_other() {
        let families = registry().gather();
        let registered = families.iter().map(|family| family.name().to_owned());
        let registered: BTreeSet<String> = registered.collect();
        let documented: BTreeSet<String> = include_str!("../../docs/operating.md")
            .split(|c: char| !c.is_ascii_lowercase() && c != '_')
            .filter(|word| word.starts_with("standby_node_"))
            .map(str::to_owned)
            .collect();
        assert_eq!(registered, documented);
    }
}
