//! From the checked specification to what the planner needs of it.

use standby_api::{Durability, FailoverMode};

use crate::build::{meta, pod};
use crate::detect::Thresholds;
use crate::observe::{ClusterFacts, Upkeep};
use crate::orders::Orders;
use crate::validate::ValidatedCluster;

/// The names of the pods there should be, in order of their serials.
#[must_use]
pub fn wanted(cluster: &ValidatedCluster) -> Vec<String> {
    (1_u32..)
        .take(cluster.instances)
        .map(|serial| meta::pod_name(&cluster.name, serial))
        .collect()
}

/// What the planner needs of a cluster.
#[must_use]
pub fn cluster_facts(cluster: &ValidatedCluster, deleting: bool, orders: Orders) -> ClusterFacts {
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
        orders,
        policy: cluster.policy.clone(),
        hibernated: cluster.hibernated,
        upkeep: Upkeep {
            built_from: pod::built_from(cluster),
            storage_bytes: cluster.storage.size_bytes,
            room: false,
        },
    }
}
