//! Which service a request belongs to: by its path, without a router in the way of the hot ones.
//!
//! Never answers for a service, but for those that there are not.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, header};
use hyper::body::Incoming;
use tonic::Status;
use tonic::body::Body;
use tonic_health::pb::health_server::{Health, HealthServer};
use tower::Service;

use super::onward::Onward;
use crate::http::HttpApi;
use crate::limits::{GRPC_OVERHEAD_BYTES, MAX_REQUEST_BYTES};
use crate::pb::etcdserverpb::cluster_server::{Cluster, ClusterServer};
use crate::pb::etcdserverpb::kv_server::{Kv, KvServer};
use crate::pb::etcdserverpb::lease_server::{Lease, LeaseServer};
use crate::pb::etcdserverpb::maintenance_server::{Maintenance, MaintenanceServer};
use crate::pb::etcdserverpb::watch_server::{Watch, WatchServer};

/// The services of the client port.
#[derive(Clone, Debug)]
pub struct GrpcServices<K, W, L, M, C> {
    /// etcdserverpb.KV
    pub kv: K,
    /// etcdserverpb.Watch
    pub watch: W,
    /// etcdserverpb.Lease
    pub lease: L,
    /// etcdserverpb.Maintenance
    pub maintenance: M,
    /// etcdserverpb.Cluster
    pub cluster: C,
}

/// Takes each request to its service. Cheap to clone.
pub struct Dispatch<K, W, L, M, C, H> {
    servers: Arc<Servers<K, W, L, M, C, H>>,
}

struct Servers<K, W, L, M, C, H> {
    kv: KvServer<K>,
    watch: WatchServer<W>,
    lease: LeaseServer<L>,
    maintenance: MaintenanceServer<M>,
    cluster: ClusterServer<C>,
    health: HealthServer<H>,
    http: Arc<HttpApi>,
    onward: Onward,
}

/// Requests larger than this never reach a service.
const MESSAGE_BYTES: usize = MAX_REQUEST_BYTES + GRPC_OVERHEAD_BYTES;

impl<K: Kv, W: Watch, L: Lease, M: Maintenance, C: Cluster, H: Health> Dispatch<K, W, L, M, C, H> {
    /// Dispatches to these services.
    #[must_use]
    pub fn new(
        services: GrpcServices<K, W, L, M, C>,
        health: HealthServer<H>,
        http: HttpApi,
        onward: Onward,
    ) -> Self {
        let GrpcServices {
            kv,
            watch,
            lease,
            maintenance,
            cluster,
        } = services;
        let servers = Servers {
            kv: KvServer::new(kv)
                .max_decoding_message_size(MESSAGE_BYTES)
                .max_encoding_message_size(usize::MAX),
            watch: WatchServer::new(watch).max_encoding_message_size(usize::MAX),
            lease: LeaseServer::new(lease).max_encoding_message_size(usize::MAX),
            maintenance: MaintenanceServer::new(maintenance).max_encoding_message_size(usize::MAX),
            cluster: ClusterServer::new(cluster),
            health,
            http: Arc::new(http),
            onward,
        };
        Self {
            servers: Arc::new(servers),
        }
    }
}

impl<K, W, L, M, C, H> Clone for Dispatch<K, W, L, M, C, H> {
    fn clone(&self) -> Self {
        Self {
            servers: Arc::clone(&self.servers),
        }
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<K: Kv, W: Watch, L: Lease, M: Maintenance, C: Cluster, H: Health> Service<Request<Incoming>>
    for Dispatch<K, W, L, M, C, H>
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Answer {
        let servers = &self.servers;
        if !servers.onward.is_away() || !belongs_to_primary(&request) {
            return servers.answer(request);
        }
        let servers = Arc::clone(servers);
        Box::pin(async move {
            match servers.onward.answer(request).await {
                Ok(response) => Ok(response),
                Err(request) => servers.answer(request).await,
            }
        })
    }
}

impl<K: Kv, W: Watch, L: Lease, M: Maintenance, C: Cluster, H: Health> Servers<K, W, L, M, C, H> {
    fn answer(&self, request: Request<Incoming>) -> Answer {
        // A clone of the one server that answers; it costs a counter, not a lock.
        let servers = self;
        let path = request.uri().path();
        let service = path
            .get(1..)
            .and_then(|path| path.split_once('/'))
            .map(|(name, _)| name);
        match service {
            Some("etcdserverpb.KV") => servers.kv.clone().call(request),
            Some("etcdserverpb.Watch") => servers.watch.clone().call(request),
            Some("etcdserverpb.Lease") => servers.lease.clone().call(request),
            Some("etcdserverpb.Maintenance") => servers.maintenance.clone().call(request),
            Some("etcdserverpb.Cluster") => servers.cluster.clone().call(request),
            Some("grpc.health.v1.Health") => servers.health.clone().call(request),
            _ if is_grpc(&request) => {
                let what = format!("{path} is not served by this version of Standby");
                Box::pin(async move { Ok(Status::unimplemented(what).into_http()) })
            }
            _ => {
                let http = Arc::clone(&servers.http);
                Box::pin(async move { Ok(http.answer(&request).await) })
            }
        }
    }
}

/// Whether a primary answers this, or answers it best: serializable reads go along, since what a request
/// asks for is not looked at here. Watches stay where they are.
fn belongs_to_primary(request: &Request<Incoming>) -> bool {
    let path = request.uri().path();
    path.starts_with("/etcdserverpb.KV/") || path.starts_with("/etcdserverpb.Lease/")
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    let content = request.headers().get(header::CONTENT_TYPE);
    content.is_some_and(|content| content.as_bytes().starts_with(b"application/grpc"))
}
