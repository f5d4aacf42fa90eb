//! Why no failover goes on, from what the operator says: told from its conditions, never judged anew.

use serde::Serialize;
use standby_api::{FailoverMode, StandbyCluster, StandbyClusterStatus, names};

use crate::document::is_paused;

/// What there is to say about a failover now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Failover {
    /// Nothing has failed.
    NotNeeded,
    /// It goes on.
    GoingOn,
    /// Something is odd, which is no failure.
    Suspected,
    /// The primary has failed, and nobody can be promoted.
    Blocked,
    /// The primary has failed, and a person decides.
    AwaitsPerson,
    /// It could not be done if the primary failed now.
    Impossible,
    /// The operator was told to change nothing, or the cluster to sleep.
    Off,
    /// Nothing is known.
    Unknown,
}

/// The same with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// What.
    pub verdict: Failover,
    /// Why; one or more sentences.
    pub why: String,
}

/// Why no failover goes on, or what keeps one that should.
#[must_use]
pub fn verdict(cluster: &StandbyCluster) -> Verdict {
    let status = cluster.status.as_ref();
    let Some(status) = status.filter(|status| !status.conditions.is_empty()) else {
        return said(
            Failover::Unknown,
            "the operator has not looked at this cluster yet",
        );
    };
    let why = because(status);
    if is_paused(cluster) {
        let text = format!("the operator was told to change nothing, failovers included. {why}");
        return said(Failover::Off, text);
    }
    if cluster.spec.hibernated {
        return said(Failover::Off, format!("the cluster sleeps. {why}"));
    }
    if holds(status, names::CONDITION_STALLED) {
        return stalled(cluster, status, &why);
    }
    match reason(status, names::CONDITION_RECONCILING) {
        "FailingOver" | "Adopting" | "HandingOver" => return said(Failover::GoingOn, why),
        "Suspected" => return said(Failover::Suspected, why),
        _ => {}
    }
    if reason(status, names::CONDITION_AVAILABLE) == "OnlyOperatorLostPrimary" {
        return said(Failover::Suspected, why);
    }
    let safe = find(status, names::CONDITION_SAFE);
    match safe {
        Some(safe) if safe.status != "True" => said(
            Failover::Impossible,
            format!(
                "nothing is to be failed over now, and if the primary failed it could not be: {}",
                sentence(&safe.message)
            ),
        ),
        _ => said(
            Failover::NotNeeded,
            format!("the primary has not failed. {why}"),
        ),
    }
}

fn stalled(cluster: &StandbyCluster, status: &StandbyClusterStatus, why: &str) -> Verdict {
    let manual = cluster.spec.failover.mode == FailoverMode::Manual;
    match reason(status, names::CONDITION_STALLED) {
        "AwaitingPerson" if manual => said(
            Failover::AwaitsPerson,
            format!("failover.mode is Manual: a person decides. {why}"),
        ),
        "AwaitingPerson" => said(Failover::AwaitsPerson, why),
        // The last valid specification goes on being carried out.
        "Invalid" => said(Failover::NotNeeded, why),
        _ => said(Failover::Blocked, why),
    }
}

/// The operator's own sentence about where it stands.
fn because(status: &StandbyClusterStatus) -> String {
    let stalled = find(status, names::CONDITION_STALLED)
        .filter(|condition| condition.status == "True")
        .map(|condition| condition.message.as_str());
    let text = stalled
        .or(status.why.as_deref())
        .or(status.phase.as_deref())
        .unwrap_or("no reason is given");
    sentence(text)
}

/// With a full stop, so that another sentence can follow.
fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.ends_with(['.', '!', '?', '…']) {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}

fn said(verdict: Failover, why: impl Into<String>) -> Verdict {
    Verdict {
        verdict,
        why: why.into(),
    }
}

fn find<'a>(
    status: &'a StandbyClusterStatus,
    kind: &str,
) -> Option<&'a k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind)
}

fn holds(status: &StandbyClusterStatus, kind: &str) -> bool {
    find(status, kind).is_some_and(|condition| condition.status == "True")
}

fn reason<'a>(status: &'a StandbyClusterStatus, kind: &str) -> &'a str {
    find(status, kind).map_or("", |condition| condition.reason.as_str())
}
