//! What the planner remembers between two looks. Everything in here may be lost when another
//! operator takes over: that costs time or detail in the status, never safety.

#[cfg(test)]
mod tests;

use std::fmt;

use standby_api::FailoverStatus;
use standby_core::{Epoch, Index, Micros, NodeId, View};

use crate::judge::FailureReason;
use crate::limits;
use crate::observe::{NodeFacts, NodeReport, NodeRole, Observation};
use crate::status::Moment;

/// The most failovers on suspicion that are remembered: more than any limit counts.
const SUSPICIONS_MAX: usize = 32;

/// A process that was seen as primary: one run, in one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The node.
    pub node: NodeId,
    /// The run of its process.
    pub run: String,
    /// The pod object it runs in.
    pub pod_uid: String,
    /// When it was first seen in the role.
    pub seen: Micros,
    /// The container that took the role, once that is beyond doubt.
    pub container: Option<String>,
    /// It was seen serving: whatever leases older primaries held had ended by then (V5).
    pub served: bool,
}

/// The steps of one failover, each at the operator's monotonic clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Failover {
    /// The epoch that ended.
    pub from: Epoch,
    /// Why.
    pub reason: FailureReason,
    /// The reason in words.
    pub why: String,
    /// Whom it was taken from.
    pub old: String,
    /// Who was promoted.
    pub new: String,
    /// Something was first noticed to be wrong.
    pub noticed: Micros,
    /// The old primary counted as failed.
    pub detected: Micros,
    /// The view was recorded.
    pub recorded: Option<Micros>,
    /// The node reported itself primary.
    pub promoted: Option<Micros>,
    /// The read-write address was written.
    pub announced: Option<Micros>,
    /// Writes go again: the node serves in a view that can acknowledge.
    pub synchronous: Option<Micros>,
}

/// Since when something that is timed has held, within one epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Since(Option<(Epoch, Micros)>);

impl Since {
    /// Notes whether it holds in `epoch` at `now`.
    pub fn note(&mut self, holds: bool, epoch: Epoch, now: Micros) {
        match self.0 {
            Some((in_epoch, _)) if holds && in_epoch == epoch => {}
            _ => self.0 = holds.then_some((epoch, now)),
        }
    }

    /// For how long it has held; zero when it does not.
    #[must_use]
    pub fn held(&self, now: Micros) -> Micros {
        self.0.map_or(Micros(0), |(_, since)| now.since(since))
    }

    /// Since when it has held.
    #[must_use]
    pub fn since(&self) -> Option<Micros> {
        self.0.map(|(_, since)| since)
    }
}

/// The planner's memory of one cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// The process last seen as primary.
    pub holder: Option<Holder>,
    /// Processes before it that may still hold a read lease.
    pub before: Vec<Holder>,
    /// There may be others before it that this operator never saw.
    pub before_unknown: bool,
    /// The epoch of the last view that was looked at.
    pub followed: Option<Epoch>,
    /// The container of the last process that was seen as primary and has been followed by another.
    pub past_container: Option<String>,
    /// The view of the highest epoch that was ever seen recorded. Something older that is recorded now
    /// was put back (V10).
    pub highest_view: Option<View>,
    /// The last epoch that a node confirmed: it has adopted exactly the recorded view.
    pub confirmed: Option<Epoch>,
    /// The last epoch that this operator recorded itself: nothing later was recorded then.
    pub recorded: Option<Epoch>,
    /// Since when the current epoch has been looked at.
    pub in_epoch: Since,
    /// The highest index that may have been acknowledged, as reports have told.
    pub highest: Index,
    /// What complete nodes said in an epoch that they know to be committed: each of them had it once.
    pub committed: Option<(Epoch, Index)>,
    /// Since when the cluster has been healthy in the current epoch.
    pub healthy: Since,
    /// When failovers on suspicion were recorded, the oldest first.
    pub suspected: Vec<Micros>,
    /// Since when there has been a suspicion that changes nothing.
    pub suspicion: Since,
    /// Since when something has been wrong with the primary.
    pub primary_doubted: Since,
    /// Since when the primary has been failed.
    pub primary_failed: Since,
    /// Since when no synchronous node has answered for the current view.
    pub synchronous_missing: Since,
    /// Since when the primary has been stepped down.
    pub stepped_down: Since,
    /// Since when the primary has not adopted its view.
    pub adopting: Since,
    /// The failover in progress, and then the last one.
    pub failover: Option<Failover>,
}

impl Memory {
    /// Takes in who is primary. Called with every observation, before planning.
    pub fn observe(&mut self, observation: &Observation, now: Micros) {
        let Some(view) = observation.view() else {
            return;
        };
        self.saw_recorded(view);
        self.follow_views(view.epoch);
        self.in_epoch.note(true, view.epoch, now);
        for report in observation.nodes.values().filter_map(NodeFacts::live) {
            if report.view.as_ref() == Some(view) {
                self.confirmed = Some(view.epoch);
                self.saw_committed(view, report);
            }
            self.highest = self.highest.max(crate::plan::known(view, report));
        }
        if let Some(report) = observation.live(&view.primary)
            && report.role == NodeRole::Primary
            && report.epoch() == view.epoch
        {
            self.saw_primary(report, now);
            self.settle_container(observation, now);
            self.time_failover(view, report, now);
        }
    }

    fn saw_committed(&mut self, view: &View, report: &NodeReport) {
        if view.complete.contains(&report.node) {
            let known = self.committed_in(view.epoch).unwrap_or_default();
            self.committed = Some((view.epoch, known.max(report.commit)));
        }
    }

    /// What complete nodes said in `epoch` that they know to be committed, by all reports there were.
    #[must_use]
    pub fn committed_in(&self, epoch: Epoch) -> Option<Index> {
        self.committed
            .filter(|(in_epoch, _)| *in_epoch == epoch)
            .map(|(_, index)| index)
    }

    /// Takes in a view that is recorded, or once was.
    pub fn saw_recorded(&mut self, view: &View) {
        let known = self.highest_view.as_ref();
        if known.is_none_or(|known| view.supersedes(known)) {
            self.highest_view = Some(view.clone());
        }
    }

    /// The view that was once recorded, if it is above `recorded`.
    #[must_use]
    pub fn once_recorded(&self, observation: &Observation, recorded: Epoch) -> Option<&View> {
        let highest = self.highest_view.as_ref()?;
        let ours = highest.cluster_id == observation.cluster.id;
        (ours && highest.epoch > recorded).then_some(highest)
    }

    /// Takes over from the status which failovers on suspicion there were before this operator looked
    /// after the cluster.
    pub fn recall(&mut self, failovers: &[FailoverStatus], moment: Moment) {
        let on_suspicion = |row: &&FailoverStatus| {
            let reasons = [FailureReason::Unreachable, FailureReason::WritePathStuck];
            reasons.iter().any(|reason| reason.to_string() == row.fault)
        };
        let times = failovers.iter().filter(on_suspicion);
        self.suspected = times.map(|row| moment.at(row.time.0)).collect();
        self.suspected.sort_unstable();
    }

    /// Views that somebody else recorded meanwhile may have had primaries of which nothing is known
    /// here: whoever was seen last is not the one before, and proves nothing.
    fn follow_views(&mut self, epoch: Epoch) {
        let gap = self
            .followed
            .is_some_and(|last| epoch != last && epoch != last.next());
        if gap {
            self.holder = None;
            self.before.clear();
            self.before_unknown = true;
        }
        self.followed = Some(epoch);
    }

    fn saw_primary(&mut self, report: &NodeReport, now: Micros) {
        let same = self
            .holder
            .as_ref()
            .is_some_and(|h| h.node == report.node && h.run == report.run);
        if !same {
            match self.holder.take() {
                Some(old) => {
                    self.past_container.clone_from(&old.container);
                    if old.served {
                        self.before.clear();
                        self.before_unknown = false;
                    }
                    self.before.push(old);
                }
                None => self.before_unknown = true,
            }
            self.holder = Some(Holder {
                node: report.node.clone(),
                run: report.run.clone(),
                pod_uid: report.pod_uid.clone(),
                seen: now,
                container: None,
                served: false,
            });
        }
        if let Some(holder) = &mut self.holder {
            holder.served |= report.serving;
        }
    }

    /// The container is the one that took the role only if it is still seen running long after the
    /// role was seen: Kubernetes' reports lag, and the container of an earlier run must not be taken
    /// for this one's.
    fn settle_container(&mut self, observation: &Observation, now: Micros) {
        let Some(holder) = &mut self.holder else {
            return;
        };
        let settled = now.since(holder.seen) >= Micros::from_millis(limits::CONTAINER_SETTLED_MS);
        if holder.container.is_none()
            && settled
            && let Some(pod) = observation
                .node(&holder.node.name)
                .and_then(|n| n.pod.as_ref())
            && pod.uid == holder.pod_uid
            && pod.container.running != self.past_container
        {
            holder.container.clone_from(&pod.container.running);
        }
    }

    fn time_failover(&mut self, view: &View, report: &NodeReport, now: Micros) {
        let Some(failover) = &mut self.failover else {
            return;
        };
        if view.epoch <= failover.from || failover.new != view.primary.name {
            return;
        }
        failover.promoted.get_or_insert(now);
        if view.can_acknowledge() && report.serving {
            failover.synchronous.get_or_insert(now);
        }
    }

    /// Whether every process that may hold a read lease from before the primary of `view` is proven
    /// to have stopped (V5): what allows the new primary not to wait.
    #[must_use]
    pub fn previous_stopped(&self, observation: &Observation, view: &View) -> bool {
        let Some(holder) = &self.holder else {
            return false;
        };
        let live_run = observation
            .live(&view.primary)
            .filter(|report| report.role == NodeRole::Primary && report.epoch() == view.epoch)
            .map(|report| report.run.as_str());
        let is_current = holder.node == view.primary && live_run == Some(holder.run.as_str());
        let mut earlier: Vec<&Holder> = Vec::new();
        if is_current {
            if self.before_unknown {
                return false;
            }
            earlier.extend(&self.before);
        } else {
            // The view's primary has not been seen in its role yet: the last one seen is before it.
            if !holder.served {
                if self.before_unknown {
                    return false;
                }
                earlier.extend(&self.before);
            }
            earlier.push(holder);
        }
        !earlier.is_empty()
            && earlier
                .iter()
                .all(|holder| proven_stopped(holder, observation).is_some())
    }

    /// How many failovers on suspicion were recorded within the time that the limit speaks of.
    #[must_use]
    pub fn suspicions(&self, observation: &Observation, now: Micros) -> usize {
        let within = observation.cluster.policy.limit.within;
        let recent = self.suspected.iter().filter(|at| now.since(**at) < within);
        recent.count()
    }

    /// A failover was decided: starts its clock, unless it is the one already running.
    pub fn failover_decided(&mut self, failover: Failover) {
        let running = self
            .failover
            .as_ref()
            .is_some_and(|f| f.from == failover.from);
        if !running {
            self.failover = Some(failover);
        } else if let Some(running) = &mut self.failover {
            running.new = failover.new;
        }
    }

    /// A view was recorded at `now`.
    pub fn view_recorded(&mut self, view: &View, now: Micros) {
        self.recorded = Some(view.epoch);
        if let Some(failover) = &mut self.failover
            && view.epoch == failover.from.next()
        {
            failover.new.clone_from(&view.primary.name);
            if failover.recorded.is_none() && failover.reason.is_suspicion() {
                self.suspected.push(now);
                // More than the highest limit are never counted.
                let surplus = self.suspected.len().saturating_sub(SUSPICIONS_MAX);
                self.suspected.drain(..surplus);
            }
            failover.recorded.get_or_insert(now);
        }
    }

    /// The read-write address of `primary` was written at `now`.
    pub fn announced(&mut self, primary: &str, now: Micros) {
        if let Some(failover) = &mut self.failover
            && failover.recorded.is_some()
            && failover.new == primary
        {
            failover.announced.get_or_insert(now);
        }
    }
}

/// How a process is known to have given up its role for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The same pod runs another process.
    AnotherRun,
    /// It said so itself.
    GaveUp,
    /// The container that took the role is reported terminated.
    ContainerTerminated,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AnotherRun => "its pod runs another process",
            Self::GaveUp => "it reported that it gave up the role",
            Self::ContainerTerminated => "its container is reported terminated",
        })
    }
}

/// Whether, and how, a process is proven to serve no more.
#[must_use]
pub fn proven_stopped(holder: &Holder, observation: &Observation) -> Option<Proof> {
    let facts = observation.node(&holder.node.name)?;
    if let Some(report) = &facts.report
        && report.node == holder.node
        && report.pod_uid == holder.pod_uid
    {
        if report.run != holder.run {
            return Some(Proof::AnotherRun);
        }
        if matches!(report.role, NodeRole::SteppedDown | NodeRole::Follower) {
            return Some(Proof::GaveUp);
        }
    }
    // What is heard from the process itself outweighs what Kubernetes says of a container: its word may
    // be late, and of an earlier one.
    if facts.live().is_some_and(|report| report.run == holder.run) {
        return None;
    }
    let pod = facts.pod.as_ref().filter(|pod| pod.uid == holder.pod_uid)?;
    let container = holder.container.as_ref()?;
    // While another container runs, the process may be in that one.
    let ended = pod.over || pod.container.ended;
    (ended && pod.container.terminated.contains(container)).then_some(Proof::ContainerTerminated)
}
