//! How many nodes a drain may take at a time.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::meta;
use crate::validate::ValidatedCluster;

/// The budget: one node at a time. A single node has none, since it would block every drain for ever.
/// A node that is broken anyway never blocks one either: its volume stays.
#[must_use]
pub fn pod_disruption_budget(cluster: &ValidatedCluster) -> Option<PodDisruptionBudget> {
    if cluster.instances < 2 {
        return None;
    }
    let rest = i32::try_from(cluster.instances - 1).unwrap_or(i32::MAX);
    Some(PodDisruptionBudget {
        metadata: meta::owned(cluster, cluster.name.clone(), meta::labels(cluster)),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(rest)),
            selector: Some(meta::selector(&cluster.name)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}
