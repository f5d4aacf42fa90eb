//! What hosts say about whether they take pods. A hint only: the scheduler decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint, Toleration};
use kube::ResourceExt;
use standby_api::SpreadPolicy;
use standby_operator_core::observe::NodeFacts;
use standby_operator_core::validate::ValidatedCluster;

use crate::stores::host_ready;

/// Taints that announce that a host is about to be removed, beside being cordoned.
const TAINTS_OF_REMOVAL: [&str; 4] = [
    "node.kubernetes.io/unschedulable",
    "ToBeDeletedByClusterAutoscaler",
    "karpenter.sh/disrupted",
    "karpenter.sh/disruption",
];
/// Whether a host takes no new pods, because somebody is about to empty it.
#[must_use]
pub fn cordoned(host: &Node) -> bool {
    let Some(spec) = &host.spec else { return false };
    let removal = |taint: &Taint| TAINTS_OF_REMOVAL.contains(&taint.key.as_str());
    spec.unschedulable == Some(true) || spec.taints.iter().flatten().any(removal)
}

/// So many hosts that take pods are remembered: more than a cluster has pods, so one of them is free.
const HOSTS_REMEMBERED_MAX: usize = 32;

/// The hosts that take a cluster's pods, looked for again only when a host or the specification changed.
#[derive(Debug, Default)]
pub struct Room {
    known: Option<Known>,
}

#[derive(Debug)]
struct Known {
    cluster: Arc<ValidatedCluster>,
    version: u64,
    hosts: Vec<String>,
}

impl Room {
    /// Whether a host could take another of the cluster's pods: as far as can be told without being the
    /// scheduler, which also knows what fits. `version` changes with anything that matters of `hosts`.
    #[must_use]
    pub fn left(
        &mut self,
        version: u64,
        hosts: impl FnOnce() -> Vec<Arc<Node>>,
        cluster: &Arc<ValidatedCluster>,
        nodes: &BTreeMap<String, NodeFacts>,
    ) -> bool {
        let current = self
            .known
            .as_ref()
            .is_some_and(|known| known.version == version && Arc::ptr_eq(&known.cluster, cluster));
        if !current {
            self.known = Some(Known {
                cluster: cluster.clone(),
                version,
                hosts: taking(&hosts(), cluster),
            });
        }
        let hosts = self.known.as_ref().map_or(&[][..], |known| &known.hosts);
        if cluster.spread.hosts != SpreadPolicy::Required {
            return !hosts.is_empty();
        }
        let used: BTreeSet<&str> = nodes
            .values()
            .filter_map(|facts| facts.pod.as_ref()?.host.as_deref())
            .collect();
        hosts.iter().any(|host| !used.contains(host.as_str()))
    }
}

/// Hosts that take the cluster's pods.
fn taking(hosts: &[Arc<Node>], cluster: &ValidatedCluster) -> Vec<String> {
    hosts
        .iter()
        .filter(|host| takes_pods(host, cluster))
        .take(HOSTS_REMEMBERED_MAX)
        .map(|host| host.name_any())
        .collect()
}

fn takes_pods(host: &Node, cluster: &ValidatedCluster) -> bool {
    let labels = host.labels();
    let selected = cluster
        .node_selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value));
    let tolerated = |taint: &Taint| {
        taint.effect == "PreferNoSchedule"
            || cluster.tolerations.iter().any(|one| tolerates(one, taint))
    };
    let taints = host.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    host_ready(host) && !cordoned(host) && selected && taints.into_iter().flatten().all(tolerated)
}

pub(super) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or("");
    let key = toleration.key.as_deref().unwrap_or("");
    let exists = toleration.operator.as_deref() == Some("Exists");
    (effect.is_empty() || effect == taint.effect)
        && ((key.is_empty() && exists)
            || (key == taint.key
                && (exists
                    || toleration.value.as_deref().unwrap_or("")
                        == taint.value.as_deref().unwrap_or(""))))
}
