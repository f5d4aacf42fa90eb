//! Work beside the actor: objects, pods, certificates, read slices, status. At most one piece of
//! work runs at a time, and the read-write slice has a lane of its own.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use standby_api::StandbyClusterStatus;
use standby_core::Micros;
use standby_operator_core::observe::{HostFacts, NodeFacts, Observation};
use standby_operator_core::plan::{Phase, Plan, Planned};
use standby_operator_core::status::{differs, status};
use standby_operator_core::validate::ValidatedCluster;
use tokio::sync::mpsc;
use tracing::{Instrument, Span, warn};

use super::Actor;
use super::retry::Retry;
use super::written_slice::WrittenSlice;
use crate::api::{ApiError, Lane};
use crate::context::{Context, Key};
use crate::limits::{
    APPLY_EVERY_MS, APPLY_PACE_MS, CACHES_BEHIND_MS, HOT_RETRY_MAX_MS, RETRY_MAX_MS,
    STATUS_EVERY_MS,
};
use crate::reconcile::announce::{self, Announced, Slices};
use crate::reconcile::dereference::{Volumes, class_of};
use crate::reconcile::{self, StepError, apply};
use crate::tls::OperatorTls;

/// What a task beside the actor has to say.
pub(super) enum Done {
    /// The read-write slice was written, or not.
    Announced(Announced, Result<Option<String>, ApiError>),
    /// The rest was done.
    Work(Box<WorkDone>),
}

/// What came of a piece of work.
#[derive(Default)]
pub(super) struct WorkDone {
    tls: Option<Arc<OperatorTls>>,
    objects: Option<Arc<ValidatedCluster>>,
    slices: Option<Vec<EndpointSlice>>,
    status: Option<StandbyClusterStatus>,
    budget: Option<Budget>,
    volumes: Volumes,
    actions: Vec<Planned>,
    failed: Option<&'static str>,
}

/// How many pods a drain must leave; none: it has no say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Budget(Option<usize>);

/// A piece of work.
struct Work {
    cluster: Arc<ValidatedCluster>,
    actions: Vec<Planned>,
    objects: Option<Vec<String>>,
    slices: Option<Slices>,
    budget: Option<Budget>,
    volumes: Vec<String>,
    classes: Vec<String>,
    status: Option<StandbyClusterStatus>,
}

/// The lanes beside one actor.
pub(super) struct Background {
    context: Arc<Context>,
    key: Key,
    send: mpsc::Sender<Done>,
    busy: bool,
    retry: Retry,
    announcing: bool,
    announce_retry: Retry,
    /// The read-write slice as this operator wrote it last.
    slice: WrittenSlice,
    applied: Option<(Arc<ValidatedCluster>, Micros)>,
    slices: Option<Vec<EndpointSlice>>,
    /// How many pods a drain must leave, as it was written last.
    budget: Option<Budget>,
    status: Option<(StandbyClusterStatus, Micros)>,
    /// What was carried out last. The caches show it a little later, and plans repeat it until then.
    acted: Option<(Vec<Planned>, Micros)>,
}

impl Background {
    pub(super) fn new(context: Arc<Context>, key: Key, send: mpsc::Sender<Done>) -> Self {
        Self {
            context,
            key,
            send,
            busy: false,
            retry: Retry::up_to(RETRY_MAX_MS),
            announcing: false,
            announce_retry: Retry::up_to(HOT_RETRY_MAX_MS),
            slice: WrittenSlice::default(),
            applied: None,
            slices: None,
            budget: None,
            status: None,
            acted: None,
        }
    }

    /// Writes the read-write slice, unless it is being written, or has just failed.
    pub(super) fn announce(
        &mut self,
        cluster: Arc<ValidatedCluster>,
        announced: Announced,
        lane: Lane,
    ) {
        if self.announcing || !self.announce_retry.may(self.context.clock.now()) {
            return;
        }
        self.announcing = true;
        let (context, send) = (self.context.clone(), self.send.clone());
        let version = self.slice.version.clone();
        let write = async move {
            let result = announce::read_write(&context, &cluster, &announced, version, lane).await;
            // Fails only when the actor has ended.
            let _ = send.send(Done::Announced(announced, result)).await;
        };
        tokio::spawn(write.instrument(Span::current()));
    }

    /// The read-write slice was written, or not.
    pub(super) fn announced(&mut self, result: &Result<Option<String>, ApiError>) {
        self.announcing = false;
        self.announce_retry
            .note(result.is_ok(), self.context.clock.now());
        match result {
            Ok(version) => self.slice.written(version.clone()),
            // Somebody else wrote it, or took it away.
            Err(error) if error.is_answer() => self.slice.written(None),
            // Whether it was written is not known; if it was, the next write is refused.
            Err(_) => {}
        }
    }

    /// Whether the read-write slice is not what this operator wrote last, by the version that `stands`
    /// there: a write of an operator that leads no more may arrive late.
    pub(super) fn is_overwritten(&mut self, stands: Option<String>) -> bool {
        // What stands there may be what is being written.
        !self.announcing && self.slice.is_overwritten(stands)
    }

    /// Takes in what was done, and returns an identity if one was made or read.
    pub(super) fn finished(
        &mut self,
        done: Box<WorkDone>,
        volumes: &mut Volumes,
    ) -> Option<Arc<OperatorTls>> {
        let now = self.context.clock.now();
        self.busy = false;
        self.retry.note(done.failed.is_none(), now);
        volumes.hosts.extend(done.volumes.hosts);
        volumes.expandable.extend(done.volumes.expandable);
        if !done.actions.is_empty() {
            self.acted = Some((done.actions, now));
        }
        if let Some(cluster) = done.objects {
            self.applied = Some((cluster, now));
        }
        if let Some(slices) = done.slices {
            self.slices = Some(slices);
        }
        if let Some(budget) = done.budget {
            self.budget = Some(budget);
        }
        if let Some(status) = done.status {
            self.status = Some((status, now));
        }
        done.tls
    }

    /// When failed work may be tried again, from `now`; none when none has failed.
    pub(super) fn retry_in(&self, now: Micros) -> Option<Micros> {
        let work = self.retry.wait(now).filter(|_| !self.busy);
        let announce = self.announce_retry.wait(now).filter(|_| !self.announcing);
        let again = self.acted.as_ref().and_then(|(_, at)| {
            let shown = at.plus(Micros::from_millis(CACHES_BEHIND_MS));
            (shown >= now).then(|| shown.since(now).plus(Micros::from_millis(1)))
        });
        work.into_iter().chain(announce).chain(again).min()
    }

    /// Whether exactly this was just carried out, so that the caches may not show it yet.
    fn just_did(&self, planned: &Planned) -> bool {
        let now = self.context.clock.now();
        self.acted.as_ref().is_some_and(|(acted, at)| {
            now.since(*at) <= Micros::from_millis(CACHES_BEHIND_MS)
                && acted.iter().any(|done| done.action == planned.action)
        })
    }

    /// How often what is not watched is applied anew.
    pub(super) fn apply_every(&self) -> Micros {
        let clusters = u64::try_from(self.context.stores.count()).unwrap_or(u64::MAX);
        let usual = APPLY_EVERY_MS.max(clusters.saturating_mul(APPLY_PACE_MS));
        let mut name = DefaultHasher::new();
        self.key.hash(&mut name);
        // From three quarters to five quarters.
        let share = 750 + name.finish() % 500;
        Micros::from_millis(usual / 1_000 * share)
    }

    fn due(&self, since: Option<Micros>, every_ms: u64) -> bool {
        let now = self.context.clock.now();
        since.is_none_or(|at| now.since(at) >= Micros::from_millis(every_ms))
    }

    fn start(&mut self, work: Work) {
        let nothing = work.actions.is_empty()
            && work.objects.is_none()
            && work.slices.is_none()
            && work.budget.is_none()
            && work.volumes.is_empty()
            && work.classes.is_empty()
            && work.status.is_none();
        if self.busy || nothing || !self.retry.may(self.context.clock.now()) {
            return;
        }
        self.busy = true;
        let (context, key, send) = (self.context.clone(), self.key.clone(), self.send.clone());
        let run = async move {
            let done = run(&context, &key, work).await;
            // Fails only when the actor has ended.
            let _ = send.send(Done::Work(Box::new(done))).await;
        };
        tokio::spawn(run.instrument(Span::current()));
    }
}

/// Does a piece of work, step by step: a step that fails leaves the later ones to the next turn, but
/// the status is always written.
async fn run(context: &Context, key: &Key, work: Work) -> WorkDone {
    let mut done = WorkDone::default();
    if let Err((step, error)) = steps(context, &work, &mut done).await {
        context
            .metrics
            .reconcile_errors
            .with_label_values(&[step])
            .inc();
        warn!(step, %error, "a step failed; trying again");
        done.failed = Some(step);
    }
    if let Some(status) = work.status {
        match reconcile::status::write(context, key, &status).await {
            Ok(()) => {
                context.metrics.saw_status(key, &status);
                done.status = Some(status);
            }
            Err(error) => {
                context
                    .metrics
                    .reconcile_errors
                    .with_label_values(&["status"])
                    .inc();
                warn!(step = "status", %error, "a step failed; trying again");
                done.failed = Some("status");
            }
        }
    }
    done
}

async fn steps(
    context: &Context,
    work: &Work,
    done: &mut WorkDone,
) -> Result<(), (&'static str, StepError)> {
    let at = |step: &'static str| move |error: StepError| (step, error);
    if let Some(pods) = &work.objects {
        let tls = apply::objects(context, &work.cluster, pods)
            .await
            .map_err(at("objects"))?;
        done.tls = Some(tls);
        done.objects = Some(work.cluster.clone());
    }
    // Before anything is taken from the cluster: a drain must not take a second.
    if let Some(budget) = work.budget {
        apply::budget(context, &work.cluster, budget.0)
            .await
            .map_err(|error| ("budget", error.into()))?;
        done.budget = Some(budget);
    }
    apply::actions(context, &work.cluster, &work.actions)
        .await
        .map_err(at("actions"))?;
    done.actions.clone_from(&work.actions);
    if let Some(slices) = &work.slices {
        announce::read(context, &slices.changed)
            .await
            .map_err(|error| ("slices", error.into()))?;
        done.slices = Some(slices.all.clone());
    }
    for volume in &work.volumes {
        let host = apply::volume_host(context, volume).await;
        let host = host.map_err(|error| ("volumes", error.into()))?;
        done.volumes.hosts.insert(volume.clone(), host);
    }
    for class in &work.classes {
        let grows = apply::expandable(context, class).await;
        let grows = grows.map_err(|error| ("classes", error.into()))?;
        done.volumes.expandable.insert(class.clone(), grows);
    }
    Ok(())
}

impl Actor {
    /// Hands everything that is not hot to the task beside.
    pub(super) fn beside(
        &mut self,
        cluster: &Arc<ValidatedCluster>,
        observation: &Observation,
        plan: &Plan,
    ) {
        let moment = self.context.clock.moment();
        let mut now = status(
            observation,
            plan,
            &self.memory,
            self.status.as_ref(),
            moment,
        );
        if let Some(complaint) = &self.complaint {
            complain(&mut now, complaint);
        }
        self.status = Some(now.clone());
        let background = &self.background;
        let write = match &background.status {
            None => true,
            Some((written, at)) => {
                differs(written, &now)
                    || (*written != now && background.due(Some(*at), STATUS_EVERY_MS))
            }
        };
        let deleting = plan.phase == Phase::Deleting;
        // Of a specification that is wrong nothing is built.
        let paused = plan.withheld.is_some() || self.partial;
        let changed = background.applied.as_ref().is_none_or(|(applied, at)| {
            applied != cluster || moment.now.since(*at) >= background.apply_every()
        });
        let written = background.slices.as_deref().filter(|_| !changed);
        let slices = Slices::to_write(announce::read_slices(cluster, observation), written);
        let budget = Budget(plan.must_stay);
        let slices_changed = !deleting && !paused && !slices.changed.is_empty();
        let work = Work {
            cluster: cluster.clone(),
            actions: plan
                .actions
                .iter()
                .filter(|p| !p.action.is_hot() && !background.just_did(p))
                .filter(|_| deleting || !self.partial)
                .cloned()
                .collect(),
            objects: (changed && !deleting && !paused).then(|| observation.cluster.wanted.clone()),
            slices: slices_changed.then_some(slices),
            budget: (!deleting && !paused && (changed || background.budget != Some(budget)))
                .then_some(budget),
            volumes: self.unknown_volumes(observation),
            classes: self.unknown_classes(observation, changed),
            status: write.then_some(now),
        };
        self.background.start(work);
    }

    /// Volumes of which it matters now where they can be used: their host is away or about to be
    /// emptied, or their pod finds none.
    fn unknown_volumes(&self, observation: &Observation) -> Vec<String> {
        let matters = |facts: &NodeFacts, _| {
            let pod = facts.pod.as_ref();
            let away = matches!(facts.host, HostFacts::NotReady(_) | HostFacts::Gone(_));
            away || pod.is_some_and(|pod| pod.cordoned || pod.host.is_none())
        };
        self.claims_that(observation, matters)
            .iter()
            .filter_map(|claim| claim.spec.as_ref()?.volume_name.clone())
            .filter(|volume| !self.volumes.hosts.contains_key(volume))
            .collect()
    }

    /// Storage classes of claims that are to grow. One that could not grow is looked at `again` now and
    /// then: somebody may have changed it.
    fn unknown_classes(&self, observation: &Observation, again: bool) -> Vec<String> {
        let small = |facts: &NodeFacts, wanted| {
            let claim = facts.claim.as_ref();
            claim.is_some_and(|claim| claim.requested_bytes < wanted)
        };
        let classes: BTreeSet<String> = self
            .claims_that(observation, small)
            .iter()
            .filter_map(|claim| class_of(claim).map(ToOwned::to_owned))
            .filter(|class| match self.volumes.expandable.get(class) {
                None => true,
                Some(expandable) => again && !expandable,
            })
            .collect();
        classes.into_iter().collect()
    }

    fn claims_that(
        &self,
        observation: &Observation,
        matters: fn(&NodeFacts, u64) -> bool,
    ) -> Vec<Arc<PersistentVolumeClaim>> {
        let wanted = observation.cluster.upkeep.storage_bytes;
        let mut claims = self.context.stores.claims(&self.key);
        claims.retain(|claim| {
            let name = claim.metadata.name.as_ref();
            name.and_then(|name| observation.node(name))
                .is_some_and(|facts| matters(facts, wanted))
        });
        claims
    }
}

/// A specification that cannot be carried out stalls, whatever the nodes do.
fn complain(status: &mut StandbyClusterStatus, complaint: &str) {
    for condition in &mut status.conditions {
        if condition.type_ == standby_api::names::CONDITION_STALLED {
            condition.status = "True".into();
            condition.reason = "Invalid".into();
            complaint.clone_into(&mut condition.message);
        }
    }
}
