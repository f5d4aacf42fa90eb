//! Pods and claims: what is missing, what must be replaced, and what is left alone and why. A claim
//! of a node that may hold the only copy of an acknowledged write is never deleted here.

use standby_core::{Micros, View};

use super::rolling::{self, Turn};
use super::{Action, Later, Phase, Plan, Situation, volumes};
use crate::limits;
use crate::observe::{ClaimFacts, NodeFacts, Observation, PodFacts};

/// Why the primary's pod is the next to be replaced, once it is: its role is handed over first (V8).
/// Every pod that can be replaced without that goes before.
pub(super) fn primary_is_next(observation: &Observation, view: &View) -> Option<String> {
    match rolling::turn(observation) {
        Turn::Relieve {
            node,
            synchronous: false,
            why,
            ..
        } if node == view.primary.name => Some(why),
        _ => None,
    }
}

pub(super) fn plan(observation: &Observation, situation: &Situation, now: Micros, plan: &mut Plan) {
    match situation.phase {
        Phase::Deleting => return delete(observation, plan),
        Phase::Hibernating | Phase::Hibernated => {
            return hibernate(observation, situation, now, plan);
        }
        _ => {}
    }
    for name in &observation.cluster.wanted {
        let facts = observation.node(name).cloned().unwrap_or_default();
        keep(observation, situation, name, &facts, now, plan);
    }
    for (name, facts) in &observation.nodes {
        if !observation.wanted(name) {
            surplus(observation, situation, name, facts, now, plan);
        }
        label(observation, name, facts, plan);
    }
    roll(observation, situation, now, plan);
    plan.must_stay = rolling::must_stay(observation, situation, &plan.turn);
}

/// Replaces the pod whose turn it is, one at a time.
fn roll(observation: &Observation, situation: &Situation, now: Micros, plan: &mut Plan) {
    plan.turn = rolling::turn(observation);
    let busy = plan.deletes_pods();
    match plan.turn.clone() {
        Turn::Replace {
            node,
            uid,
            dead,
            why,
            ..
        } if !busy && may_replace(observation, situation.phase, dead) => {
            plan.act(
                Action::DeletePod {
                    node,
                    uid,
                    force: false,
                },
                why,
            );
        }
        Turn::Waits { left, on, why } => {
            plan.later.push(Later {
                what: format!("replace {left} pods, one at a time"),
                why: format!("waits: {why}"),
            });
            if let Some(on) = on {
                stuck(observation, situation, &on, left, &why, now, plan);
            }
        }
        _ => {}
    }
}

/// Whether the state of the cluster lets a pod be replaced.
fn may_replace(observation: &Observation, phase: Phase, dead: bool) -> bool {
    match phase {
        Phase::Healthy => true,
        Phase::Alone => dead || observation.cluster.wanted.len() == 1,
        // Moments: whatever is decided now may be about something else.
        Phase::ViewUnknown
        | Phase::FirstView
        | Phase::Recovering
        | Phase::Adopting
        | Phase::FailingOver
        | Phase::HandingOver
        | Phase::Deleting
        | Phase::Hibernating
        | Phase::Hibernated => false,
        _ => dead,
    }
}

/// A new pod that does not come to work stops the rolling change: the others stay as they are, until
/// there is a newer specification for it.
fn stuck(
    observation: &Observation,
    situation: &Situation,
    on: &str,
    left: usize,
    why: &str,
    now: Micros,
    plan: &mut Plan,
) {
    let pod = observation.node(on).and_then(NodeFacts::staying_pod);
    let Some(pod) = pod.filter(|_| situation.phase == Phase::Healthy) else {
        return;
    };
    let (held, limit) = (
        now.since(pod.since),
        Micros::from_millis(limits::ROLL_STUCK_MS),
    );
    plan.look_when(held, limit);
    if held < limit {
        return;
    }
    if rolling::may_give_up(observation, on) {
        let busy = plan.deletes_pods();
        if !busy {
            plan.act(
                delete_pod(on, pod, false),
                format!("{why}; there is a newer specification"),
            );
        }
    } else {
        let text = format!(
            "a rolling change has stopped: {why}; {left} more pods stay as they are until it works"
        );
        plan.tell("RolloutStopped", true, text);
    }
}

/// Ends every pod once the primary has stepped down, and makes none. Claims and view stay.
fn hibernate(observation: &Observation, situation: &Situation, now: Micros, plan: &mut Plan) {
    for (name, facts) in &observation.nodes {
        let Some(pod) = &facts.pod else { continue };
        let ends = facts.claim.as_ref().is_some_and(|claim| claim.deleting);
        if let Some(since) = pod.deleting_since {
            terminating(name, facts, pod, since, now, plan);
        } else if ends && in_view(observation, name) {
            let text = format!(
                "{name} does not sleep: its volume claim is being deleted, and its pod is all that \
                 keeps a volume that has every acknowledged write"
            );
            plan.tell("VolumeEnding", true, text);
        } else if situation.end_pods {
            plan.act(delete_pod(name, pod, false), "spec.hibernated is true");
        }
    }
}

fn delete(observation: &Observation, plan: &mut Plan) {
    if observation.cluster.retain_volumes {
        let nodes: Vec<String> = observation
            .nodes
            .iter()
            .filter(|(_, facts)| facts.claim.is_some())
            .map(|(name, _)| name.clone())
            .collect();
        if !nodes.is_empty() {
            plan.act(
                Action::RetainClaims { nodes },
                "storage.deletionPolicy is Retain",
            );
        }
    }
    plan.act(Action::Release, "the cluster is being deleted");
}

/// Whether the recorded view names this pod: then its volume may hold what no other has. So it may
/// while nothing is known to be recorded.
pub(super) fn in_view(observation: &Observation, name: &str) -> bool {
    observation
        .view()
        .is_none_or(|view| view.complete.iter().any(|node| node.name == name))
}

/// A node above `spec.instances`: asked while a view is missing, then let go of.
fn surplus(
    observation: &Observation,
    situation: &Situation,
    name: &str,
    facts: &NodeFacts,
    now: Micros,
    plan: &mut Plan,
) {
    match situation.phase {
        // Its volume may have adopted the highest epoch (V10): it runs until it has been asked.
        Phase::AwaitingNodes | Phase::RecoveryBlocked => {
            if facts.claim.is_some() {
                keep(observation, situation, name, facts, now, plan);
            }
        }
        // What is recorded is not what the nodes live by: nobody knows what is needed.
        Phase::ViewUnknown | Phase::FirstView | Phase::Recovering => {}
        Phase::Hibernating | Phase::Hibernated => remove(observation, situation, name, facts, plan),
        _ if in_view(observation, name) => start_needed(name, facts, plan),
        _ => remove(observation, situation, name, facts, plan),
    }
}

/// A node above `spec.instances` that the view names as complete: others may have lost what it has, so
/// it runs until the view no longer needs it.
fn start_needed(name: &str, facts: &NodeFacts, plan: &mut Plan) {
    let usable = facts
        .claim
        .as_ref()
        .is_some_and(|claim| !claim.deleting && !claim.lost);
    if usable && facts.pod.is_none() {
        plan.act(
            Action::CreatePod {
                node: name.to_owned(),
            },
            "it is above spec.instances, but the view names it as complete",
        );
    }
}

fn keep(
    observation: &Observation,
    situation: &Situation,
    name: &str,
    facts: &NodeFacts,
    now: Micros,
    plan: &mut Plan,
) {
    let node = name.to_owned();
    let Some(claim) = &facts.claim else {
        plan.act(
            Action::CreateClaim { node: node.clone() },
            "the node has no claim",
        );
        if facts.pod.is_none() {
            plan.act(Action::CreatePod { node }, "the node has no pod");
        }
        return;
    };
    if claim.deleting || claim.lost {
        return volumes::volume_ends(observation, situation, name, facts, claim, plan);
    }
    if claim.owned == observation.cluster.retain_volumes {
        plan.act(
            own(name, !claim.owned),
            "storage.deletionPolicy has changed",
        );
    }
    volumes::grow(observation, name, claim, plan);
    let Some(pod) = &facts.pod else {
        plan.act(Action::CreatePod { node }, "the node has no pod");
        return;
    };
    if let Some(since) = pod.deleting_since {
        return terminating(name, facts, pod, since, now, plan);
    }
    if pod.over {
        plan.act(
            delete_pod(name, pod, false),
            "it has ended and will not run again",
        );
        return;
    }
    volumes::refused_volume(observation, situation, name, facts, now, plan);
    lost_host(observation, situation, name, facts, now, plan);
}

/// A pod that is being deleted: its host confirms that it has ended, unless the host is away.
fn terminating(
    name: &str,
    facts: &NodeFacts,
    pod: &PodFacts,
    since: Micros,
    now: Micros,
    plan: &mut Plan,
) {
    let limit = Micros::from_millis(limits::POD_TERMINATING_MAX_MS);
    let away = facts.host_away(now) > Micros(0);
    if away && now.since(since) >= limit {
        let why = "it is being deleted and its host does not answer; by V2 and V3 its process \
                   can acknowledge nothing once it is replaced";
        plan.act(delete_pod(name, pod, true), why);
    } else if away {
        plan.look_when(now.since(since), limit);
    }
}

/// A pod whose host has been gone for `failover.replaceAfterMs`.
fn lost_host(
    observation: &Observation,
    situation: &Situation,
    name: &str,
    facts: &NodeFacts,
    now: Micros,
    plan: &mut Plan,
) {
    let away = facts.host_away(now);
    // A node that still answers is not gone, whatever its host's object says.
    if away == Micros(0) || facts.live().is_some() {
        return;
    }
    if away < observation.cluster.replace_after {
        plan.look_when(away, observation.cluster.replace_after);
        return;
    }
    let Some(pod) = &facts.pod else { return };
    let bound = facts
        .claim
        .as_ref()
        .and_then(|claim| claim.bound_to_host.as_ref());
    let Some(host) = bound else {
        let why = "its host has been away, and its volume can be used elsewhere";
        plan.act(delete_pod(name, pod, true), why);
        return;
    };
    let gone = facts.host_gone();
    // Others hold everything that was acknowledged, and go on: this volume is not needed.
    let spare = matches!(situation.phase, Phase::Healthy) && !in_view(observation, name);
    if let (true, true, Some(claim)) = (gone, spare, &facts.claim) {
        let why = format!("its volume was on host {host}, which is gone; others have everything");
        plan.act(delete_claim(name, claim), why.clone());
        plan.act(delete_pod(name, pod, true), why);
        return;
    }
    let because = if gone {
        "which is gone, but the volume may hold acknowledged writes that are not yet in two places"
    } else {
        "which is not ready, and may come back"
    };
    let text = format!("{name} waits: its volume is on host {host}, {because}");
    plan.tell("WaitsForHost", true, text);
}

/// A node above `spec.instances` goes when no view needs it; its volume only when the nodes live by
/// what is recorded: an object restored from a backup may name others than those that have everything.
fn remove(
    observation: &Observation,
    situation: &Situation,
    name: &str,
    facts: &NodeFacts,
    plan: &mut Plan,
) {
    // It knows of committed entries that the primary lacks (V11): nobody else may have them. That is told.
    let knows_more = facts.live().is_some_and(|report| report.doubts_primary);
    if in_view(observation, name) || knows_more {
        return;
    }
    let settled = matches!(situation.phase, Phase::Healthy | Phase::Alone);
    if let (true, Some(pod)) = (settled, facts.staying_pod()) {
        plan.act(delete_pod(name, pod, false), "it is above spec.instances");
    }
    let delete = settled && !observation.cluster.retain_volumes && facts.pod.is_none();
    let claim = facts.claim.as_ref().filter(|claim| !claim.deleting);
    if let (true, Some(claim)) = (delete, claim) {
        let why = "it is above spec.instances, and storage.deletionPolicy is Delete";
        plan.act(delete_claim(name, claim), why);
    }
}

fn label(observation: &Observation, name: &str, facts: &NodeFacts, plan: &mut Plan) {
    let (Some(view), Some(pod)) = (observation.view(), facts.staying_pod()) else {
        return;
    };
    let role = if view.primary.name == name {
        "primary"
    } else if view.synchronous.iter().any(|node| node.name == name) {
        "synchronous"
    } else {
        "replica"
    };
    if pod.role_label.as_deref() != Some(role) {
        let why = format!("that is its role in epoch {}", view.epoch);
        plan.act(
            Action::LabelPod {
                node: name.to_owned(),
                role,
            },
            why,
        );
    }
}

fn own(name: &str, own: bool) -> Action {
    let node = name.to_owned();
    if own {
        Action::OwnClaim { node }
    } else {
        Action::RetainClaims { nodes: vec![node] }
    }
}

pub(super) fn delete_pod(name: &str, pod: &PodFacts, force: bool) -> Action {
    Action::DeletePod {
        node: name.to_owned(),
        uid: pod.uid.clone(),
        force,
    }
}

pub(super) fn delete_claim(name: &str, claim: &ClaimFacts) -> Action {
    Action::DeleteClaim {
        node: name.to_owned(),
        uid: claim.uid.clone(),
    }
}
