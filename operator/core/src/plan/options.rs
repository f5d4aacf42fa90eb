//! What a person can do when the operator cannot go on, what each of it would cost, and the command. Only
//! words: nothing is decided here.

use standby_api::names;
use standby_core::View;

use super::{Phase, Recovery, Situation, consent};
use crate::candidate;
use crate::judge::FailureReason;
use crate::memory::Memory;
use crate::observe::{NodeFacts, NodeRole, Observation};

/// One thing a person can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// One word: restart, wait, promote, unfence, acceptDataLoss or acceptRecovery.
    pub action: &'static str,
    /// The pod it is about.
    pub node: Option<String>,
    /// What it would cost.
    pub cost: String,
    /// The highest index that it may lose.
    pub loses_up_to: Option<u64>,
    /// The epoch that the order must name.
    pub epoch: Option<u64>,
    /// The command.
    pub command: Option<String>,
}

/// What can be done now; empty while nobody is needed.
pub(super) fn options(
    observation: &Observation,
    memory: &Memory,
    situation: &Situation,
) -> Vec<Choice> {
    let mut choices = Vec::new();
    match (situation.phase, observation.view()) {
        (Phase::RecoveryBlocked, _) => recovery(observation, situation, &mut choices),
        (Phase::AwaitingPerson | Phase::FailoverBlocked | Phase::GaveUp, Some(view)) => {
            without_loss(observation, situation, view, &mut choices);
            with_loss(observation, memory, view, &mut choices);
        }
        // Nobody but the primary has everything, and the operator alone has lost it.
        (Phase::Suspected, Some(view)) if view.alone => {
            without_loss(observation, situation, view, &mut choices);
            with_loss(observation, memory, view, &mut choices);
        }
        (Phase::Suspected, Some(view)) => out_of_sight(observation, view, &mut choices),
        _ => {}
    }
    choices.truncate(names::OPTIONS_MAX);
    choices
}

fn annotate(observation: &Observation, annotation: &str, value: &str) -> String {
    let cluster = &observation.cluster;
    format!(
        "kubectl annotate standbycluster {} -n {} --overwrite {annotation}='{value}'",
        cluster.name, cluster.namespace
    )
}

fn without_loss(
    observation: &Observation,
    situation: &Situation,
    view: &View,
    choices: &mut Vec<Choice>,
) {
    let epoch = Some(view.epoch.0);
    for node in candidate::promotable(observation, view, false) {
        let order = format!("{}@{}", node.name, view.epoch);
        choices.push(Choice {
            action: "promote",
            cost: "loses nothing; writes go again within about a second".into(),
            loses_up_to: None,
            epoch,
            command: Some(annotate(observation, names::ANNOTATION_PROMOTE, &order)),
            node: Some(node.name),
        });
    }
    for node in &view.complete {
        let name = &node.name;
        if observation.cluster.orders.fences(name) {
            choices.push(Choice {
                action: "unfence",
                node: Some(name.clone()),
                cost: "loses nothing; it has every acknowledged write".into(),
                loses_up_to: None,
                epoch: None,
                command: Some(annotate(observation, names::ANNOTATION_FENCE, "")),
            });
        } else if observation.live(node).is_none() {
            choices.push(comes_back(observation, situation, view, name));
        }
    }
}

/// A node that has everything and cannot be reached.
fn comes_back(observation: &Observation, situation: &Situation, view: &View, name: &str) -> Choice {
    let pod = observation.node(name).and_then(|facts| facts.pod.as_ref());
    let host = pod.and_then(|pod| pod.host.as_deref());
    let volume = "loses nothing, if its volume is intact; writes wait until it is back";
    let primary = view.primary.name == name;
    let failed = situation.failure.as_ref().map(|failure| failure.reason);
    let stuck = failed == Some(FailureReason::Unreachable) || failed.is_none();
    Choice {
        action: if primary { "restart" } else { "wait" },
        node: Some(name.to_owned()),
        cost: match host {
            Some(host) if stuck => format!("bring {name} back (host {host}): {volume}"),
            _ => format!("bring {name} back: {volume}"),
        },
        loses_up_to: None,
        epoch: None,
        command: pod.map(|_| {
            format!(
                "kubectl delete pod {name} -n {}",
                observation.cluster.namespace
            )
        }),
    }
}

/// The operator hears neither the primary nor anybody who could say how it is. Whether writes go on is not
/// known here, so nothing is offered that could lose any.
fn out_of_sight(observation: &Observation, view: &View, choices: &mut Vec<Choice>) {
    let heard = |node| observation.live(node).is_some();
    if view.synchronous.iter().any(heard) {
        return;
    }
    let primary = &view.primary.name;
    let place = |name: &str| {
        let pod = observation.node(name).and_then(|facts| facts.pod.as_ref());
        let host = pod.and_then(|pod| pod.host.as_deref());
        host.map_or_else(|| name.to_owned(), |host| format!("{name} (host {host})"))
    };
    let choice = |action, name: &str, cost| Choice {
        action,
        node: Some(name.to_owned()),
        cost,
        loses_up_to: None,
        epoch: None,
        command: None,
    };
    for node in &view.synchronous {
        let cost = format!(
            "let {} be reached again: loses nothing; it has every acknowledged write and takes over at \
             once if {primary} has failed",
            place(&node.name)
        );
        choices.push(choice("wait", &node.name, cost));
    }
    let cost = format!(
        "let {} be reached again: loses nothing; if it works, writes go on meanwhile",
        place(primary)
    );
    choices.push(choice("wait", primary, cost));
    let cost = format!(
        "end {primary} for certain: loses nothing, if its volume is intact; if it still works, writes \
         stop until it or another node with every acknowledged write is back; what going on without \
         them costs is told then"
    );
    choices.push(Choice {
        command: Some(format!(
            "kubectl delete pod {primary} -n {}",
            observation.cluster.namespace
        )),
        ..choice("restart", primary, cost)
    });
}

fn with_loss(observation: &Observation, memory: &Memory, view: &View, choices: &mut Vec<Choice>) {
    let highest = consent::at_risk(observation, memory, view);
    for report in consent::lacking(observation, view) {
        let name = &report.node.name;
        let entries = highest.0.saturating_sub(report.last.index.0);
        let json = format!(
            r#"{{"cluster":"{}","epoch":{},"node":"{name}","losesUpTo":{highest},"by":"YOUR NAME","why":"THE REASON"}}"#,
            consent::cluster_named(observation),
            view.epoch
        );
        choices.push(Choice {
            action: "acceptDataLoss",
            node: Some(name.clone()),
            cost: format!(
                "LOSES up to {entries} acknowledged entries, as far as is known: {name} ends at {}, \
                 and {highest} may have been acknowledged",
                report.last.index
            ),
            loses_up_to: Some(highest.0),
            epoch: Some(view.epoch.0),
            command: Some(annotate(
                observation,
                names::ANNOTATION_ACCEPT_DATA_LOSS,
                &json,
            )),
        });
    }
}

/// Nodes live by something later than is recorded, and somebody cannot be asked (V10).
fn recovery(observation: &Observation, situation: &Situation, choices: &mut Vec<Choice>) {
    for (name, facts) in &observation.nodes {
        if facts.live().is_none() {
            choices.push(Choice {
                action: "wait",
                node: Some(name.clone()),
                cost: format!(
                    "bring {name} back, so that it can be asked: loses nothing; writes go on meanwhile \
                     where the primary works"
                ),
                loses_up_to: None,
                epoch: None,
                command: None,
            });
        }
    }
    let Some((highest, recovery)) = &situation.recover else {
        return;
    };
    let serving = observation
        .live(&highest.primary)
        .is_some_and(|report| report.role == NodeRole::Primary);
    let accepted = recovery.loses_up_to;
    let json = format!(
        r#"{{"cluster":"{}","epoch":{},{}"by":"YOUR NAME","why":"THE REASON"}}"#,
        consent::cluster_named(observation),
        highest.epoch,
        accepted.map_or_else(String::new, |index| format!(r#""losesUpTo":{index},"#)),
    );
    let silent: Vec<&str> = observation
        .nodes
        .iter()
        .filter(|(_, facts)| NodeFacts::live(facts).is_none())
        .map(|(name, _)| name.as_str())
        .collect();
    choices.push(Choice {
        action: "acceptRecovery",
        node: situation.promote.as_ref().map(|node| node.name.clone()),
        cost: format!(
            "{}MAY LOSE what was acknowledged after epoch {} by nodes that cannot be asked ({}){}",
            incomplete(observation, situation, recovery),
            highest.epoch,
            silent.join(", "),
            if serving {
                "; the primary that works now goes on"
            } else {
                ""
            }
        ),
        loses_up_to: accepted.map(|index| index.0),
        epoch: Some(highest.epoch.0),
        command: Some(annotate(
            observation,
            names::ANNOTATION_ACCEPT_RECOVERY,
            &json,
        )),
    });
}

/// What goes for certain when nobody who can go on has every acknowledged write.
fn incomplete(observation: &Observation, situation: &Situation, recovery: &Recovery) -> String {
    let (Some(highest), Some(heir)) = (recovery.loses_up_to, &situation.promote) else {
        return String::new();
    };
    let ends = observation.live(heir).map(|report| report.last.index);
    let ends = ends.unwrap_or_default();
    format!(
        "LOSES up to {} acknowledged entries, as far as is known: {} ends at {ends}, and {highest} may have \
         been acknowledged; and ",
        highest.0.saturating_sub(ends.0),
        heir.name
    )
}
