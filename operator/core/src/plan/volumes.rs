//! Volumes that end, that are too small, or that a node refuses.

use standby_core::Micros;

use super::nodes::{delete_claim, delete_pod, in_view};
use super::{Action, Phase, Plan, Situation, rolling};
use crate::observe::{ClaimFacts, NodeFacts, Observation};

/// A node whose claim is being deleted, or whose volume is lost. While the view names it, it stays as
/// it is until others have everything; then a new claim takes the old one's place.
pub(super) fn volume_ends(
    observation: &Observation,
    situation: &Situation,
    name: &str,
    facts: &NodeFacts,
    claim: &ClaimFacts,
    plan: &mut Plan,
) {
    let what = if claim.deleting {
        "the volume claim is being deleted"
    } else {
        "the volume is lost"
    };
    if in_view(observation, name) {
        let text = format!("{name}: {what}; its pod stays until others have everything");
        plan.tell("VolumeEnding", true, text);
        return;
    }
    let settled = matches!(situation.phase, Phase::Healthy | Phase::Alone);
    if claim.lost && !claim.deleting && settled {
        plan.act(
            delete_claim(name, claim),
            "its volume is lost, and others have everything",
        );
    }
    // The claim goes when no pod uses it; a new one follows.
    let Some(pod) = facts.staying_pod() else {
        return;
    };
    match rolling::may_take(observation, name) {
        Ok(()) if plan.deletes_pods() => {}
        Ok(()) => plan.act(
            delete_pod(name, pod, false),
            format!("{what}, and it waits for the pod"),
        ),
        Err(why) => plan.tell(
            "VolumeEnding",
            true,
            format!("{name}: {what}; waiting for {why}"),
        ),
    }
}

/// A claim that asks for less than `storage.size`.
pub(super) fn grow(observation: &Observation, name: &str, claim: &ClaimFacts, plan: &mut Plan) {
    let wanted = observation.cluster.upkeep.storage_bytes;
    if claim.requested_bytes == 0 || claim.requested_bytes >= wanted {
        return;
    }
    match claim.expandable {
        Some(true) => plan.act(
            Action::GrowClaim {
                node: name.to_owned(),
                bytes: wanted,
            },
            format!(
                "storage.size is {wanted} bytes, the claim asks for {}",
                claim.requested_bytes
            ),
        ),
        Some(false) => plan.tell(
            "CannotGrow",
            true,
            format!(
                "the volume of {name} stays at {} bytes: its storage class does not grow volumes \
                 (allowVolumeExpansion); delete its claim, and once the others have everything the \
                 operator replaces its pod, with a volume of {wanted} bytes that they fill",
                claim.requested_bytes
            ),
        ),
        // Not looked up yet.
        None => {}
    }
}

/// A node that runs and refuses to work with the volume it found. A volume of another cluster is
/// never deleted here: it may be somebody's data. One of this cluster that is of no use is, when
/// everything it could hold is with others.
pub(super) fn refused_volume(
    observation: &Observation,
    situation: &Situation,
    name: &str,
    facts: &NodeFacts,
    now: Micros,
    plan: &mut Plan,
) {
    let (Some(report), Some(pod), Some(claim)) = (facts.live(), facts.staying_pod(), &facts.claim)
    else {
        return;
    };
    if report.cluster_id != observation.cluster.id {
        let text = format!(
            "{name} is refused: its volume belongs to cluster {}, this one is {}; if nobody needs \
             that volume, delete the claim {name} and its pod",
            report.cluster_id, observation.cluster.id
        );
        plan.tell("ForeignVolume", true, text);
        return;
    }
    let settled = situation.phase == Phase::Healthy && situation.suspicion.is_none();
    let others_doubt = observation
        .nodes
        .values()
        .filter_map(NodeFacts::live)
        .any(|report| report.doubts_primary);
    if report.doubt.is_empty() || others_doubt || !settled || in_view(observation, name) {
        return;
    }
    let (held, limit) = (now.since(pod.since), observation.cluster.replace_after);
    if held < limit {
        plan.look_when(held, limit);
        return;
    }
    let why = format!(
        "it refuses ({}), and others have everything that its volume could hold",
        report.doubt
    );
    plan.act(delete_claim(name, claim), why.clone());
    plan.act(delete_pod(name, pod, false), why);
}
