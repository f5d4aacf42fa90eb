//! The hot path: observe, plan, record the view, tell the nodes, announce; again after each recorded
//! view. What to do is decided in the core.

use std::sync::Arc;

use kube::ResourceExt;
use standby_api::{DataLoss, StandbyCluster};
use standby_core::Epoch;
use standby_operator_core::build::view::join_losses;
use standby_operator_core::facts::cluster_facts;
use standby_operator_core::observe::{Observation, Recorded};
use standby_operator_core::orders::Orders;
use standby_operator_core::plan::{Action, Phase, Plan, plan};
use standby_operator_core::validate::ValidatedCluster;
use tracing::info;

use super::Actor;
use crate::api::{FIRST, HOT};
use crate::limits::RECORDS_PER_TURN_MAX;
use crate::reconcile::announce::{self, Announced};
use crate::reconcile::{StepError, dereference, record};
use crate::stream::NodeStream;

impl Actor {
    /// Every loss that was ever consented to: beside the view, or in the status if the view was lost.
    pub(super) fn losses(&self) -> Vec<DataLoss> {
        let status = self.status.as_ref();
        let told = status.map_or(&[][..], |status| &status.data_loss);
        join_losses(self.held.losses(), told)
    }

    pub(super) fn reported_above(&self, epoch: Epoch) -> bool {
        self.streams
            .values()
            .filter_map(NodeStream::adopted)
            .any(|adopted| adopted > epoch)
    }

    fn observe(&mut self, cluster: &Arc<ValidatedCluster>, object: &StandbyCluster) -> Observation {
        let now = self.context.clock.now();
        let deleting = object.metadata.deletion_timestamp.is_some();
        let mut facts = cluster_facts(cluster, deleting, Orders::read(object.annotations()));
        let mut nodes = dereference::nodes(
            &self.context,
            &self.key,
            &self.uid,
            &self.volumes,
            &mut self.seen,
            now,
        );
        let stores = &self.context.stores;
        let hosts = || stores.hosts().collect();
        facts.upkeep.room = self
            .room
            .left(stores.hosts_version(), hosts, cluster, &nodes);
        self.dial(cluster, &nodes);
        for (name, facts_of_node) in &mut nodes {
            if let Some(stream) = self.streams.get(name) {
                let (state, report) = stream.state(now, &facts.thresholds);
                facts_of_node.stream = state;
                facts_of_node.report = report;
            }
        }
        Observation {
            cluster: facts,
            wall: self.context.clock.moment().wall,
            recorded: self.recorded.clone(),
            losses: self.losses(),
            nodes,
        }
    }

    /// Observes, plans and carries out the hot part, again after each recorded view.
    pub(super) async fn drive(
        &mut self,
        cluster: &Arc<ValidatedCluster>,
        object: &StandbyCluster,
    ) -> (Observation, Plan, bool) {
        let mut failed = false;
        let mut rounds = 0;
        loop {
            rounds += 1;
            let observation = self.observe(cluster, object);
            let now = self.context.clock.now();
            self.memory.observe(&observation, now);
            let plan = plan(&observation, &mut self.memory, now);
            self.hot(cluster, &observation, &plan);
            let due = plan.view_to_record().is_some();
            if !due || failed || rounds > RECORDS_PER_TURN_MAX {
                return (observation, plan, failed);
            }
            failed = !self.record(cluster, &plan).await;
        }
    }

    /// Records the planned view. Whether to go on planning at once.
    async fn record(&mut self, cluster: &ValidatedCluster, plan: &Plan) -> bool {
        let Some((next, basis)) = plan.view_to_record() else {
            return false;
        };
        let losses = self.losses();
        let recorded = record::record(
            &self.context,
            &self.key,
            cluster,
            &mut self.held,
            (next, basis),
            &losses,
        );
        match recorded.await {
            Ok(change) => {
                let now = self.context.clock.now();
                info!(epoch = next.epoch.0, ?change, view = %next, why = %plan.why, "recorded");
                self.context.metrics.views_recorded.inc();
                if matches!(plan.phase, Phase::FailingOver | Phase::HandingOver) {
                    let fault = self.memory.failover.as_ref().map(|f| f.reason.to_string());
                    let fault = fault.unwrap_or_default();
                    self.context
                        .metrics
                        .failovers
                        .with_label_values(&[&fault])
                        .inc();
                }
                self.recorded = Recorded::View(next.clone());
                self.looked = Some(now);
                self.memory.view_recorded(next, now);
                if basis.is_recovery() {
                    // The read-write slice was put back too.
                    self.announced = None;
                }
                self.tell_all(plan);
                true
            }
            Err(StepError::Superseded) => {
                info!("something else was recorded meanwhile; planning anew");
                match record::read(&self.context, &self.key, &mut self.held, HOT).await {
                    Ok(recorded) => {
                        self.recorded = recorded;
                        true
                    }
                    Err(error) => {
                        self.recorded = Recorded::Unknown;
                        self.failed("record", &error);
                        false
                    }
                }
            }
            Err(error) => {
                // Whether it was written is not known: only a live look can tell.
                self.recorded = Recorded::Unknown;
                self.failed("record", &error);
                false
            }
        }
    }

    /// Orders to nodes and the read-write address. Never waits.
    fn hot(&mut self, cluster: &Arc<ValidatedCluster>, observation: &Observation, plan: &Plan) {
        self.order(cluster, observation, plan);
        let wanted = plan
            .actions
            .iter()
            .find_map(|planned| match &planned.action {
                Action::Announce { node, .. } => Some(announce::target(observation, node)),
                Action::Withdraw => Some(None),
                _ => None,
            });
        let Some(primary) = wanted else { return };
        let family = match &primary {
            Some(target) => standby_operator_core::build::endpoint_slice::family(target.address),
            None => announce::family(observation),
        };
        // What the target can be read for does not matter to the read-write slice.
        let primary = primary.map(|mut target| {
            target.readable = true;
            target
        });
        let announced = Announced { primary, family };
        let listed = self.context.stores.slices_listed();
        if std::mem::replace(&mut self.slices_listed, listed) != listed {
            // It may have been put back with the store.
            self.announced = None;
        }
        let stands = self.context.stores.slice_version(&self.key, family);
        if self.background.is_overwritten(stands) {
            info!("somebody else wrote the read-write slice: looking at the recorded view");
            // As after a conflict: another operator may have moved on.
            (self.announced, self.recorded) = (None, Recorded::Unknown);
            self.wake.notify_one();
            return;
        }
        let every = self.background.apply_every();
        let now = self.context.clock.now();
        let written = self
            .announced
            .as_ref()
            .is_some_and(|(is, at)| *is == announced && now.since(*at) < every);
        if !written {
            // A new leader says it again of every cluster; only a change is urgent.
            let first = self.announced.is_none() && self.memory.failover.is_none();
            let lane = if first { FIRST } else { HOT };
            self.background.announce(cluster.clone(), announced, lane);
        }
    }
}
