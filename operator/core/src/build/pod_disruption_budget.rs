//! How many nodes a drain may take at a time.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::meta;
use crate::validate::ValidatedCluster;

/// The budget: at least so many pods stay ready. How many is decided anew as the cluster changes, since
/// a number that is right while all work lets a drain take the second while the first is away. A pod
/// that does not work may go when the others do.
#[must_use]
pub fn pod_disruption_budget(cluster: &ValidatedCluster, must_stay: usize) -> PodDisruptionBudget {
    let rest = i32::try_from(must_stay).unwrap_or(i32::MAX);
    PodDisruptionBudget {
        metadata: meta::owned(cluster, cluster.name.clone(), meta::labels(cluster)),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(rest)),
            selector: Some(meta::selector(&cluster.name)),
            unhealthy_pod_eviction_policy: Some("IfHealthyBudget".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
