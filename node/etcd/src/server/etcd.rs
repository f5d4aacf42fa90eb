//! The whole client side of a node, put together: services, health, HTTP, and the tasks beside them.
//!
//! Never decides anything; it only says what belongs to what.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use prometheus::Registry;
use standby_interface::Replication;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::Service;

use super::dispatch::{Dispatch, GrpcServices};
use super::lifetimes::Lifetimes;
use super::listen::{ClientServer, TlsSource};
use super::onward::Onward;
use crate::health::{HealthChecks, grpc_health};
use crate::http::HttpApi;
use crate::services::cluster::ClusterService;
use crate::services::kv::KvService;
use crate::services::lease::LeaseService;
use crate::services::maintenance::MaintenanceService;
use crate::services::node::Node;
use crate::services::watch::{HeaderSource, WatchService};
use crate::state::Outcome;
use crate::watch::WatchHub;

/// What may be chosen about the client side.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// How often progress is told to watchers that want it, in milliseconds; at least 100. `None`
    /// means etcd's ten minutes.
    pub watch_progress_interval_ms: Option<u64>,
    /// Where metrics are; `/metrics` shows it.
    pub registry: Registry,
}

/// The client side of a node. Cheap to clone.
#[derive(Clone)]
pub struct EtcdServer<R> {
    node: Node<R>,
    hub: WatchHub,
    options: ServerOptions,
    connections: ClientServer,
    lifetimes: Lifetimes,
    onward: Onward,
}

impl<R: Replication<Outcome>> EtcdServer<R> {
    /// The client side of `node`. `hub` is the event sink of the same state.
    #[must_use]
    pub fn new(node: Node<R>, hub: WatchHub, options: ServerOptions) -> Self {
        let lifetimes = Lifetimes::default();
        let connections = ClientServer::new(lifetimes.clone());
        Self {
            node,
            hub,
            options,
            connections,
            lifetimes,
            onward: Onward::default(),
        }
    }

    /// The way to the next primary, for the time after a planned move.
    #[must_use]
    pub fn onward(&self) -> &Onward {
        &self.onward
    }

    /// Serves the client port on every listener until `shutdown`; returns once all connections are
    /// closed. Without `tls` the port is plain. Called once.
    ///
    /// # Errors
    /// When the registry already has metrics of a server.
    pub async fn serve(
        &self,
        listeners: Vec<TcpListener>,
        tls: Option<TlsSource>,
        shutdown: CancellationToken,
    ) -> Result<(), prometheus::Error> {
        let role = self.node.replication().role();
        let (health, follow_role) = grpc_health(role.clone());
        let service = self.service(health)?;
        let mut beside = JoinSet::new();
        beside.spawn(follow_role);
        beside.spawn(self.node.clone().run_leases());
        let serving = listeners.into_iter().map(|listener| {
            self.connections
                .serve(listener, tls.clone(), service.clone(), shutdown.clone())
        });
        futures::future::join_all(serving).await;
        beside.shutdown().await;
        Ok(())
    }

    /// Ends every connection that there is now, and goes on serving new ones: for the loss of the
    /// role. Requests in flight get a moment.
    pub async fn close_all(&self) {
        self.connections.close_all().await;
    }

    fn service<H: tonic_health::pb::health_server::Health>(
        &self,
        health: tonic_health::pb::health_server::HealthServer<H>,
    ) -> Result<
        impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
        prometheus::Error,
    > {
        let node = &self.node;
        let role = node.replication().role();
        let kv = KvService::new(node.clone());
        let alarmed = node.clone();
        let alarms = Arc::new(move || {
            if alarmed.is_out_of_space() {
                vec!["NOSPACE"]
            } else {
                Vec::new()
            }
        });
        let headers = node.clone();
        let header: HeaderSource = Arc::new(move || headers.header(0));
        let watch = WatchService::new(
            self.hub.clone(),
            Arc::new(node.view().clone()),
            header,
            role.clone(),
            self.lifetimes.clone(),
            self.options.watch_progress_interval_ms,
        );
        let services = GrpcServices {
            watch,
            lease: LeaseService::new(node.clone()),
            maintenance: MaintenanceService::new(node.clone()),
            cluster: ClusterService::new(node.clone()),
            kv: kv.clone(),
        };
        crate::watch::register_metrics(&self.hub, &self.options.registry)?;
        let checks = Arc::new(HealthChecks::new(kv, role, alarms));
        let http = HttpApi::new(checks, self.options.registry.clone())?;
        Ok(Dispatch::new(services, health, http, self.onward.clone()))
    }
}
