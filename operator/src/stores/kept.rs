//! What of an object is kept in a cache: with thousands of pods, what nobody asks for is most of the
//! memory. Whoever needs another field adds it here.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::{
    Node, NodeSpec, NodeStatus, PersistentVolumeClaim, Pod, PodSpec, PodStatus,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Resource;
use kube::core::DeserializeGuard;
use serde::de::DeserializeOwned;
use standby_api::{StandbyCluster, StandbyView};

/// What can be kept in a cache.
pub(super) trait Kept:
    Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
    /// Takes off what nobody asks for.
    fn slim(&mut self) {}
}

impl Kept for DeserializeGuard<StandbyCluster> {}

impl Kept for DeserializeGuard<StandbyView> {}

impl Kept for PersistentVolumeClaim {}

/// Where it runs and how it fares; what it shall run is told by an annotation (`built-from`).
impl Kept for Pod {
    fn slim(&mut self) {
        self.spec = self.spec.take().map(|spec| PodSpec {
            node_name: spec.node_name,
            ..PodSpec::default()
        });
        self.status = self.status.take().map(|status| PodStatus {
            phase: status.phase,
            pod_ip: status.pod_ip,
            conditions: status.conditions,
            container_statuses: status.container_statuses,
            ..PodStatus::default()
        });
    }
}

/// Which version of it stands there.
impl Kept for EndpointSlice {
    fn slim(&mut self) {
        self.endpoints.clear();
        self.ports = None;
        self.metadata.owner_references = None;
    }
}

/// Whether it takes pods; not which images it holds, which is most of it.
impl Kept for Node {
    fn slim(&mut self) {
        self.spec = self.spec.take().map(|spec| NodeSpec {
            taints: spec.taints,
            unschedulable: spec.unschedulable,
            ..NodeSpec::default()
        });
        self.status = self.status.take().map(|status| NodeStatus {
            conditions: status.conditions,
            ..NodeStatus::default()
        });
    }
}
