//! What a verb changes on the `StandbyCluster`: orders as annotations, and the few fields of the
//! specification that a verb stands for.
//!
//! Pure: from the cluster as it was read and what the person said to a patch, or to a refusal that
//! says why. Whether an order is safe is decided by the operator; what is refused here is what the
//! status already says would not do what the person means.

mod consent;
mod goal;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use serde_json::{Map, Value, json};
use standby_api::{Durability, NodeStatus, StandbyCluster, StandbyClusterStatus, names};

use crate::document::{fenced, is_paused, listed};
use crate::error::{Error, Result};

pub use consent::{REASON_LENGTH_MAX, command};
pub use goal::{Goal, Progress, progress};

/// What a person ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Another primary, without loss.
    Switchover {
        /// Who; none: the best.
        to: Option<String>,
    },
    /// This primary.
    Promote {
        /// Who.
        node: String,
        /// Consent to lose what the node lacks.
        loss: Option<Loss>,
    },
    /// Continue a lost view without the word of some node.
    Recover {
        /// Who consents, and why.
        consent: Consent,
        /// The highest index that may be lost.
        loses_up_to: Option<i64>,
    },
    /// These nodes get no role.
    Fence {
        /// Who.
        nodes: Vec<String>,
        /// Writes may stop by it.
        stop_writes: bool,
    },
    /// These nodes may have a role again.
    Unfence {
        /// Who; none: all.
        nodes: Option<Vec<String>>,
    },
    /// These pods are replaced.
    Restart {
        /// Who; none: all.
        nodes: Option<Vec<String>>,
        /// The pods there are.
        pods: Vec<PodIdentity>,
    },
    /// Change nothing, or change again.
    Pause(bool),
    /// Sleep, or wake up.
    Hibernate(bool),
}

/// A pod that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodIdentity {
    /// Its name.
    pub name: String,
    /// Its identity: another pod of the same name has another.
    pub uid: String,
}

/// Who consents, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// The cluster as the person named it once more.
    pub confirm: String,
    /// Who the API server says it is.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Consent to lose acknowledged writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Who and why.
    pub consent: Consent,
    /// The highest index that may be lost.
    pub loses_up_to: i64,
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The verb.
    pub verb: &'static str,
    /// Annotations to set, or to remove.
    pub annotations: BTreeMap<&'static str, Option<String>>,
    /// `spec.hibernated`, where that is changed.
    pub hibernated: Option<bool>,
    /// What is ordered, in words.
    pub message: String,
    /// What the person should know about it.
    pub notes: Vec<String>,
    /// When it is done.
    pub goal: Goal,
}

impl Change {
    fn new(verb: &'static str, message: String, goal: Goal) -> Self {
        Self {
            verb,
            annotations: BTreeMap::new(),
            hibernated: None,
            message,
            notes: Vec::new(),
            goal,
        }
    }

    fn annotate(mut self, name: &'static str, value: Option<String>) -> Self {
        self.annotations.insert(name, value);
        self
    }

    fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// The merge patch, which holds for this version of the cluster only; none when nothing is to be
    /// changed.
    #[must_use]
    pub fn patch(&self, resource_version: Option<&str>) -> Option<Value> {
        if self.annotations.is_empty() && self.hibernated.is_none() {
            return None;
        }
        let mut metadata = Map::new();
        if !self.annotations.is_empty() {
            metadata.insert("annotations".into(), json!(self.annotations));
        }
        if let Some(version) = resource_version {
            metadata.insert("resourceVersion".into(), json!(version));
        }
        let mut patch = json!({ "metadata": metadata });
        if let Some(hibernated) = self.hibernated {
            patch["spec"] = json!({ "hibernated": hibernated });
        }
        Some(patch)
    }
}

/// What an order changes on this cluster.
pub fn change(cluster: &StandbyCluster, order: &Order) -> Result<Change> {
    match order {
        Order::Switchover { to } => switchover(cluster, to.as_deref()),
        Order::Promote { node, loss: None } => consent::promote(cluster, node),
        Order::Promote {
            node,
            loss: Some(loss),
        } => consent::promote_with_loss(cluster, node, loss),
        Order::Recover {
            consent,
            loses_up_to,
        } => consent::recover(cluster, consent, *loses_up_to),
        Order::Fence { nodes, stop_writes } => fence(cluster, nodes, *stop_writes),
        Order::Unfence { nodes } => unfence(cluster, nodes.as_deref()),
        Order::Restart { nodes, pods } => restart(cluster, nodes.as_deref(), pods),
        Order::Pause(on) => Ok(pause(cluster, *on)),
        Order::Hibernate(on) => Ok(hibernate(cluster, *on)),
    }
}

/// The cluster whose nodes these are: pods are named `<cluster>-<serial>`.
pub fn cluster_of(nodes: &[String]) -> Result<String> {
    let mut clusters = BTreeSet::new();
    for node in nodes {
        let parts = node.rsplit_once('-');
        let named = parts.filter(|(cluster, serial)| {
            !cluster.is_empty() && !serial.is_empty() && serial.chars().all(|c| c.is_ascii_digit())
        });
        let (cluster, _) = named.ok_or_else(|| {
            Error::Usage(format!("{node:?} is no node: nodes are pods such as db-1"))
        })?;
        clusters.insert(cluster.to_owned());
    }
    let found: Vec<String> = clusters.into_iter().collect();
    match <[String; 1]>::try_from(found) {
        Ok([cluster]) => Ok(cluster),
        Err(several) => Err(Error::Usage(format!(
            "the nodes must belong to one cluster, these are of {}",
            several.join(", ")
        ))),
    }
}

fn switchover(cluster: &StandbyCluster, to: Option<&str>) -> Result<Change> {
    let status = awake(cluster, "switched over")?;
    let epoch = epoch(cluster, status)?;
    let target = to.unwrap_or(names::SWITCHOVER_ANY);
    let value = format!("{target}@{epoch}");
    let goal = Goal::answer(names::ANNOTATION_SWITCHOVER, &value);
    let from = status.primary.as_deref().unwrap_or("nobody");
    let Some(node) = to else {
        let message = format!(
            "{from} hands over to the best node, in epoch {epoch}, without losing anything"
        );
        return Ok(Change::new("switchover", message, goal)
            .annotate(names::ANNOTATION_SWITCHOVER, Some(value)));
    };
    let row = node_of(cluster, status, node)?;
    if status.primary.as_deref() == Some(node) {
        let message = format!("{node} is primary already");
        return Ok(Change::new("switchover", message, Goal::Nothing));
    }
    let message = format!("{from} hands over to {node}, in epoch {epoch}, without losing anything");
    let mut change = Change::new("switchover", message, goal)
        .annotate(names::ANNOTATION_SWITCHOVER, Some(value));
    if !row.promotable {
        change = change.note(format!(
            "{node} could not be promoted at once ({}): the operator says whether it can get it there",
            row.promotable_reason
        ));
    }
    Ok(change)
}

fn fence(cluster: &StandbyCluster, nodes: &[String], stop_writes: bool) -> Result<Change> {
    let status = status_of(cluster)?;
    let mut all: BTreeSet<String> = fenced(cluster).into_iter().collect();
    let new: Vec<String> = nodes
        .iter()
        .filter(|node| !all.contains(*node))
        .cloned()
        .collect();
    if new.is_empty() {
        let message = format!("{} fenced already", are(nodes));
        return Ok(Change::new("fence", message, Goal::Nothing));
    }
    for node in &new {
        node_of(cluster, status, node)?;
    }
    all.extend(new.iter().cloned());
    let stops = stops_writes(cluster, status, &all);
    if let Some(why) = &stops
        && !stop_writes
    {
        return Err(Error::Refused {
            why: format!("writes would stop: {why}"),
            instead: Some(
                "make another node healthy first, or say --stop-writes if that is what you want"
                    .into(),
            ),
        });
    }
    let value = all.into_iter().collect::<Vec<_>>().join(",");
    let message = format!(
        "{} fenced: no role, and out of the read Services",
        are(&new)
    );
    let goal = Goal::Relieved {
        nodes: new.clone(),
        value: value.clone(),
    };
    let mut change =
        Change::new("fence", message, goal).annotate(names::ANNOTATION_FENCE, Some(value));
    if let Some(why) = stops {
        change = change.note(format!("writes stop: {why}"));
    } else if let Some(primary) = status.primary.as_ref().filter(|name| new.contains(name)) {
        change = change.note(format!("{primary} is primary: it hands over first"));
    }
    Ok(change)
}

/// Why nothing could be written with all these nodes fenced, as far as the status tells.
fn stops_writes(
    cluster: &StandbyCluster,
    status: &StandbyClusterStatus,
    fenced: &BTreeSet<String>,
) -> Option<String> {
    let primary = status.primary.as_ref()?;
    let free = |node: &&NodeStatus| !fenced.contains(&node.name) && node.name != *primary;
    if fenced.contains(primary) {
        let heirs = status.nodes.iter().filter(free).any(|node| node.promotable);
        return (!heirs)
            .then(|| format!("{primary} is primary, and nobody could take over from it"));
    }
    let followers = status.nodes.iter().filter(free).any(|node| node.healthy);
    (!followers && cluster.spec.durability == Durability::Strict)
        .then(|| format!("no healthy node would be left that can be synchronous beside {primary}"))
}

fn unfence(cluster: &StandbyCluster, nodes: Option<&[String]>) -> Result<Change> {
    let is = fenced(cluster);
    let (freed, left): (Vec<String>, Vec<String>) = is
        .into_iter()
        .partition(|node| nodes.is_none_or(|nodes| nodes.contains(node)));
    if freed.is_empty() {
        let message = match nodes {
            Some(nodes) => format!("{} not fenced", are(nodes)),
            None => "no node is fenced".to_owned(),
        };
        if let Some(nodes) = nodes {
            let status = status_of(cluster)?;
            for node in nodes {
                node_of(cluster, status, node)?;
            }
        }
        return Ok(Change::new("unfence", message, Goal::Nothing));
    }
    let message = format!("{} not fenced any more", are(&freed));
    let value = (!left.is_empty()).then(|| left.join(","));
    Ok(Change::new("unfence", message, Goal::Nothing).annotate(names::ANNOTATION_FENCE, value))
}

fn restart(
    cluster: &StandbyCluster,
    nodes: Option<&[String]>,
    pods: &[PodIdentity],
) -> Result<Change> {
    let status = awake(cluster, "restarted")?;
    let chosen: Vec<&PodIdentity> = match nodes {
        None => pods.iter().collect(),
        Some(nodes) => nodes
            .iter()
            .map(|node| {
                let pod = pods.iter().find(|pod| pod.name == *node);
                pod.ok_or_else(|| Error::Node {
                    cluster: full_name(cluster),
                    given: node.clone(),
                    found: pods.iter().map(|pod| pod.name.clone()).collect(),
                })
            })
            .collect::<Result<_>>()?,
    };
    if chosen.is_empty() {
        let message = "there is no pod to restart".to_owned();
        return Ok(Change::new("restart", message, Goal::Nothing));
    }
    let entry = |pod: &PodIdentity| format!("{}@{}", pod.name, pod.uid);
    // What was ordered before and is not done yet stays ordered.
    let waiting = listed(cluster, names::ANNOTATION_RESTART)
        .into_iter()
        .filter(|order| pods.iter().any(|pod| entry(pod) == *order));
    let all: BTreeSet<String> = chosen.iter().map(|pod| entry(pod)).chain(waiting).collect();
    let value = all.into_iter().collect::<Vec<_>>().join(",");
    let names: Vec<String> = chosen.iter().map(|pod| pod.name.clone()).collect();
    let message = match names.as_slice() {
        [one] => format!("the pod of {one} is replaced"),
        _ => format!("{} replaced one at a time, the primary last", are(&names)),
    };
    let goal = Goal::Replaced {
        value: value.clone(),
    };
    let mut change =
        Change::new("restart", message, goal).annotate(names::ANNOTATION_RESTART, Some(value));
    if let Some(primary) = status.primary.as_ref().filter(|name| names.contains(name)) {
        change = change.note(format!("{primary} is primary: it hands over first"));
    }
    Ok(change)
}

fn pause(cluster: &StandbyCluster, on: bool) -> Change {
    let verb = if on { "pause" } else { "resume" };
    if is_paused(cluster) == on {
        let message = if on { "paused already" } else { "not paused" };
        return Change::new(verb, message.into(), Goal::Nothing);
    }
    let value = on.then(|| "true".to_owned());
    let message = if on {
        "paused: the operator watches and reports, and changes nothing"
    } else {
        "not paused any more: the operator goes on"
    };
    let change = Change::new(verb, message.into(), Goal::Paused(on))
        .annotate(names::ANNOTATION_PAUSED, value);
    if on {
        change.note("there is no failover while it lasts")
    } else {
        change
    }
}

fn hibernate(cluster: &StandbyCluster, on: bool) -> Change {
    let verb = if on { "hibernate" } else { "wake" };
    if cluster.spec.hibernated == on {
        let message = if on {
            "hibernated already"
        } else {
            "not hibernated"
        };
        return Change::new(verb, message.into(), Goal::Nothing);
    }
    let message = if on {
        "hibernated: every node is stopped, the volumes stay"
    } else {
        "awake: the nodes are started with the volumes they had"
    };
    let mut change = Change::new(verb, message.into(), Goal::Asleep(on));
    change.hibernated = Some(on);
    if on {
        change = change.note("nothing can be written or read until `kubectl standby wake`");
    }
    if is_paused(cluster) {
        change =
            change.note("the cluster is paused: nothing happens before `kubectl standby resume`");
    }
    change
}

fn status_of(cluster: &StandbyCluster) -> Result<&StandbyClusterStatus> {
    cluster.status.as_ref().ok_or_else(|| Error::Refused {
        why: format!("the operator has not looked at {} yet", full_name(cluster)),
        instead: Some("see whether an operator runs, and `kubectl standby status`".into()),
    })
}

/// The status of a cluster whose operator carries out orders.
fn awake<'a>(cluster: &'a StandbyCluster, what: &str) -> Result<&'a StandbyClusterStatus> {
    let refused = |why: String, instead: &str| Error::Refused {
        why,
        instead: Some(instead.into()),
    };
    if is_paused(cluster) {
        let why = format!("a paused cluster is not {what}");
        return Err(refused(why, "`kubectl standby resume` first"));
    }
    if cluster.spec.hibernated {
        let why = format!("a hibernated cluster is not {what}");
        return Err(refused(why, "`kubectl standby wake` first"));
    }
    status_of(cluster)
}

fn epoch(cluster: &StandbyCluster, status: &StandbyClusterStatus) -> Result<i64> {
    status.epoch.ok_or_else(|| Error::Refused {
        why: format!(
            "{} has no recorded view yet ({})",
            full_name(cluster),
            status.phase.as_deref().unwrap_or("no phase is reported")
        ),
        instead: Some("`kubectl standby why` says what it waits for".into()),
    })
}

fn node_of<'a>(
    cluster: &StandbyCluster,
    status: &'a StandbyClusterStatus,
    node: &str,
) -> Result<&'a NodeStatus> {
    let row = status.nodes.iter().find(|row| row.name == node);
    row.ok_or_else(|| Error::Node {
        cluster: full_name(cluster),
        given: node.to_owned(),
        found: status.nodes.iter().map(|row| row.name.clone()).collect(),
    })
}

fn full_name(cluster: &StandbyCluster) -> String {
    format!(
        "{}/{}",
        cluster.namespace().unwrap_or_default(),
        cluster.name_any()
    )
}

/// `db-1 is`, or `db-1 and db-2 are`.
fn are(nodes: &[String]) -> String {
    match nodes {
        [one] => format!("{one} is"),
        [rest @ .., last] => format!("{} and {last} are", rest.join(", ")),
        [] => "nobody is".to_owned(),
    }
}
