//! From Kubernetes' objects and the streams to an observation. Reads caches only, and never decides.

mod hosts;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use standby_api::names;
use standby_core::{ClusterId, Micros};
use standby_operator_core::build::{meta, pod::CONTAINER};
use standby_operator_core::observe::{ClaimFacts, Container, HostFacts, NodeFacts, PodFacts};
use standby_operator_core::validate::bytes;

use crate::context::{Context, Key};
use crate::stores::host_ready;

pub use hosts::{Room, cordoned};

/// The label of a host that names its zone.
const LABEL_ZONE: &str = "topology.kubernetes.io/zone";
/// The annotation of a claim that names the host its volume was put on.
const ANNOTATION_SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// The most of Kubernetes' own words about a pod that is taken over, in characters.
const WORDS_MAX: usize = 300;

/// What was looked up about volumes. It does not change while they live.
#[derive(Debug, Default)]
pub struct Volumes {
    /// On which host a volume can be used: none for volumes that can move.
    pub hosts: BTreeMap<String, Option<String>>,
    /// Whether the volumes of a storage class can grow.
    pub expandable: BTreeMap<String, bool>,
}

/// When something was first seen: Kubernetes' own times are on other clocks.
#[derive(Debug, Default)]
pub struct FirstSeen(BTreeMap<String, Micros>);

impl FirstSeen {
    fn since(&mut self, what: String, now: Micros) -> Micros {
        *self.0.entry(what).or_insert(now)
    }

    fn over(&mut self, what: &str) {
        self.0.remove(what);
    }

    /// Forgets pods that are no more.
    fn keep_pods(&mut self, uids: &BTreeSet<&str>) {
        self.0.retain(|what, _| {
            let uid = what
                .strip_prefix("pod/")
                .or_else(|| what.strip_prefix("deleting/"));
            uid.is_none_or(|uid| uids.contains(uid))
        });
    }
}

/// The identity on volumes that an earlier cluster of this name left behind (V10).
#[must_use]
pub fn adopted_id(context: &Context, key: &Key, uid: &str) -> Option<ClusterId> {
    let mut ids: Vec<String> = context
        .stores
        .claims(key)
        .iter()
        .filter(|claim| meta::serial_of(&key.name, &claim.name_any()).is_some())
        // Those that go with an earlier resource are not left behind.
        .filter(|claim| owner(claim).is_none_or(|owner| owner == uid))
        .filter_map(|claim| {
            claim
                .annotations()
                .get(names::ANNOTATION_CLUSTER_ID)
                .cloned()
        })
        .collect();
    ids.sort();
    ids.dedup();
    // Volumes of two clusters: neither identity is taken; the nodes of the other one say so.
    if ids.len() == 1 {
        ids.pop().map(ClusterId)
    } else {
        None
    }
}

/// The highest serial number of a pod or claim there is; zero when there is none.
#[must_use]
pub fn highest_serial(context: &Context, key: &Key) -> u32 {
    let claims = context.stores.claims(key);
    let pods = context.stores.pods(key);
    let names = claims.iter().map(|claim| claim.name_any());
    names
        .chain(pods.iter().map(|pod| pod.name_any()))
        .filter_map(|name| meta::serial_of(&key.name, &name))
        .max()
        .unwrap_or_default()
}

/// Every node there is or should be, without streams.
pub fn nodes(
    context: &Context,
    key: &Key,
    uid: &str,
    volumes: &Volumes,
    seen: &mut FirstSeen,
    now: Micros,
) -> BTreeMap<String, NodeFacts> {
    let mut nodes: BTreeMap<String, NodeFacts> = BTreeMap::new();
    for claim in context.stores.claims(key) {
        let name = claim.name_any();
        if meta::serial_of(&key.name, &name).is_some() {
            let mut facts = claim_facts(&claim, uid, volumes);
            let home = facts.bound_to_host.as_deref();
            let object = home.and_then(|home| context.stores.host_called(home));
            facts.home = host_facts(home, object.as_deref(), seen, now);
            nodes.entry(name).or_default().claim = Some(facts);
        }
    }
    for pod in context.stores.pods(key) {
        let name = pod.name_any();
        if meta::serial_of(&key.name, &name).is_none() {
            continue;
        }
        let host = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let object = host.as_ref().and_then(|host| context.stores.host(host));
        let facts = nodes.entry(name).or_default();
        facts.host = host_facts(host.as_deref(), object.as_deref(), seen, now);
        let mut pod = pod_facts(&pod, seen, now);
        pod.cordoned = object.as_deref().is_some_and(cordoned);
        pod.zone = object.and_then(|host| host.labels().get(LABEL_ZONE).cloned());
        facts.pod = Some(pod);
    }
    let pods = nodes.values().filter_map(|facts| facts.pod.as_ref());
    let uids: BTreeSet<&str> = pods.map(|pod| pod.uid.as_str()).collect();
    seen.keep_pods(&uids);
    nodes
}

/// The cluster's resource that a claim goes with, by its identity.
fn owner(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim
        .owner_references()
        .iter()
        .find(|owner| owner.kind == "StandbyCluster")
        .map(|owner| owner.uid.as_str())
}

fn claim_facts(claim: &PersistentVolumeClaim, uid: &str, volumes: &Volumes) -> ClaimFacts {
    let volume = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_name.as_ref());
    // Until the volume has been looked at, the host it was put on counts as the only one.
    let selected = || claim.annotations().get(ANNOTATION_SELECTED_NODE).cloned();
    let bound_to_host = volume
        .and_then(|volume| volumes.hosts.get(volume))
        .cloned()
        .unwrap_or_else(selected);
    let owner = owner(claim);
    ClaimFacts {
        uid: claim.uid().unwrap_or_default(),
        // Kubernetes is about to collect what belonged to an earlier resource of this name.
        deleting: claim.metadata.deletion_timestamp.is_some()
            || owner.is_some_and(|owner| owner != uid),
        owned: owner == Some(uid),
        bound_to_host,
        home: HostFacts::Unknown,
        lost: claim
            .status
            .as_ref()
            .is_some_and(|status| status.phase.as_deref() == Some("Lost")),
        requested_bytes: requested_bytes(claim).unwrap_or_default(),
        expandable: class_of(claim)
            .map_or(Some(false), |class| volumes.expandable.get(class).copied()),
        grows_when_mounted: condition(claim, "FileSystemResizePending"),
    }
}

/// The storage class of a claim; none when its volume was made by hand.
#[must_use]
pub fn class_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    let class = claim.spec.as_ref()?.storage_class_name.as_deref()?;
    (!class.is_empty()).then_some(class)
}

fn requested_bytes(claim: &PersistentVolumeClaim) -> Option<u64> {
    let resources = claim.spec.as_ref()?.resources.as_ref()?;
    bytes(resources.requests.as_ref()?.get("storage")?)
}

fn condition(claim: &PersistentVolumeClaim, kind: &str) -> bool {
    let status = claim.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == kind && condition.status == "True")
}

fn host_facts(
    name: Option<&str>,
    host: Option<&Node>,
    seen: &mut FirstSeen,
    now: Micros,
) -> HostFacts {
    let Some(name) = name else {
        return HostFacts::Unknown;
    };
    let (away, gone) = (format!("away/{name}"), format!("gone/{name}"));
    match host {
        None => {
            seen.over(&away);
            HostFacts::Gone(seen.since(gone, now))
        }
        Some(host) if !host_ready(host) => {
            seen.over(&gone);
            HostFacts::NotReady(seen.since(away, now))
        }
        Some(_) => {
            seen.over(&away);
            seen.over(&gone);
            HostFacts::Ready
        }
    }
}

fn pod_facts(pod: &Pod, seen: &mut FirstSeen, now: Micros) -> PodFacts {
    let uid = pod.uid().unwrap_or_default();
    let status = pod.status.as_ref();
    let phase = status
        .and_then(|status| status.phase.as_deref())
        .unwrap_or("");
    let ready = status
        .and_then(|status| status.conditions.as_ref())
        .is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
    let deleting = pod.metadata.deletion_timestamp.is_some();
    PodFacts {
        ip: status
            .and_then(|status| status.pod_ip.clone())
            .filter(|ip| !ip.is_empty()),
        host: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        zone: None,
        over: matches!(phase, "Failed" | "Succeeded"),
        container: container(pod),
        deleting_since: deleting.then(|| seen.since(format!("deleting/{uid}"), now)),
        ready,
        role_label: pod.labels().get(names::LABEL_ROLE).cloned(),
        built_from: pod.annotations().get(names::ANNOTATION_BUILT_FROM).cloned(),
        cordoned: false,
        since: seen.since(format!("pod/{uid}"), now),
        waits: waits(pod),
        uid,
    }
}

/// Why a pod does not run yet, in Kubernetes' words: it finds no host, or its container waits for
/// something that does not come by itself.
fn waits(pod: &Pod) -> String {
    let Some(status) = &pod.status else {
        return String::new();
    };
    let unplaced = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    let waiting = status
        .container_statuses
        .iter()
        .flatten()
        .find(|container| container.name == CONTAINER)
        .and_then(|container| container.state.as_ref()?.waiting.as_ref());
    let (reason, message) = match (unplaced, waiting) {
        (Some(condition), _) => (condition.reason.as_deref(), condition.message.as_deref()),
        (None, Some(waiting)) if waiting.reason.as_deref() != Some("ContainerCreating") => {
            (waiting.reason.as_deref(), waiting.message.as_deref())
        }
        _ => return String::new(),
    };
    let parts: Vec<&str> = [reason, message].into_iter().flatten().collect();
    parts.join(": ").chars().take(WORDS_MAX).collect()
}

fn container(pod: &Pod) -> Container {
    let Some(status) = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref())
        .and_then(|all| all.iter().find(|status| status.name == CONTAINER))
    else {
        return Container::default();
    };
    let mut facts = Container::default();
    let both = [status.state.as_ref(), status.last_state.as_ref()];
    let ended: BTreeSet<String> = both
        .iter()
        .filter_map(|state| state.as_ref()?.terminated.as_ref()?.container_id.clone())
        .collect();
    facts.terminated = ended;
    if let Some(state) = &status.state {
        if state.running.is_some() {
            facts.running.clone_from(&status.container_id);
        }
        let last = status
            .last_state
            .as_ref()
            .and_then(|last| last.terminated.as_ref());
        // Between two runs the kubelet shows `waiting`, and the ended one as the last.
        let waits = state.waiting.is_some().then_some(last).flatten();
        if let Some(end) = state.terminated.as_ref().or(waits) {
            facts.ended = true;
            let reason = end.reason.as_deref().unwrap_or("ended");
            facts.ended_why = format!("{reason}, exit code {}", end.exit_code);
        }
    }
    facts
}
