//! The volume claim of one node. Its name is the pod's.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use standby_api::names;

use super::meta;
use crate::validate::ValidatedCluster;

/// The claim for a node's volume. With `deletionPolicy: Retain` it has no owner, so that it outlives
/// the cluster; the identity it carries lets a later cluster of the same name go on with it (V10).
#[must_use]
pub fn volume_claim(cluster: &ValidatedCluster, name: &str) -> PersistentVolumeClaim {
    let mut metadata = meta::owned(
        cluster,
        name.to_owned(),
        meta::instance_labels(cluster, name),
    );
    if cluster.storage.retain {
        metadata.owner_references = None;
    }
    metadata.annotations = Some(BTreeMap::from([(
        names::ANNOTATION_CLUSTER_ID.to_owned(),
        cluster.id.to_string(),
    )]));
    PersistentVolumeClaim {
        metadata,
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([(
                    "storage".to_owned(),
                    cluster.storage.size.clone(),
                )])),
                limits: None,
            }),
            storage_class_name: cluster.storage.storage_class_name.clone(),
            volume_mode: Some("Filesystem".to_owned()),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}
