//! From the checked specification to what the planner needs of it.

use standby_api::{Durability, FailoverMode};

use crate::detect::Thresholds;
use crate::observe::{ClusterFacts, PromoteRequest};
use crate::validate::ValidatedCluster;

/// The names of the pods there should be, in order of their serials.
#[must_use]
pub fn wanted(cluster: &ValidatedCluster) -> Vec<String> {
    (1..=cluster.instances)
        .map(|serial| format!("{}-{serial}", cluster.name))
        .collect()
}

/// The serial in a pod's name, if it is one of the cluster's.
#[must_use]
pub fn serial(cluster: &str, pod: &str) -> Option<u32> {
    let serial = pod.strip_prefix(cluster)?.strip_prefix('-')?;
    let number: u32 = serial.parse().ok()?;
    // `db-01` and `db-0` are nobody's.
    (number > 0 && serial == number.to_string()).then_some(number)
}

/// What the planner needs of a cluster.
#[must_use]
pub fn cluster_facts(
    cluster: &ValidatedCluster,
    deleting: bool,
    promote: Option<PromoteRequest>,
) -> ClusterFacts {
    ClusterFacts {
        name: cluster.name.clone(),
        namespace: cluster.namespace.clone(),
        id: cluster.id.clone(),
        generation: cluster.generation,
        wanted: wanted(cluster),
        deleting,
        retain_volumes: cluster.storage.retain,
        may_go_alone: cluster.durability == Durability::Available,
        automatic: cluster.failover_mode == FailoverMode::Automatic,
        thresholds: Thresholds {
            phi: f64::from(cluster.detection.phi),
            silence_min: cluster.detection.silence_min,
            silence_max: cluster.detection.silence_max,
        },
        replace_after: cluster.replace_after,
        write_stuck: cluster.detection.stuck_writes,
        promote,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_form_cluster_and_serial_are_nodes() {
        assert_eq!(serial("db", "db-12"), Some(12));
        for other in [
            "db", "db-", "db-0", "db-01", "db-x", "db-1-2", "dbx-1", "web-1",
        ] {
            assert_eq!(serial("db", other), None, "{other}");
        }
    }
}
