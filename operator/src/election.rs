//! Leader election on a Lease: the shell around [`standby_operator_core::lease`]. Every write carries
//! the version it is based on; every wait is on our own monotonic clock.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use standby_core::Micros;
use standby_operator_core::lease::{Election, LeaseTimes, Verdict, evaluate};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api::{ApiError, ELECTION, within};
use crate::clock::Clock;
use crate::http::Readiness;
use crate::limits::ms;

/// What readiness says of the election.
pub const TOPIC: &str = "election";

/// What this replica stands for election with.
pub struct Candidate {
    /// The leases of the operator's namespace.
    pub leases: Api<Lease>,
    /// The lease's name.
    pub name: String,
    /// Our name.
    pub identity: String,
    /// The times.
    pub times: LeaseTimes,
    /// The clock.
    pub clock: Clock,
    /// Told why this replica can not stand, or leads no more.
    pub readiness: Arc<Readiness>,
}

/// How an election ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// Leadership was lost: the process must end.
    Lost,
    /// We were told to stop, and let go of the lease if we held it.
    Stopped,
}

impl Candidate {
    /// Takes part until leadership is lost or `stop`. `leading` becomes true when we lead.
    pub async fn run(self, leading: watch::Sender<bool>, stop: CancellationToken) -> Ended {
        let mut election = Election::default();
        let mut lease: Option<Lease> = None;
        loop {
            let turn = self.turn(&mut election, &mut lease, &leading);
            let Some(wait) = turn.await else {
                let why = "leadership was lost, and this process ends: the lease was taken, or not renewed";
                self.readiness.wait(TOPIC, why);
                return Ended::Lost;
            };
            tokio::select! {
                () = tokio::time::sleep(ms(wait.as_millis())) => {}
                () = stop.cancelled() => {
                    if election.renewed.is_some() {
                        self.release(lease).await;
                    }
                    return Ended::Stopped;
                }
            }
        }
    }

    /// One look and, where due, one write, within what is left of our own time if we lead. None:
    /// leadership is lost.
    async fn turn(
        &self,
        election: &mut Election,
        lease: &mut Option<Lease>,
        leading: &watch::Sender<bool>,
    ) -> Option<Micros> {
        let Some(left) = election.left(&self.times, self.clock.now()) else {
            return self.look_and_write(election, lease, leading).await;
        };
        // An answer that comes later than this would come too late: others may lead by then.
        let turn = self.look_and_write(election, lease, leading);
        let wait = tokio::time::timeout(ms(left.as_millis()), turn)
            .await
            .ok()??;
        let left = election.left(&self.times, self.clock.now());
        Some(left.map_or(wait, |left| wait.min(left)))
    }

    async fn look_and_write(
        &self,
        election: &mut Election,
        lease: &mut Option<Lease>,
        leading: &watch::Sender<bool>,
    ) -> Option<Micros> {
        if election.renewed.is_none() {
            if let Err(error) = self.look(election, lease).await {
                warn!(%error, "could not read the election's lease");
                self.readiness.wait(TOPIC, error.to_string());
                return Some(self.times.retry_every);
            }
            self.readiness.ready(TOPIC);
        }
        match evaluate(election, &self.identity, &self.times, self.clock.now()) {
            Verdict::Lost => return None,
            Verdict::Lead { wait } | Verdict::Follow { wait } => return Some(wait),
            Verdict::Acquire | Verdict::Renew => {}
        }
        let first = election.renewed.is_none();
        match self.write(election, lease).await {
            Ok(()) => {
                self.readiness.ready(TOPIC);
                if first {
                    info!(identity = %self.identity, "leading");
                    leading.send_replace(true);
                }
            }
            Err(error) => {
                warn!(%error, "could not write the election's lease");
                if !error.is_conflict() {
                    self.readiness.wait(TOPIC, error.to_string());
                }
                // Somebody else, or our own write whose answer was lost.
                if error.is_conflict()
                    && let Err(error) = self.look(election, lease).await
                {
                    warn!(%error, "could not read the election's lease");
                }
            }
        }
        match evaluate(election, &self.identity, &self.times, self.clock.now()) {
            Verdict::Lost => None,
            Verdict::Lead { wait } => Some(wait),
            _ => Some(self.times.retry_every),
        }
    }

    async fn look(
        &self,
        election: &mut Election,
        lease: &mut Option<Lease>,
    ) -> Result<(), ApiError> {
        let found = within(ELECTION, "read the lease", self.leases.get_opt(&self.name)).await?;
        if let Some(found) = &found {
            let holder = found
                .spec
                .as_ref()
                .and_then(|s| s.holder_identity.as_deref())
                .unwrap_or("");
            let version = found.metadata.resource_version.as_deref().unwrap_or("");
            election.saw(holder, version, self.clock.now());
        }
        *lease = found;
        Ok(())
    }

    /// Writes the lease with our name, against the version last seen.
    async fn write(
        &self,
        election: &mut Election,
        lease: &mut Option<Lease>,
    ) -> Result<(), ApiError> {
        let wanted = self.lease(lease.as_ref(), &self.identity);
        let params = PostParams::default();
        let sent = self.clock.now();
        let written = if lease.is_some() {
            let call = self.leases.replace(&self.name, &params, &wanted);
            within(ELECTION, "write the lease", call).await?
        } else {
            let call = self.leases.create(&params, &wanted);
            within(ELECTION, "make the lease", call).await?
        };
        let version = written
            .metadata
            .resource_version
            .clone()
            .unwrap_or_default();
        election.wrote(&self.identity, &version, sent, self.clock.now());
        *lease = Some(written);
        Ok(())
    }

    /// Lets go, so that the next leader need not wait. Best effort: nobody depends on it.
    async fn release(&self, lease: Option<Lease>) {
        let Some(lease) = lease else { return };
        let (empty, params) = (self.lease(Some(&lease), ""), PostParams::default());
        let call = self.leases.replace(&self.name, &params, &empty);
        match within(ELECTION, "release the lease", call).await {
            Ok(_) => info!("released the leadership"),
            Err(error) => warn!(%error, "could not release the leadership"),
        }
    }

    fn lease(&self, current: Option<&Lease>, holder: &str) -> Lease {
        let was = current.and_then(|lease| lease.spec.as_ref());
        let before = was
            .and_then(|spec| spec.holder_identity.as_deref())
            .unwrap_or("");
        let transitions = was.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        let now = MicroTime(Timestamp::now());
        let acquired = was.and_then(|spec| spec.acquire_time.clone());
        let same = before == holder;
        let seconds = self.times.duration.as_millis().div_ceil(1_000).max(1);
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                resource_version: current.and_then(|l| l.metadata.resource_version.clone()),
                ..current.map(|l| l.metadata.clone()).unwrap_or_default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: i32::try_from(seconds).ok(),
                acquire_time: if same { acquired } else { Some(now.clone()) },
                renew_time: Some(now),
                lease_transitions: Some(transitions + i32::from(!same)),
                ..LeaseSpec::default()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Server, failure, serve, server};
    use http::Method;
    use serde_json::{Value, json};

    fn candidate() -> (Candidate, Server) {
        let (client, server) = server("operators");
        let candidate = Candidate {
            leases: Api::namespaced(client, "operators"),
            name: "standby-operator".into(),
            identity: "a".into(),
            times: LeaseTimes::default(),
            clock: Clock::start(),
            readiness: Arc::new(Readiness::default()),
        };
        (candidate, server)
    }

    fn stored(holder: &str, version: &str) -> Value {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "standby-operator", "namespace": "operators",
                "resourceVersion": version},
            "spec": {"holderIdentity": holder, "leaseTransitions": 4}
        })
    }

    #[tokio::test]
    async fn a_released_lease_is_taken_against_the_version_that_was_seen() {
        let (candidate, mut server) = candidate();
        let (leading, is_leading) = watch::channel(false);
        let stop = CancellationToken::new();
        let run = tokio::spawn(candidate.run(leading, stop.clone()));
        let (method, _) = serve(&mut server, 200, stored("", "7")).await;
        assert_eq!(method, Method::GET);
        let (method, written) = serve(&mut server, 200, stored("a", "8")).await;
        assert_eq!(method, Method::PUT);
        assert_eq!(written["metadata"]["resourceVersion"], "7");
        assert_eq!(written["spec"]["holderIdentity"], "a");
        assert_eq!(written["spec"]["leaseTransitions"], 5);
        is_leading
            .clone()
            .wait_for(|leads| *leads)
            .await
            .expect("it leads");
        stop.cancel();
        let (_, released) = serve(&mut server, 200, stored("", "9")).await;
        assert_eq!(released["spec"]["holderIdentity"], "");
        assert_eq!(released["metadata"]["resourceVersion"], "8");
        assert_eq!(run.await.expect("it ends"), Ended::Stopped);
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_gets_no_answer_ends_before_anybody_else_may_lead_and_says_why() {
        let (candidate, mut server) = candidate();
        let (times, clock) = (candidate.times, candidate.clock);
        let readiness = candidate.readiness.clone();
        let (leading, _is_leading) = watch::channel(false);
        let run = tokio::spawn(candidate.run(leading, CancellationToken::new()));
        serve(&mut server, 200, stored("", "7")).await;
        serve(&mut server, 200, stored("a", "8")).await;
        let took = clock.now();
        serve(&mut server, 500, failure(500, "InternalError")).await;
        let _unanswered = server.next_request().await.expect("another try");
        let why = readiness.missing().join("\n");
        assert!(why.starts_with("election: write the lease: "), "{why}");
        assert_eq!(run.await.expect("it ends"), Ended::Lost);
        let after = clock.now().since(took);
        let late = Micros::from_millis(10);
        assert!(
            after >= times.renew_deadline && after < times.renew_deadline.plus(late),
            "{after:?}"
        );
        let why = readiness.missing().join("\n");
        assert!(why.starts_with("election: leadership was lost"), "{why}");
    }

    #[tokio::test]
    async fn a_lease_that_somebody_else_took_meanwhile_ends_the_leader() {
        let (mut candidate, mut server) = candidate();
        candidate.times.renew_every = Micros::from_millis(1);
        let (leading, _is_leading) = watch::channel(false);
        let run = tokio::spawn(candidate.run(leading, CancellationToken::new()));
        serve(&mut server, 200, stored("", "7")).await;
        serve(&mut server, 200, stored("a", "8")).await;
        serve(&mut server, 409, failure(409, "Conflict")).await;
        serve(&mut server, 200, stored("b", "9")).await;
        assert_eq!(run.await.expect("it ends"), Ended::Lost);
    }
}
