//! One long-lived task per cluster. It owns everything known about its cluster and is woken by
//! reports of nodes, by changes in Kubernetes and by timers. What it does at each turn is: observe,
//! plan, carry out the hot part, hand the rest to a task beside it.

mod background;
mod drive;
mod notices;
mod orders;
mod rest;
mod retry;
mod written_slice;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use kube::ResourceExt;
use standby_api::{StandbyCluster, StandbyClusterSpec, StandbyClusterStatus};
use standby_core::{Epoch, Micros};
use standby_operator_core::memory::Memory;
use standby_operator_core::observe::Recorded;
use standby_operator_core::plan::Plan;
use standby_operator_core::validate::{ValidatedCluster, for_failover, validate};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, info_span, warn};

use crate::api::{FIRST, HOT};
use crate::context::{Context, Key};
use crate::limits::{
    AHEAD_LOOK_MS, DONE_QUEUED_MAX, HOT_RETRY_MAX_MS, MISSING_VIEW_LOOK_MS, RETRY_MAX_MS,
    RETRY_MIN_MS,
};
use crate::reconcile::announce::Announced;
use crate::reconcile::dereference::{self, FirstSeen, Room, Volumes};
use crate::reconcile::record::Held;
use crate::reconcile::{StepError, pki, record, release};
use crate::stores::Unread;
use crate::stream::NodeStream;
use crate::tls::OperatorTls;

use background::{Background, Done};
use rest::Rest;
use retry::Retry;

/// The task of one cluster.
pub struct Actor {
    context: Arc<Context>,
    key: Key,
    wake: Arc<Notify>,
    tls: watch::Sender<Option<Arc<OperatorTls>>>,
    streams: BTreeMap<String, NodeStream>,
    seen: FirstSeen,
    volumes: Volumes,
    room: Room,
    memory: Memory,
    recorded: Recorded,
    held: Held,
    looked: Option<Micros>,
    cluster: Option<Arc<ValidatedCluster>>,
    /// The specification is wrong and no earlier one is known: failover works, nothing is built.
    partial: bool,
    /// What is wrong with the specification, as people should read it.
    complaint: Option<String>,
    uid: String,
    announced: Option<(Announced, Micros)>,
    slices_listed: u64,
    background: Background,
    done: mpsc::Receiver<Done>,
    status: Option<StandbyClusterStatus>,
    told: HashSet<String>,
    measured: Option<Epoch>,
    retry: Retry,
    rest: Rest,
}

/// What follows a turn.
enum Next {
    /// Another turn after so long, or when woken.
    Wait(Micros),
    /// The cluster is gone.
    End,
}

impl Actor {
    /// Makes the task's state.
    #[must_use]
    pub fn new(context: Arc<Context>, key: Key) -> Self {
        let wake = context.wakers.of(&key);
        let (send, done) = mpsc::channel(DONE_QUEUED_MAX);
        let (tls, _) = watch::channel(None);
        Self {
            background: Background::new(context.clone(), key.clone(), send),
            context,
            key,
            wake,
            tls,
            streams: BTreeMap::new(),
            seen: FirstSeen::default(),
            volumes: Volumes::default(),
            room: Room::default(),
            memory: Memory::default(),
            recorded: Recorded::Unknown,
            held: Held::default(),
            looked: None,
            cluster: None,
            partial: false,
            complaint: None,
            uid: String::new(),
            announced: None,
            slices_listed: 0,
            done,
            status: None,
            told: HashSet::new(),
            measured: None,
            retry: Retry::up_to(HOT_RETRY_MAX_MS),
            rest: Rest::default(),
        }
    }

    /// Runs until the cluster is gone or `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let span = info_span!(
                "cluster",
                namespace = %self.key.namespace,
                cluster = %self.key.name,
                epoch = self.epoch().0
            );
            let wait = match self.turn().instrument(span).await {
                Next::Wait(wait) => wait,
                Next::End => break,
            };
            tokio::select! {
                () = self.wake.notified() => {}
                Some(done) = self.done.recv() => self.take_in(done),
                () = self.rest.over(&self.streams, self.context.clock, wait) => {}
                () = stop.cancelled() => break,
            }
            while let Ok(done) = self.done.try_recv() {
                self.take_in(done);
            }
        }
        self.context.metrics.forget(&self.key);
    }

    fn epoch(&self) -> Epoch {
        match &self.recorded {
            Recorded::View(view) => view.epoch,
            Recorded::Unknown | Recorded::Absent => Epoch(0),
        }
    }

    fn take_in(&mut self, done: Done) {
        match done {
            Done::Announced(announced, result) => {
                self.background.announced(&result);
                match result {
                    Ok(_) => {
                        let now = self.context.clock.now();
                        if let Some(target) = &announced.primary {
                            self.memory.announced(&target.pod, now);
                        }
                        self.announced = Some((announced, now));
                    }
                    Err(error) => {
                        // Another operator may have moved on: nothing is written over it before the
                        // recorded view has been looked at again.
                        if error.is_conflict() {
                            self.recorded = Recorded::Unknown;
                        }
                        self.announced = None;
                        self.failed("announce", &error);
                    }
                }
            }
            Done::Work(work) => {
                if let Some(tls) = self.background.finished(work, &mut self.volumes) {
                    self.identify(tls);
                }
            }
        }
    }

    fn identify(&self, tls: Arc<OperatorTls>) {
        self.tls.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&tls);
            *known = Some(tls);
            changed
        });
    }

    fn failed(&self, step: &'static str, error: &dyn std::fmt::Display) {
        self.context
            .metrics
            .reconcile_errors
            .with_label_values(&[step])
            .inc();
        warn!(step, %error, "a step failed; trying again");
    }

    /// One turn.
    async fn turn(&mut self) -> Next {
        self.rest = Rest::default();
        let object = match self.context.stores.cluster(&self.key) {
            None => return self.end().await,
            Some(Ok(object)) => {
                self.take_specification(&object);
                object
            }
            Some(Err(unread)) => self.take_unread(&unread),
        };
        let Some(cluster) = self.cluster.clone() else {
            self.complain();
            return Next::Wait(Micros::from_millis(RETRY_MAX_MS));
        };
        if let Err(error) = self.prepare().await {
            self.failed("dereference", &error);
            return Next::Wait(self.back_off());
        }
        let (observation, plan, failed) = self.drive(&cluster, &object).await;
        self.measure();
        self.tell_all(&plan);
        self.beside(&cluster, &observation, &plan);
        if failed {
            return Next::Wait(self.back_off());
        }
        self.retry.succeeded();
        self.rest = Rest::after(&observation);
        Next::Wait(self.until_next(&plan))
    }

    /// The pause after a failed turn.
    fn back_off(&mut self) -> Micros {
        self.retry.failed(self.context.clock.now())
    }

    /// The resource is gone: lets go of what is left of it.
    async fn end(&self) -> Next {
        let orphan = release::is_orphan(&self.context, &self.key).await;
        let released = match orphan {
            Ok(true) => release::release_view(&self.context, &self.key).await,
            Ok(false) => return Next::Wait(Micros::from_millis(RETRY_MIN_MS)),
            Err(error) => Err(error),
        };
        match released {
            Ok(()) => {
                info!("the cluster is gone");
                Next::End
            }
            Err(error) => {
                self.failed("release", &error);
                Next::Wait(Micros::from_millis(RETRY_MAX_MS))
            }
        }
    }

    /// Validate: what is wrong is said, and the last valid specification stays in force, so that a
    /// mistake in an edit never stops a failover.
    fn take_specification(&mut self, object: &StandbyCluster) {
        let uid = object.uid().unwrap_or_default();
        if self.uid != uid {
            // Another resource under an old name: nothing known of the old one holds.
            if !self.uid.is_empty() {
                self.memory = Memory::default();
                self.recorded = Recorded::Unknown;
                self.held = Held::default();
                self.cluster = None;
                self.announced = None;
                self.told.clear();
            }
            self.uid = uid;
            self.status.clone_from(&object.status);
            let failovers = self.status.iter().flat_map(|status| &status.failovers);
            let failovers: Vec<_> = failovers.cloned().collect();
            self.memory.recall(&failovers, self.context.clock.moment());
        }
        // An identity once taken does not change under the actor.
        let adopted = match &self.cluster {
            Some(known) => Some(known.id.clone()),
            None => dereference::adopted_id(&self.context, &self.key, &self.uid),
        };
        match validate(object, &self.context.settings, adopted) {
            Ok(cluster) => {
                self.complaint = None;
                if self.cluster.as_deref() != Some(&cluster) {
                    self.cluster = Some(Arc::new(cluster));
                }
                self.partial = false;
            }
            Err(error) => self.go_on_without(object, &error.to_string()),
        }
    }

    /// The specification is wrong. The last valid one stays in force; an operator that knows none takes
    /// what failover needs, with defaults for the rest, and builds nothing.
    fn go_on_without(&mut self, object: &StandbyCluster, error: &str) {
        if self.cluster.is_none() || self.partial {
            let adopted = dereference::adopted_id(&self.context, &self.key, &self.uid);
            let existing = dereference::highest_serial(&self.context, &self.key);
            let taken = for_failover(object, &self.context.settings, adopted, existing);
            self.partial = taken.is_some();
            self.cluster = taken.map(Arc::new);
        }
        self.complaint = Some(if self.partial {
            format!("{error}; until that is right the operator only watches and fails over")
        } else {
            format!("{error}; the last valid specification stays in force")
        });
    }

    /// A resource that cannot even be read, made by another version: its identity is all there is.
    fn take_unread(&mut self, unread: &Unread) -> StandbyCluster {
        let mut object = StandbyCluster::new(&self.key.name, StandbyClusterSpec::for_unread());
        object.metadata = unread.metadata.clone();
        if self.uid.is_empty() {
            self.uid = object.uid().unwrap_or_default();
        }
        self.go_on_without(&object, &unread.error);
        object
    }

    /// What must be known before anything can be planned: the live view, and an identity for the
    /// streams if there is one already.
    async fn prepare(&mut self) -> Result<(), StepError> {
        if self.tls.borrow().is_none()
            && let Some(tls) = pki::identity(&self.context, &self.key).await?
        {
            self.identify(Arc::new(tls));
        }
        let now = self.context.clock.now();
        let stale = match (&self.recorded, self.context.stores.view_epoch(&self.key)) {
            (Recorded::Unknown, _) | (Recorded::Absent, Some(_)) => true,
            // Somebody else wrote it: another operator, or a person with consent.
            (Recorded::View(view), Some(epoch))
                if u64::try_from(epoch).is_ok_and(|epoch| epoch > view.epoch.0) =>
            {
                true
            }
            // Nodes have adopted more than we know of: the cache may be behind them.
            (Recorded::View(view), _) if self.reported_above(view.epoch) => {
                self.looked_before(AHEAD_LOOK_MS)
            }
            (Recorded::View(_), None) => self.looked_before(MISSING_VIEW_LOOK_MS),
            // The cache may be behind what was just recorded; or something older was put back.
            (Recorded::View(view), Some(epoch))
                if u64::try_from(epoch).is_ok_and(|epoch| epoch < view.epoch.0) =>
            {
                self.looked_before(MISSING_VIEW_LOOK_MS)
            }
            (Recorded::View(_), Some(_)) | (Recorded::Absent, None) => false,
        };
        if stale {
            // From before the look: what is read live is not older, unless it was put back (V10).
            let remembered = self.context.stores.remembered(&self.key);
            let lane = if self.looked.is_none() { FIRST } else { HOT };
            self.recorded = record::read(&self.context, &self.key, &mut self.held, lane).await?;
            if let Some(view) = &remembered {
                self.memory.saw_recorded(view);
            }
            self.looked = Some(now);
        }
        Ok(())
    }

    /// Whether the view has not been read live for so long.
    fn looked_before(&self, millis: u64) -> bool {
        let now = self.context.clock.now();
        self.looked
            .is_none_or(|at| now.since(at) >= Micros::from_millis(millis))
    }

    /// When to look again if nothing wakes the task and no stream is lost.
    fn until_next(&self, plan: &Plan) -> Micros {
        let now = self.context.clock.now();
        let retry = self.background.retry_in(now);
        retry.into_iter().fold(plan.requeue_after, Micros::min)
    }

    /// The steps of a failover that has just ended, for the metrics.
    fn measure(&mut self) {
        let Some(failover) = &self.memory.failover else {
            return;
        };
        if failover.synchronous.is_none() || self.measured == Some(failover.from) {
            return;
        }
        self.measured = Some(failover.from);
        let after = |at: Option<Micros>| {
            at.and_then(|at| i64::try_from(at.since(failover.noticed).as_millis()).ok())
        };
        let metrics = &self.context.metrics;
        metrics.step_done("detected", after(Some(failover.detected)));
        metrics.step_done("recorded", after(failover.recorded));
        metrics.step_done("promoted", after(failover.promoted));
        metrics.step_done("announced", after(failover.announced));
        metrics.step_done("synchronous", after(failover.synchronous));
        info!(
            from = %failover.old, to = %failover.new, fault = %failover.reason,
            total_ms = after(failover.synchronous), "writes go again"
        );
    }
}
