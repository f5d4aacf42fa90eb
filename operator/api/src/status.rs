//! The status of a `StandbyCluster`: what is, in the words and numbers that people ask for.
//!
//! The operator writes it and never reads it for a decision: what decides is the `StandbyView` and
//! what nodes report.

#![allow(
    clippy::doc_markdown,
    reason = "kubectl explain shows these comments as plain text"
)]
#![allow(clippy::struct_field_names, reason = "every number carries its unit")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StandbyClusterStatus {
    /// Ready, Available, Safe, Reconciling and Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// The generation of the resource that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What is happening, in one short line for people. Not for programs: they read the conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub phase: Option<String>,
    /// Why the cluster is in this phase, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub why: Option<String>,
    /// What the operator does next, in this order, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub next: Vec<NextStep>,
    /// What a person can do now, and what each would cost. Empty while nobody is needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub options: Vec<OptionStatus>,
    /// What became of the last ten orders of people, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub orders: Vec<OrderStatus>,
    /// Every loss of acknowledged writes that somebody consented to. Kept for ever.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["epoch".into()]))]
    #[schemars(length(max = 32))]
    pub data_loss: Vec<DataLoss>,
    /// The number of the recorded view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// The pod that accepts writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub primary: Option<String>,
    /// The pods that have every acknowledged write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 10), inner(length(max = 63)))]
    pub synchronous: Vec<String>,
    /// The same as one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub synchronous_standby: Option<String>,
    /// How many pods there are.
    #[serde(default)]
    pub replicas: i32,
    /// How many of them are healthy and follow, or are, the primary.
    #[serde(default)]
    pub ready_replicas: i32,
    /// The same as a line: ready of asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub nodes_ready: Option<String>,
    /// Selects the cluster's pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub selector: Option<String>,
    /// One row a node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 32))]
    pub nodes: Vec<NodeStatus>,
    /// The last ten failovers, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["epoch".into()]))]
    #[schemars(length(max = 10))]
    pub failovers: Vec<FailoverStatus>,
}

/// What is known of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// The pod's name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// The identity of its volume, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub volume: Option<String>,
    /// What the recorded view makes of it.
    pub role: NodeRole,
    /// The Kubernetes node it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub host: Option<String>,
    /// The zone of that Kubernetes node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub zone: Option<String>,
    /// The last entry whose effect can be read from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_index: Option<i64>,
    /// The last entry it knows to be committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_index: Option<i64>,
    /// How many entries it is behind the primary's commit index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<i64>,
    /// Whether it is heard of and works.
    pub healthy: bool,
    /// Why it is, or is not, healthy; one line.
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// Since when it has been so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Whether it could be promoted now without losing anything.
    pub promotable: bool,
    /// Why it could, or could not; one line.
    #[schemars(length(max = 1024))]
    pub promotable_reason: String,
}

/// What a view makes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeRole {
    /// Accepts writes.
    Primary,
    /// Has every acknowledged write.
    Synchronous,
    /// Follows.
    Replica,
}

impl NodeRole {
    /// The role as it stands in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Synchronous => "synchronous",
            Self::Replica => "replica",
        }
    }
}

/// One thing the operator does next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NextStep {
    /// What.
    #[schemars(length(max = 1024))]
    pub action: String,
    /// Why.
    #[schemars(length(max = 1024))]
    pub why: String,
}

/// One thing a person can do now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OptionStatus {
    /// What it is, as one word: restart, wait, promote, unfence, acceptDataLoss or acceptRecovery.
    #[schemars(length(max = 64))]
    pub action: String,
    /// The pod it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub node: Option<String>,
    /// What it would cost, in one sentence.
    #[schemars(length(max = 1024))]
    pub cost: String,
    /// The highest index of an acknowledged write that it may lose, when that is known; the consent must
    /// name at least this. Missing when nothing is lost, or when nobody can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loses_up_to: Option<i64>,
    /// The epoch that the order or consent must name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// The command that does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub command: Option<String>,
}

/// What became of an order that a person gave by annotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderStatus {
    /// Which: the annotation's name without its prefix, such as switchover.
    #[schemars(length(max = 64))]
    pub order: String,
    /// The annotation's value.
    #[schemars(length(max = 1024))]
    pub value: String,
    /// What became of it.
    pub outcome: OrderOutcome,
    /// Why.
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// Since when it has been so.
    pub time: Time,
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OrderOutcome {
    /// It is being carried out.
    Accepted,
    /// It has been carried out.
    Done,
    /// It cannot be understood, or would not be safe. It is looked at again while it stands.
    Refused,
    /// It is for an epoch or a pod that is past.
    Void,
}

/// A loss of acknowledged writes that somebody consented to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataLoss {
    /// The epoch that began with it.
    pub epoch: i64,
    /// The pod that was promoted.
    #[schemars(length(max = 63))]
    pub node: String,
    /// The last entry that the promoted node had: what came after it is lost.
    pub from: i64,
    /// The highest entry that may have been acknowledged before. Missing when nobody could tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loses_up_to: Option<i64>,
    /// Who consented.
    #[schemars(length(max = 256))]
    pub by: String,
    /// Why.
    #[schemars(length(max = 1024))]
    pub why: String,
    /// When it was recorded.
    pub time: Time,
}

/// One failover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailoverStatus {
    /// The epoch in which the new primary was promoted.
    pub epoch: i64,
    /// What had failed, as one word such as ContainerTerminated.
    #[schemars(length(max = 64))]
    pub fault: String,
    /// Why that was so, as one sentence.
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// The old primary's pod.
    #[schemars(length(max = 63))]
    pub from: String,
    /// The new primary's pod.
    #[schemars(length(max = 63))]
    pub to: String,
    /// When the operator first noticed that something was wrong.
    pub time: MicroTime,
    /// When each step was done, in milliseconds after that time.
    #[serde(default)]
    pub steps: FailoverSteps,
    /// From the first notice until writes went again, in milliseconds. Missing while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_ms: Option<i64>,
}

/// When each step of a failover was done, in milliseconds after it was first noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailoverSteps {
    /// The old primary counted as failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detected_ms: Option<i64>,
    /// The view that promotes was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view_recorded_ms: Option<i64>,
    /// The new primary reported that it serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_ms: Option<i64>,
    /// The Service leads to the new primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced_ms: Option<i64>,
    /// Another node was recorded as synchronous: writes go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synchronous_again_ms: Option<i64>,
}
