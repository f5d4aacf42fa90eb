//! Where a cluster's pods may run.

#![allow(
    clippy::doc_markdown,
    reason = "kubectl explain shows these comments as plain text"
)]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the cluster's pods may run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Run only on Kubernetes nodes with these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::schemas::label_map")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of Kubernetes nodes that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schemas::tolerations")]
    pub tolerations: Vec<Toleration>,
    /// How strictly the pods are spread over hosts and zones.
    #[serde(default)]
    pub spread: Spread,
    /// Name of the PriorityClass of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub priority_class_name: Option<String>,
}

/// How strictly the pods are spread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    /// Over hosts. Required: a pod waits rather than share a host while another host could take it.
    #[serde(default = "required")]
    pub hosts: SpreadPolicy,
    /// Over zones (label topology.kubernetes.io/zone). Preferred: evenly where possible.
    #[serde(default = "preferred")]
    pub zones: SpreadPolicy,
}

/// How strictly one level of the topology is respected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SpreadPolicy {
    /// A pod waits rather than break the even spread.
    Required,
    /// Evenly where possible.
    Preferred,
}

impl Default for Spread {
    fn default() -> Self {
        Self {
            hosts: required(),
            zones: preferred(),
        }
    }
}

fn required() -> SpreadPolicy {
    SpreadPolicy::Required
}

fn preferred() -> SpreadPolicy {
    SpreadPolicy::Preferred
}
