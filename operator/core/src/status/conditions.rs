//! The five conditions.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use standby_api::{StandbyClusterStatus, names};
use standby_core::Micros;

use super::{Moment, TEXT_LENGTH_MAX, cut};
use crate::judge;
use crate::limits;
use crate::memory::Memory;
use crate::observe::Observation;
use crate::plan::{Phase, Plan, Turn};

/// What a condition says.
struct Said {
    status: &'static str,
    reason: String,
    message: String,
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "callers give a word or a phase"
)]
fn said(status: &'static str, reason: impl std::fmt::Display, message: impl Into<String>) -> Said {
    Said {
        status,
        reason: reason.to_string(),
        message: message.into(),
    }
}

pub(super) fn conditions(
    observation: &Observation,
    plan: &Plan,
    memory: &Memory,
    healthy: usize,
    before: Option<&StandbyClusterStatus>,
    moment: Moment,
) -> Vec<Condition> {
    let available = available(observation, plan);
    let safe = safe(observation, plan);
    let ready = ready(observation, &available, &safe, healthy);
    let stalled = stalled(plan, memory, moment);
    let reconciling = reconciling(plan, &stalled, &ready);
    let ready = paused(plan, ready);
    [
        (names::CONDITION_READY, ready),
        (names::CONDITION_AVAILABLE, available),
        (names::CONDITION_SAFE, safe),
        (names::CONDITION_RECONCILING, reconciling),
        (names::CONDITION_STALLED, stalled),
    ]
    .into_iter()
    .map(|(kind, said)| condition(observation, kind, said, before, moment))
    .collect()
}

fn condition(
    observation: &Observation,
    kind: &str,
    said: Said,
    before: Option<&StandbyClusterStatus>,
    moment: Moment,
) -> Condition {
    let was = before.and_then(|status| status.conditions.iter().find(|c| c.type_ == kind));
    let last_transition_time = match was {
        Some(was) if was.status == said.status => was.last_transition_time.clone(),
        _ => Time(moment.wall),
    };
    Condition {
        type_: kind.to_owned(),
        status: said.status.to_owned(),
        reason: said.reason,
        message: cut(&said.message, TEXT_LENGTH_MAX),
        last_transition_time,
        observed_generation: Some(observation.cluster.generation),
    }
}

/// Writes are being accepted.
fn available(observation: &Observation, plan: &Plan) -> Said {
    let Some(view) = observation.view() else {
        return said("False", plan.phase, &plan.why);
    };
    if plan.phase == Phase::Suspected {
        return said("Unknown", "OnlyOperatorLostPrimary", &plan.why);
    }
    let Some(report) = observation.live(&view.primary) else {
        return said("False", plan.phase, &plan.why);
    };
    if report.disk_full {
        let text = format!(
            "writes are refused: the disk of {} is full",
            view.primary.name
        );
        return said("False", "DiskFull", text);
    }
    if !view.can_acknowledge() {
        let text = format!("writes wait: {}", plan.why);
        return said("False", "NoSynchronousNode", text);
    }
    let failed = matches!(plan.phase, Phase::FailingOver | Phase::HandingOver);
    if failed || !report.serving {
        return said("False", plan.phase, &plan.why);
    }
    if plan.phase == Phase::ReplacingSynchronous && report.stall.is_some() {
        return said(
            "False",
            "SynchronousNodeFailed",
            format!("writes wait: {}", plan.why),
        );
    }
    said(
        "True",
        "AcceptsWrites",
        format!("{} accepts writes", view.primary.name),
    )
}

/// Losing the primary now would lose nothing.
fn safe(observation: &Observation, plan: &Plan) -> Said {
    let Some(view) = observation.view() else {
        return said("False", plan.phase, &plan.why);
    };
    if view.alone {
        let text = format!(
            "{} alone has every acknowledged write; automatic failover is off until another has",
            view.primary.name
        );
        return said("False", "Degraded", text);
    }
    if matches!(plan.phase, Phase::Recovering | Phase::RecoveryBlocked) {
        // What is recorded is not what the nodes live by.
        return said("False", plan.phase, &plan.why);
    }
    if judge::doubters(observation, view).next().is_some() {
        return said("False", "PrimaryLacksCommitted", &plan.why);
    }
    let others: Vec<&str> = plan
        .candidates
        .iter()
        .filter(|verdict| verdict.promotable && verdict.name != view.primary.name)
        .map(|verdict| verdict.name.as_str())
        .collect();
    if others.is_empty() {
        let text = format!(
            "nobody could take over from {}: {}",
            view.primary.name, plan.why
        );
        return said("False", "NoCandidate", text);
    }
    if plan.phase == Phase::ReplacingSynchronous {
        return said("False", "SynchronousNodeFailed", &plan.why);
    }
    said(
        "True",
        "CanFailOver",
        format!("{} has every acknowledged write", others.join(", ")),
    )
}

/// Every node runs and the cluster is available and as safe as it was asked to be.
fn ready(observation: &Observation, available: &Said, safe: &Said, healthy: usize) -> Said {
    let wanted = observation.cluster.wanted.len();
    if available.status != "True" {
        return said(
            if available.status == "Unknown" {
                "Unknown"
            } else {
                "False"
            },
            &available.reason,
            &available.message,
        );
    }
    // One copy is what was asked for: it can never be safe.
    if wanted > 1 && safe.status != "True" {
        return said("False", &safe.reason, &safe.message);
    }
    if healthy < wanted {
        let text = format!("{healthy} of {wanted} nodes are healthy");
        return said("False", "NodesNotHealthy", text);
    }
    said(
        "True",
        "ClusterIsReady",
        format!("{wanted} of {wanted} nodes are healthy"),
    )
}

fn stalled(plan: &Plan, memory: &Memory, moment: Moment) -> Said {
    if plan.phase.is_stalled() {
        return said("True", plan.phase, &plan.why);
    }
    let adopting = memory.adopting.held(moment.now);
    if adopting >= Micros::from_millis(limits::ADOPT_MAX_MS) {
        let text = format!("{} (for {} ms)", plan.why, adopting.as_millis());
        return said("True", "NotAdopted", text);
    }
    said("False", "Progressing", "nothing waits for a person")
}

/// A paused cluster is what it is, and nobody does anything about it.
fn paused(plan: &Plan, ready: Said) -> Said {
    if plan.withheld.is_none() {
        return ready;
    }
    let text = format!("paused, the operator changes nothing: {}", ready.message);
    said(ready.status, "Paused", text)
}

fn reconciling(plan: &Plan, stalled: &Said, ready: &Said) -> Said {
    if plan.withheld.is_some() {
        return said("False", "Paused", "standby.dev/paused is true");
    }
    if let (
        Phase::Healthy,
        Turn::Replace { why, .. }
        | Turn::Waits {
            on: Some(_), why, ..
        },
    ) = (plan.phase, &plan.turn)
    {
        return said("True", "RollingChange", why);
    }
    let steady = matches!(plan.phase, Phase::Healthy | Phase::Alone);
    let asleep = plan.phase == Phase::Hibernated;
    if stalled.status == "True" || asleep || (steady && ready.status == "True") {
        return said("False", "Steady", "nothing is being changed");
    }
    said("True", plan.phase, &plan.why)
}
