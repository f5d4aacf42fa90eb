//! The Lease service, and the task that lets leases run out.
//!
//! Never reads the time itself but through the node's clock.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use standby_interface::{Replication, Role};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::node::{Node, mismatched};
use crate::command;
use crate::error::EtcdError;
use crate::lessor::{Expired, Renewal};
use crate::limits::{
    KEEP_ALIVE_QUEUE, LEASE_EXPIRIES_IN_FLIGHT, LEASE_EXPIRIES_PER_S, LEASE_REVOKE_WAIT_MS,
    LEASE_TICK_MS, MAX_LEASE_TTL_S, MIN_LEASE_TTL_S, QUOTA_LEASE_OVERHEAD_BYTES, SWEEPS_PER_TICK,
};
use crate::pb::etcdserverpb::lease_server::Lease;
use crate::pb::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseStatus,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use crate::state::Outcome;

/// etcdserverpb.Lease
pub struct LeaseService<R> {
    node: Node<R>,
}

impl<R> Clone for LeaseService<R> {
    fn clone(&self) -> Self {
        Self {
            node: self.node.clone(),
        }
    }
}

/// A random lease id: positive, as clients expect.
fn random_id() -> i64 {
    rand::random_range(1..=i64::MAX)
}

impl<R: Replication<Outcome>> LeaseService<R> {
    /// The service of this node.
    pub fn new(node: Node<R>) -> Self {
        Self { node }
    }
}

impl<R: Replication<Outcome>> Node<R> {
    /// Brings the lessor in line with the role.
    fn attend_lessor(&self) {
        let role = self.role();
        if role.role == Role::Primary {
            self.lessor().promote(role.epoch, self.view(), self.now());
        } else {
            self.lessor().demote();
        }
    }

    /// One look at the leases: those that ran out are ended by an entry each.
    pub(crate) async fn tick_leases(&self) {
        self.attend_lessor();
        let ticks_per_s = usize::try_from(1_000 / LEASE_TICK_MS).expect("a few ticks a second");
        let most = LEASE_EXPIRIES_PER_S / ticks_per_s;
        let expired = self.lessor().take_expired(self.view(), self.now(), most);
        let node = &self;
        futures::stream::iter(expired)
            .for_each_concurrent(LEASE_EXPIRIES_IN_FLIGHT, |expired| async move {
                let Expired {
                    id,
                    granted_index,
                    epoch,
                } = expired;
                let expire = command::expire_lease(id, granted_index, epoch);
                if let Err(error) = node.write(expire).await {
                    tracing::debug!(lease = id, %error, "expiry refused; it is tried again");
                }
                node.lessor().gone.notify_waiters();
            })
            .await;
        for _ in 0..SWEEPS_PER_TICK {
            if self.role().role != Role::Primary || !self.view().is_sweeping() {
                break;
            }
            if let Err(error) = self.write(command::sweep()).await {
                tracing::debug!(%error, "the compaction goes on later");
                break;
            }
        }
    }

    /// Lets leases run out, and a compaction's deletions go on, until the future is dropped.
    pub async fn run_leases(self) {
        let mut role = self.replication().role();
        let mut ticks = tokio::time::interval(Duration::from_millis(LEASE_TICK_MS));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.tick_leases().await,
                changed = role.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.attend_lessor();
                }
            }
        }
    }

    /// Renews a lease; returns its time to live in seconds, 0 for one that is gone.
    async fn renew(&self, id: i64) -> Result<i64, EtcdError> {
        let limit = Duration::from_millis(LEASE_REVOKE_WAIT_MS);
        tokio::time::timeout(limit, self.renew_when_settled(id))
            .await
            .unwrap_or(Err(EtcdError::Timeout))
    }

    async fn renew_when_settled(&self, id: i64) -> Result<i64, EtcdError> {
        loop {
            self.check_primary()?;
            self.barrier().await?;
            self.attend_lessor();
            let gone = self.lessor().gone.notified();
            tokio::pin!(gone);
            // Registered before the look, so that nothing is missed in between.
            gone.as_mut().enable();
            match self.lessor().renew(id, self.view(), self.now()) {
                Renewal::Renewed(ttl_s) => return Ok(ttl_s),
                Renewal::Unknown => return Ok(0),
                Renewal::NotPrimary => return Err(EtcdError::LeaderChanged),
                Renewal::RanOut => gone.await,
            }
        }
    }

    pub(super) async fn keep_alive(
        &self,
        request: &LeaseKeepAliveRequest,
    ) -> Result<LeaseKeepAliveResponse, EtcdError> {
        // Taken before the renewal, so that a revocation is never older than a renewal's revision.
        let header = Some(self.current_header());
        let ttl = self.renew(request.id).await?;
        Ok(LeaseKeepAliveResponse {
            header,
            id: request.id,
            ttl,
        })
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<LeaseKeepAliveResponse, Status>> + Send>>;

#[tonic::async_trait]
impl<R: Replication<Outcome>> Lease for LeaseService<R> {
    type LeaseKeepAliveStream = Answers;

    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        self.node.check_leader(request.metadata())?;
        self.node.check_primary()?;
        self.node.check_quota(QUOTA_LEASE_OVERHEAD_BYTES)?;
        let LeaseGrantRequest { ttl, id } = request.into_inner();
        if ttl > MAX_LEASE_TTL_S {
            return Err(EtcdError::LeaseTtlTooLarge.into());
        }
        let id = if id == 0 { random_id() } else { id };
        let command = command::grant_lease(id, ttl.max(MIN_LEASE_TTL_S));
        match self.node.write(command).await? {
            Outcome::GrantLease(response) => {
                let mut response = response?;
                self.node.complete(&mut response.header);
                Ok(Response::new(response))
            }
            other => Err(mismatched(&other)),
        }
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        self.node.check_leader(request.metadata())?;
        self.node.check_primary()?;
        let command = command::revoke_lease(request.into_inner().id);
        match self.node.write(command).await? {
            Outcome::RevokeLease(response) => {
                let mut response = response?;
                self.node.complete(&mut response.header);
                self.node.lessor().gone.notify_waiters();
                Ok(Response::new(response))
            }
            other => Err(mismatched(&other)),
        }
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Answers>, Status> {
        self.node.check_leader(request.metadata())?;
        self.node.check_primary()?;
        let (sender, receiver) = mpsc::channel(KEEP_ALIVE_QUEUE);
        tokio::spawn(keep_alives(self.node.clone(), request.into_inner(), sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        self.node.check_leader(request.metadata())?;
        self.node.check_primary()?;
        self.node.barrier().await?;
        self.node.attend_lessor();
        let LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let view = self.node.view();
        let Some(lease) = view.lease(id) else {
            let header = Some(self.node.current_header());
            let response = LeaseTimeToLiveResponse {
                header,
                id,
                ttl: -1,
                ..LeaseTimeToLiveResponse::default()
            };
            return Ok(Response::new(response));
        };
        let remaining = self.node.lessor().remaining(id, view, self.node.now());
        let remaining = remaining.ok_or(EtcdError::LeaderChanged)?;
        let ttl = i64::try_from(remaining.as_millis() / 1_000).unwrap_or(i64::MAX);
        let keys = if keys {
            lease.keys.into_iter().collect()
        } else {
            Vec::new()
        };
        let header = Some(self.node.current_header());
        let response = LeaseTimeToLiveResponse {
            header,
            id,
            ttl,
            granted_ttl: lease.ttl_s,
            keys,
        };
        Ok(Response::new(response))
    }

    async fn lease_leases(
        &self,
        request: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        self.node.check_leader(request.metadata())?;
        self.node.check_primary()?;
        self.node.barrier().await?;
        self.node.attend_lessor();
        let leases = self
            .node
            .lessor()
            .by_deadline(self.node.view(), self.node.now());
        let leases = leases.ok_or(EtcdError::LeaderChanged)?;
        let leases = leases.into_iter().map(|id| LeaseStatus { id }).collect();
        let header = Some(self.node.current_header());
        Ok(Response::new(LeaseLeasesResponse { header, leases }))
    }
}

/// Answers keep-alives in their order until the client ends the stream or one fails.
async fn keep_alives<R: Replication<Outcome>>(
    node: Node<R>,
    mut requests: Streaming<LeaseKeepAliveRequest>,
    answers: mpsc::Sender<Result<LeaseKeepAliveResponse, Status>>,
) {
    loop {
        let request = tokio::select! {
            request = requests.next() => request,
            () = answers.closed() => return,
        };
        // An error of the stream is the client's going away: there is nobody to tell.
        let Some(Ok(request)) = request else { return };
        let answer = node.keep_alive(&request).await.map_err(Status::from);
        let failed = answer.is_err();
        if answers.send(answer).await.is_err() || failed {
            return;
        }
    }
}
