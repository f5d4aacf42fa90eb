//! What people see: the status of a `StandbyCluster`, from the observation and the plan.
//!
//! A condition's transition time and a node's `since` are kept while nothing changed, so that a
//! status that says the same is the same. Nothing here decides, and nothing is decided by it.

mod conditions;
mod failovers;
mod orders;

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use standby_api::{NodeRole as RowRole, NodeStatus, StandbyClusterStatus, names};
use standby_core::{Micros, View};

use crate::candidate::CandidateVerdict;
use crate::memory::Memory;
use crate::observe::{LinkState, NodeFacts, NodeRole, Observation, Stream};
use crate::plan::{Phase, Plan, Turn};
use crate::words::meaning;

/// The longest text in a row, in characters: the schema's limit.
const TEXT_LENGTH_MAX: usize = 1_000;
/// The longest headline, in characters.
const PHASE_LENGTH_MAX: usize = 250;

/// This moment, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The operator's monotonic clock.
    pub now: Micros,
    /// The wall clock, for people.
    pub wall: Timestamp,
}

impl Moment {
    /// The wall clock's time of an earlier point on the monotonic clock.
    fn wall_at(&self, at: Micros) -> Timestamp {
        let ago = i64::try_from(self.now.since(at).0).unwrap_or(i64::MAX);
        self.wall
            .checked_sub(jiff::SignedDuration::from_micros(ago))
            .unwrap_or(self.wall)
    }

    /// The monotonic clock at an earlier time of the wall clock; what is said to come later is now.
    pub(crate) fn at(&self, wall: Timestamp) -> Micros {
        let ago = self.wall.duration_since(wall).as_micros();
        let ago = u64::try_from(ago.max(0)).unwrap_or(u64::MAX);
        Micros(self.now.0.saturating_sub(ago))
    }
}

/// The status now. `before` is the one that is recorded.
#[must_use]
pub fn status(
    observation: &Observation,
    plan: &Plan,
    memory: &Memory,
    before: Option<&StandbyClusterStatus>,
    moment: Moment,
) -> StandbyClusterStatus {
    let view = observation.view();
    let nodes = rows(observation, plan, before, moment);
    let wanted = observation.cluster.wanted.len();
    let healthy = nodes
        .iter()
        .filter(|row| row.healthy && observation.wanted(&row.name))
        .count();
    let pods = observation
        .nodes
        .values()
        .filter(|facts| facts.pod.is_some())
        .count();
    let synchronous: Vec<String> = view
        .map(|view| {
            view.synchronous
                .iter()
                .map(|node| node.name.clone())
                .collect()
        })
        .unwrap_or_default();
    let conditions = conditions::conditions(observation, plan, memory, healthy, before, moment);
    StandbyClusterStatus {
        conditions,
        observed_generation: Some(observation.cluster.generation),
        phase: Some(cut(&headline(plan), PHASE_LENGTH_MAX)),
        why: Some(cut(&plan.why, TEXT_LENGTH_MAX)),
        next: orders::next(plan),
        options: orders::options(plan),
        orders: orders::orders(plan, before, moment),
        data_loss: observation.losses.clone(),
        epoch: view.map(|view| small(view.epoch.0)),
        primary: view.map(|view| view.primary.name.clone()),
        synchronous_standby: (!synchronous.is_empty()).then(|| synchronous.join(",")),
        synchronous,
        replicas: count(pods),
        ready_replicas: count(healthy),
        nodes_ready: Some(format!("{healthy}/{wanted}")),
        selector: Some(format!(
            "{}={}",
            names::LABEL_CLUSTER,
            observation.cluster.name
        )),
        nodes,
        failovers: failovers::failovers(memory, before, moment),
    }
}

/// Whether two statuses differ in more than the progress of indexes and of times: worth writing at once. A
/// status is seen by whoever writes it, so one that changed with every look would be written without end.
#[must_use]
pub fn differs(one: &StandbyClusterStatus, other: &StandbyClusterStatus) -> bool {
    still(one) != still(other)
}

/// The status without what moves by itself.
fn still(status: &StandbyClusterStatus) -> StandbyClusterStatus {
    let mut status = status.clone();
    for row in &mut status.nodes {
        row.applied_index = None;
        row.commit_index = None;
        row.lag = None;
        row.reason = meaning(&row.reason);
        row.promotable_reason = meaning(&row.promotable_reason);
    }
    for condition in &mut status.conditions {
        condition.message = meaning(&condition.message);
    }
    for step in &mut status.next {
        step.why = meaning(&step.why);
    }
    for option in &mut status.options {
        option.cost = meaning(&option.cost);
    }
    status.why = status.why.as_deref().map(meaning);
    status.phase = status.phase.as_deref().map(meaning);
    status
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn small(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// At most so many characters, with a mark where the rest was.
fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(max - 1).collect();
    short.push('…');
    short
}

/// How far a rolling change has come, unless there is none, or it waits for a window.
fn rolling(plan: &Plan) -> Option<String> {
    let left = plan.turn.left();
    let pods = if left == 1 { "pod" } else { "pods" };
    match &plan.turn {
        Turn::Replace { node, .. } | Turn::Relieve { node, .. } => Some(format!(
            "Rolling change: {node} is next, {left} {pods} left"
        )),
        Turn::Waits { on: Some(node), .. } => Some(format!(
            "Rolling change: waiting for {node}, {left} {pods} left"
        )),
        Turn::Waits { on: None, .. } | Turn::Done => None,
    }
}

/// One line for people.
fn headline(plan: &Plan) -> String {
    if plan.withheld.is_some() {
        return "Paused".into();
    }
    let words = match plan.phase {
        Phase::Healthy => return rolling(plan).unwrap_or("Cluster in healthy state".into()),
        Phase::Alone => "Degraded: a single copy acknowledges writes",
        Phase::ViewUnknown => "Reading the recorded view",
        Phase::AwaitingNodes => "Setting up: waiting for the nodes",
        Phase::FirstView => "Setting up the primary",
        Phase::Recovering => "Continuing a lost view",
        Phase::RecoveryBlocked => "Waiting for user action: a view was lost",
        Phase::Adopting => "Waiting for the primary to take its role",
        Phase::Establishing => "Setting up the synchronous standby",
        Phase::ReplacingSynchronous => "Replacing the synchronous standby",
        Phase::EndingPromise => "Replacing a node that does not keep up",
        Phase::PreparingHandover => "Preparing a switchover",
        Phase::HandingOver => "Switchover in progress",
        Phase::GaveUp => "The primary is fenced and nobody can take over",
        Phase::Suspected => "The operator alone has lost the primary",
        Phase::Confirming => "Primary failed: hearing the nodes",
        Phase::HeldBack => "Primary lost again: waiting until that is certain",
        Phase::FailingOver => "Failing over",
        Phase::Starting => "Starting the nodes that have everything",
        Phase::FailoverBlocked => "Primary failed and nobody can be promoted",
        Phase::AwaitingPerson => "Waiting for user action: the primary failed",
        Phase::Hibernating => "Hibernating",
        Phase::Hibernated => "Hibernated",
        Phase::Deleting => "Deleting",
    };
    words.to_owned()
}

fn rows(
    observation: &Observation,
    plan: &Plan,
    before: Option<&StandbyClusterStatus>,
    moment: Moment,
) -> Vec<NodeStatus> {
    let commit = observation
        .view()
        .and_then(|view| observation.live(&view.primary))
        .map(|report| report.commit.0);
    observation
        .nodes
        .iter()
        .map(|(name, facts)| {
            let verdict = plan.candidates.iter().find(|verdict| verdict.name == *name);
            let was = before.and_then(|status| status.nodes.iter().find(|row| row.name == *name));
            row(
                observation.view(),
                name,
                facts,
                verdict,
                commit,
                was,
                moment,
            )
        })
        .collect()
}

fn row(
    view: Option<&View>,
    name: &str,
    facts: &NodeFacts,
    verdict: Option<&CandidateVerdict>,
    commit: Option<u64>,
    was: Option<&NodeStatus>,
    moment: Moment,
) -> NodeStatus {
    let (healthy, reason) = health(view, facts);
    let since = match was {
        Some(was) if was.healthy == healthy && was.since.is_some() => was.since.clone(),
        _ => Some(Time(moment.wall)),
    };
    let report = facts.report.as_ref();
    let role = match view {
        Some(view) if view.primary.name == name => RowRole::Primary,
        Some(view) if view.synchronous.iter().any(|node| node.name == name) => RowRole::Synchronous,
        _ => RowRole::Replica,
    };
    let pod = facts.pod.as_ref();
    NodeStatus {
        name: name.to_owned(),
        volume: report.map(|report| report.node.volume.0.clone()),
        role,
        host: pod.and_then(|pod| pod.host.clone()),
        zone: pod.and_then(|pod| pod.zone.clone()),
        applied_index: report.map(|report| small(report.applied.0)),
        commit_index: report.map(|report| small(report.commit.0)),
        lag: report
            .zip(commit)
            .map(|(report, commit)| small(commit.saturating_sub(report.applied.0))),
        healthy,
        reason: cut(&reason, TEXT_LENGTH_MAX),
        since,
        promotable: verdict.is_some_and(|verdict| verdict.promotable),
        promotable_reason: verdict.map_or_else(
            || "not judged".into(),
            |verdict| cut(&verdict.why, TEXT_LENGTH_MAX),
        ),
    }
}

/// Whether a node works, and why.
fn health(view: Option<&View>, facts: &NodeFacts) -> (bool, String) {
    let Some(pod) = &facts.pod else {
        return (false, "it has no pod".into());
    };
    if let Stream::Lost(loss) = &facts.stream {
        if pod.container.ended {
            return (
                false,
                format!("its container has ended ({})", pod.container.ended_why),
            );
        }
        return (
            false,
            loss.to_string().lines().next().unwrap_or("lost").to_owned(),
        );
    }
    let Some(report) = facts.live() else {
        let why = match pod.waits.as_str() {
            "" => "it has not reported yet",
            waits => waits,
        };
        return (false, why.into());
    };
    if !report.doubt.is_empty() {
        return (false, report.doubt.clone());
    }
    if report.disk_full {
        return (
            false,
            format!("its disk is full: {} bytes free", report.disk_free_bytes),
        );
    }
    match report.role {
        NodeRole::Primary if report.serving => (true, "it accepts writes".into()),
        NodeRole::Primary => (false, "it is primary and may not serve yet".into()),
        NodeRole::SteppedDown => (false, "it has stepped down".into()),
        NodeRole::Restarted => (false, "it restarted and waits for a new view".into()),
        NodeRole::Unassigned if view.is_none() => (false, "it waits for the first view".into()),
        NodeRole::Unassigned => (false, "it has not adopted a view".into()),
        NodeRole::Follower => match report.link.map(|link| link.state) {
            Some(LinkState::Up) => (true, "it follows the primary".into()),
            Some(LinkState::Refused) => (false, "the primary refuses its connection".into()),
            Some(LinkState::NotPrimary) => (false, "whom it follows is not primary".into()),
            Some(LinkState::Silent) => (false, "it does not hear the primary".into()),
            Some(LinkState::Unknown) | None => (false, "it does not follow yet".into()),
        },
    }
}
