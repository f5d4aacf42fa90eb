//! Names, labels and owners: what every object has.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use standby_api::names;

use crate::validate::ValidatedCluster;

/// The name of the pod, and of its volume claim, with this serial number (from 1).
#[must_use]
pub fn pod_name(cluster: &str, serial: u32) -> String {
    format!("{cluster}-{serial}")
}

/// The serial number in a pod's name, if it is a pod of this cluster.
#[must_use]
pub fn serial_of(cluster: &str, pod: &str) -> Option<u32> {
    let serial = pod.strip_prefix(cluster)?.strip_prefix('-')?;
    let number: u32 = serial.parse().ok()?;
    // `db-01` or `db-+1` would parse and be another object.
    (number > 0 && number.to_string() == serial).then_some(number)
}

/// Labels by which a cluster's pods are selected. They never change.
#[must_use]
pub fn selector_labels(cluster: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (names::LABEL_CLUSTER.to_owned(), cluster.to_owned()),
        (
            "app.kubernetes.io/component".to_owned(),
            names::COMPONENT_NODE.to_owned(),
        ),
    ])
}

pub(super) fn selector(cluster: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some(selector_labels(cluster)),
        ..LabelSelector::default()
    }
}

/// Labels of every object of a cluster.
#[must_use]
pub fn labels(cluster: &ValidatedCluster) -> BTreeMap<String, String> {
    let mut labels = selector_labels(&cluster.name);
    for (key, value) in [
        ("app.kubernetes.io/name", names::APP_NAME),
        ("app.kubernetes.io/instance", &cluster.name),
        ("app.kubernetes.io/managed-by", names::MANAGED_BY),
        ("app.kubernetes.io/version", &cluster.version),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels
}

/// Labels of every object of one node.
#[must_use]
pub fn instance_labels(cluster: &ValidatedCluster, pod: &str) -> BTreeMap<String, String> {
    let mut labels = labels(cluster);
    labels.insert(names::LABEL_INSTANCE.to_owned(), pod.to_owned());
    labels
}

/// Makes an object go with its cluster.
#[must_use]
pub fn owner(cluster: &ValidatedCluster) -> OwnerReference {
    OwnerReference {
        api_version: format!("{}/{}", names::GROUP, names::VERSION),
        kind: "StandbyCluster".to_owned(),
        name: cluster.name.clone(),
        uid: cluster.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Metadata of an object that goes with its cluster.
pub(super) fn owned(
    cluster: &ValidatedCluster,
    name: String,
    labels: BTreeMap<String, String>,
) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(cluster.namespace.clone()),
        labels: Some(labels),
        owner_references: Some(vec![owner(cluster)]),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_is_read_from_its_own_clusters_pods_only() {
        assert_eq!(serial_of("db", &pod_name("db", 12)), Some(12));
        for pod in [
            "db-0", "db-01", "db-+1", "db-x-1", "db", "dbx-1", "other-1", "db-1-1",
        ] {
            assert_eq!(serial_of("db", pod), None, "{pod}");
        }
        assert_eq!(serial_of("db-1", "db-1-2"), Some(2));
    }
}
