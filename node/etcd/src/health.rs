//! Whether this node is healthy, for those who ask: the checks behind `/health`, `/livez`, `/readyz`
//! and grpc.health.v1. Never heals anything.

use std::sync::Arc;
use std::time::Duration;

use standby_interface::RoleInfo;
use tokio::sync::watch;
use tonic::{Request, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};

use crate::limits::HEALTH_CHECK_MS;
use crate::pb::etcdserverpb::RangeRequest;
use crate::pb::etcdserverpb::kv_server::Kv;

/// Gives the names of raised alarms, as etcd names them (`NOSPACE`, `CORRUPT`).
pub type AlarmSource = Arc<dyn Fn() -> Vec<&'static str> + Send + Sync>;

/// A kind of health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// No alarm about damaged data is raised.
    DataCorruption,
    /// The state can be read.
    SerializableRead,
    /// The state can be read under proof of primacy.
    LinearizableRead,
    /// The node answers writes.
    NonLearner,
}

impl Check {
    /// etcd's name of the check.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DataCorruption => "data_corruption",
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::NonLearner => "non_learner",
        }
    }
}

/// Performs the checks, through the same service as clients' reads.
pub struct HealthChecks<K> {
    kv: K,
    role: watch::Receiver<RoleInfo>,
    alarms: AlarmSource,
}

impl<K: Kv> HealthChecks<K> {
    /// Checks that read through `kv`.
    #[must_use]
    pub fn new(kv: K, role: watch::Receiver<RoleInfo>, alarms: AlarmSource) -> Self {
        Self { kv, role, alarms }
    }
}

/// What the HTTP endpoints ask.
#[tonic::async_trait]
pub trait HealthSource: Send + Sync + 'static {
    /// Performs one check; the error says what is wrong.
    async fn check(&self, check: Check) -> Result<(), String>;

    /// Names of raised alarms.
    fn alarms(&self) -> Vec<&'static str>;

    /// Whether a live primary is known.
    fn knows_leader(&self) -> bool;
}

#[tonic::async_trait]
impl<K: Kv> HealthSource for HealthChecks<K> {
    async fn check(&self, check: Check) -> Result<(), String> {
        match check {
            Check::DataCorruption if self.alarms().contains(&"CORRUPT") => {
                Err("alarm activated: CORRUPT".to_owned())
            }
            Check::DataCorruption => Ok(()),
            Check::SerializableRead => self.read(true).await,
            Check::LinearizableRead => self.read(false).await,
            Check::NonLearner => match self.role.borrow().role {
                role if role.is_primary() => Ok(()),
                _ => Err("not supported for learner".to_owned()),
            },
        }
    }

    fn alarms(&self) -> Vec<&'static str> {
        (self.alarms)()
    }

    fn knows_leader(&self) -> bool {
        serves(&self.role.borrow())
    }
}

impl<K: Kv> HealthChecks<K> {
    async fn read(&self, serializable: bool) -> Result<(), String> {
        let request = RangeRequest {
            key: bytes::Bytes::from_static(b"\0"),
            keys_only: true,
            limit: 1,
            serializable,
            ..RangeRequest::default()
        };
        let limit = Duration::from_millis(HEALTH_CHECK_MS);
        match tokio::time::timeout(limit, self.kv.range(Request::new(request))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => Err(Status::from(crate::error::EtcdError::Timeout)
                .message()
                .to_owned()),
        }
    }
}

/// Whether clients that want any answer beyond status may come here.
fn serves(role: &RoleInfo) -> bool {
    role.primary.is_some() && role.primary_alive
}

/// grpc.health.v1, and the task that keeps it in step with the role until the sender of roles is gone.
pub fn grpc_health(
    mut role: watch::Receiver<RoleInfo>,
) -> (HealthServer<impl Health>, impl Future<Output = ()> + Send) {
    let (reporter, server) = tonic_health::server::health_reporter();
    let follow = async move {
        loop {
            let serving = serves(&role.borrow_and_update());
            let status = if serving {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            };
            reporter.set_service_status("", status).await;
            if role.changed().await.is_err() {
                return;
            }
        }
    };
    (server, follow)
}
