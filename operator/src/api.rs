//! Calls of the Kubernetes API: each with a timeout, each error with what was tried, and never more at once
//! than the API server answers promptly. What many clusters want at the same time waits here, in line,
//! rather than there: an API server that is swamped answers nobody in time, not even the election.

use std::fmt::Debug;
use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::limits::{self, ms};
use crate::line::{Line, Rank};
use crate::metrics::CALLS;

/// The field manager of everything the operator applies.
pub const MANAGER: &str = "standby-operator";
/// The field manager of the role label, which changes apart from the rest of a pod.
pub const MANAGER_ROLE: &str = "standby-operator-role";

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The API server did not answer in time.
    #[error("{what}: no answer within {} ms", .after.as_millis())]
    Timeout {
        /// What was tried.
        what: String,
        /// The limit.
        after: Duration,
    },
    /// The API server, or the way to it, said no.
    #[error("{what}: {source}")]
    Kube {
        /// What was tried.
        what: String,
        /// Why not.
        source: Box<kube::Error>,
    },
}

impl ApiError {
    /// Whether somebody else changed the object first.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Kube { source, .. }
            if matches!(&**source, kube::Error::Api(status) if status.is_conflict()))
    }

    /// Whether the API server itself answered: nothing was written then.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Kube { source, .. } if matches!(&**source, kube::Error::Api(_)))
    }

    /// Whether there is no such object.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Kube { source, .. }
            if matches!(&**source, kube::Error::Api(status) if status.is_not_found()))
    }
}

/// How a call is treated: how long it may take, and whom it lets pass; none: it never waits.
#[derive(Clone, Copy, Debug)]
pub struct Lane {
    limit_ms: u64,
    rank: Option<Rank>,
}

static LINE: LazyLock<Line> = LazyLock::new(Line::new);

/// The usual.
pub const USUAL: Lane = Lane {
    limit_ms: limits::API_CALL_MS,
    rank: Some(Rank::Usual),
};
/// What a new leader begins with.
pub const FIRST: Lane = Lane {
    limit_ms: limits::API_HOT_CALL_MS,
    rank: Some(Rank::First),
};
/// The hot path of a failover.
pub const HOT: Lane = Lane {
    limit_ms: limits::API_HOT_CALL_MS,
    rank: Some(Rank::Failover),
};
/// The election: never waits for others.
pub const ELECTION: Lane = Lane {
    limit_ms: limits::LEASE_CALL_MS,
    rank: None,
};

/// Runs a call under a limit, once it is its turn.
pub async fn within<T>(
    lane: Lane,
    what: impl Into<String>,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, ApiError> {
    let asked = Instant::now();
    let _turn = match lane.rank {
        None => None,
        Some(rank) => {
            let turn = LINE.turn(rank).await;
            CALLS.waited(rank, asked.elapsed());
            if turn.is_none() {
                return Err(ApiError::Timeout {
                    what: what.into(),
                    after: ms(limits::API_LINE_MS),
                });
            }
            turn
        }
    };
    let (after, begun) = (ms(lane.limit_ms), Instant::now());
    let done = tokio::time::timeout(after, call).await;
    if let Some(rank) = lane.rank {
        CALLS.took(rank, begun.elapsed());
    }
    match done {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(source)) => Err(ApiError::Kube {
            what: what.into(),
            source: Box::new(source),
        }),
        Err(_) => Err(ApiError::Timeout {
            what: what.into(),
            after,
        }),
    }
}

/// Applies a whole object by server-side apply: what it says is what the operator wants.
pub async fn apply<K>(client: &Client, object: &K, lane: Lane) -> Result<K, ApiError>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug,
{
    let namespace = object.namespace().unwrap_or_default();
    let name = object.name_any();
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let params = PatchParams::apply(MANAGER).force();
    let what = format!("apply {} {name}", K::kind(&()));
    within(lane, what, api.patch(&name, &params, &Patch::Apply(object))).await
}
