//! Pods and claims: what is missing, what must be replaced, and what is left alone and why. A claim
//! of a node that may hold the only copy of an acknowledged write is never deleted here.

use standby_core::{Micros, View};

use super::{Action, Phase, Plan, Situation};
use crate::limits;
use crate::observe::{HostFacts, NodeFacts, Observation, PodFacts};

/// Why the primary's pod is the next to be replaced, once it is: its role is handed over first (V8).
/// Every pod that can be replaced without that goes before.
pub(super) fn primary_is_next(observation: &Observation, view: &View) -> Option<String> {
    let name = &view.primary.name;
    let restarts = |name: &str, facts: &NodeFacts| {
        let pod = facts.pod.as_ref();
        pod.is_some_and(|pod| observation.cluster.orders.restarts(name, &pod.uid))
    };
    let others = observation
        .nodes
        .iter()
        .any(|(other, facts)| other != name && restarts(other, facts));
    let it = observation
        .node(name)
        .is_some_and(|facts| restarts(name, facts));
    (it && !others).then(|| format!("a restart of {name} is ordered"))
}

pub(super) fn plan(observation: &Observation, situation: &Situation, now: Micros, plan: &mut Plan) {
    if situation.phase == Phase::Deleting {
        return delete(observation, plan);
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
fn in_view(observation: &Observation, name: &str) -> bool {
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
        _ => remove(observation, situation, name, facts, plan),
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
    match &facts.claim {
        None => plan.act(
            Action::CreateClaim { node: node.clone() },
            "the node has no claim",
        ),
        // Its pod keeps it from going; a new one follows when it is gone.
        Some(claim) if claim.deleting => {
            if in_view(observation, name) {
                let text = format!(
                    "the volume claim of {name} is being deleted; its pod stays until others have \
                     everything"
                );
                plan.tell("VolumeEnding", true, text);
            } else if let Some(pod) = facts.staying_pod() {
                let why = "its claim is being deleted, which waits for the pod";
                plan.act(delete_pod(name, pod, false), why);
            }
            return;
        }
        Some(claim) if claim.owned == observation.cluster.retain_volumes => {
            plan.act(
                own(name, !claim.owned),
                "storage.deletionPolicy has changed",
            );
        }
        Some(_) => {}
    }
    let Some(pod) = &facts.pod else {
        plan.act(Action::CreatePod { node }, "the node has no pod");
        return;
    };
    if let Some(since) = pod.deleting_since {
        let limit = Micros::from_millis(limits::POD_TERMINATING_MAX_MS);
        let away = facts.host_away(now) > Micros(0);
        if away && now.since(since) >= limit {
            let why = "it is being deleted and its host does not answer; by V2 and V3 its process \
                       can acknowledge nothing once it is replaced";
            plan.act(delete_pod(name, pod, true), why);
        } else if away {
            plan.look_when(now.since(since), limit);
        }
        return;
    }
    if pod.over {
        plan.act(
            delete_pod(name, pod, false),
            "it has ended and will not run again",
        );
        return;
    }
    lost_host(observation, situation, name, facts, now, plan);
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
    let gone = matches!(facts.host, HostFacts::Gone(_));
    // Others hold everything that was acknowledged, and go on: this volume is not needed.
    let spare = matches!(situation.phase, Phase::Healthy) && !in_view(observation, name);
    if let (true, true, Some(claim)) = (gone, spare, &facts.claim) {
        let why = format!("its volume was on host {host}, which is gone; others have everything");
        plan.act(
            Action::DeleteClaim {
                node: name.to_owned(),
                uid: claim.uid.clone(),
            },
            why.clone(),
        );
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
    if in_view(observation, name) {
        return;
    }
    if let Some(pod) = facts.staying_pod() {
        plan.act(delete_pod(name, pod, false), "it is above spec.instances");
    }
    let settled = matches!(situation.phase, Phase::Healthy | Phase::Alone);
    let delete = settled && !observation.cluster.retain_volumes && facts.pod.is_none();
    let claim = facts.claim.as_ref().filter(|claim| !claim.deleting);
    if let (true, Some(claim)) = (delete, claim) {
        let why = "it is above spec.instances, and storage.deletionPolicy is Delete";
        plan.act(
            Action::DeleteClaim {
                node: name.to_owned(),
                uid: claim.uid.clone(),
            },
            why,
        );
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

fn delete_pod(name: &str, pod: &PodFacts, force: bool) -> Action {
    Action::DeletePod {
        node: name.to_owned(),
        uid: pod.uid.clone(),
        force,
    }
}
