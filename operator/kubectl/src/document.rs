//! What each verb says, as data: `-o json` and `-o yaml` print it as it is, and text is made of it,
//! so that both always say the same.
//!
//! The shapes are documented in docs/kubectl.md and only grow. Nothing here asks an API server.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;
use serde_json::Value;
use standby_api::{
    Durability, FailoverMode, Interface, NextStep, NodeRole, OptionStatus, OrderOutcome,
    StandbyCluster, StandbyClusterStatus, names,
};

use crate::verdict::{self, Verdict};

/// The version of every shape.
pub const API_VERSION: &str = "kubectl.standby.dev/v1";

/// What stands at the beginning of every document.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// [`API_VERSION`].
    pub api_version: &'static str,
    /// Which document it is.
    pub kind: &'static str,
    /// The cluster's namespace.
    pub namespace: String,
    /// The cluster's name.
    pub name: String,
}

impl Head {
    pub(crate) fn of(kind: &'static str, cluster: &StandbyCluster) -> Self {
        Self {
            api_version: API_VERSION,
            kind,
            namespace: cluster.namespace().unwrap_or_default(),
            name: cluster.name_any(),
        }
    }

    /// `NAMESPACE/NAME`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// Several documents of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListDocument<T> {
    /// [`API_VERSION`].
    pub api_version: &'static str,
    /// The kind of the items with `List` after it.
    pub kind: String,
    /// One for each cluster.
    pub items: Vec<T>,
}

impl<T> ListDocument<T> {
    /// A list of documents of this kind.
    #[must_use]
    pub fn new(kind: &str, items: Vec<T>) -> Self {
        Self {
            api_version: API_VERSION,
            kind: format!("{kind}List"),
            items,
        }
    }
}

/// What was asked for, as far as people who look at the status want to see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// `spec.interface`.
    pub interface: Interface,
    /// `spec.instances`.
    pub instances: i32,
    /// `spec.durability`.
    pub durability: Durability,
    /// `spec.failover.mode`.
    pub failover_mode: FailoverMode,
    /// `spec.hibernated`.
    pub hibernated: bool,
    /// Whether the operator was told to change nothing.
    pub paused: bool,
    /// The nodes that were told to have no role.
    pub fenced: Vec<String>,
}

impl Asked {
    fn of(cluster: &StandbyCluster) -> Self {
        let spec = &cluster.spec;
        Self {
            interface: spec.interface,
            instances: spec.instances,
            durability: spec.durability,
            failover_mode: spec.failover.mode,
            hibernated: spec.hibernated,
            paused: is_paused(cluster),
            fenced: fenced(cluster),
        }
    }
}

/// An operator that leads, or did.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperatorDocument {
    /// Its namespace.
    pub namespace: String,
    /// Who holds the lease; none: nobody.
    pub holder: Option<String>,
    /// When the lease was renewed last.
    pub renewed: Option<Timestamp>,
    /// Whether it has been renewed lately, by this machine's clock.
    pub leads: bool,
}

/// `status`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusDocument {
    /// Which cluster.
    #[serde(flatten)]
    pub head: Head,
    /// When the cluster was made.
    pub created: Option<Timestamp>,
    /// What was asked for.
    pub asked: Asked,
    /// The orders that stand as annotations, by their short names.
    pub orders: BTreeMap<String, String>,
    /// Whether the status describes the specification as it is now.
    pub current: bool,
    /// The operators whose leases could be seen; none: they may not be looked at.
    pub operators: Option<Vec<OperatorDocument>>,
    /// The status as it stands in the resource.
    pub status: StandbyClusterStatus,
}

impl StatusDocument {
    /// The status of a cluster.
    #[must_use]
    pub fn new(cluster: &StandbyCluster, operators: Option<Vec<OperatorDocument>>) -> Self {
        let status = cluster.status.clone().unwrap_or_default();
        Self {
            head: Head::of("Status", cluster),
            created: cluster.creation_timestamp().map(|time| time.0),
            asked: Asked::of(cluster),
            orders: standing(cluster),
            current: status.observed_generation == cluster.metadata.generation,
            operators,
            status,
        }
    }
}

/// `plan`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanDocument {
    /// Which cluster.
    #[serde(flatten)]
    pub head: Head,
    /// What is happening.
    pub phase: Option<String>,
    /// Why.
    pub why: Option<String>,
    /// Whether the operator was told to change nothing: then nothing of `next` is done.
    pub paused: bool,
    /// Whether the plan is for the specification as it is now.
    pub current: bool,
    /// What comes next, in this order, each with its reason.
    pub next: Vec<NextStep>,
    /// What a person can do now, and what each would cost.
    pub options: Vec<OptionStatus>,
    /// The orders that stand as annotations, by their short names.
    pub orders: BTreeMap<String, String>,
}

impl PlanDocument {
    /// The plan of a cluster.
    #[must_use]
    pub fn new(cluster: &StandbyCluster) -> Self {
        let status = cluster.status.clone().unwrap_or_default();
        Self {
            head: Head::of("Plan", cluster),
            phase: status.phase,
            why: status.why,
            paused: is_paused(cluster),
            current: status.observed_generation == cluster.metadata.generation,
            next: status.next,
            options: status.options,
            orders: standing(cluster),
        }
    }
}

/// One node in `why`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CandidateDocument {
    /// The pod's name.
    pub name: String,
    /// What the recorded view makes of it.
    pub role: NodeRole,
    /// Whether it could be promoted now without losing anything.
    pub promotable: bool,
    /// Why, or why not.
    pub reason: String,
    /// Whether it was told to have no role.
    pub fenced: bool,
    /// Whether it is heard of and works.
    pub healthy: bool,
    /// Why it is, or is not, healthy.
    pub health_reason: String,
    /// How many entries it is behind the primary.
    pub lag: Option<i64>,
}

/// `why`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WhyDocument {
    /// Which cluster.
    #[serde(flatten)]
    pub head: Head,
    /// The number of the recorded view.
    pub epoch: Option<i64>,
    /// Who accepts writes.
    pub primary: Option<String>,
    /// Why no failover goes on, or what keeps one that should.
    pub failover: Verdict,
    /// Every node.
    pub candidates: Vec<CandidateDocument>,
}

impl WhyDocument {
    /// Why each node of a cluster could, or could not, be promoted.
    #[must_use]
    pub fn new(cluster: &StandbyCluster) -> Self {
        let fenced = fenced(cluster);
        let status = cluster.status.clone().unwrap_or_default();
        let candidates = status
            .nodes
            .iter()
            .map(|node| CandidateDocument {
                name: node.name.clone(),
                role: node.role,
                promotable: node.promotable,
                reason: node.promotable_reason.clone(),
                fenced: fenced.contains(&node.name),
                healthy: node.healthy,
                health_reason: node.reason.clone(),
                lag: node.lag,
            })
            .collect();
        Self {
            head: Head::of("Why", cluster),
            epoch: status.epoch,
            primary: status.primary.clone(),
            failover: verdict::verdict(cluster),
            candidates,
        }
    }
}

/// What became of a change: every verb that changes something.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeDocument {
    /// Which cluster.
    #[serde(flatten)]
    pub head: Head,
    /// The verb.
    pub verb: &'static str,
    /// Whether nothing was written because of `--dry-run`.
    pub dry_run: bool,
    /// Whether something was, or with `--dry-run` would be, written.
    pub changed: bool,
    /// The merge patch; none when nothing is to be changed.
    pub patch: Option<Value>,
    /// What was ordered, in words.
    pub message: String,
    /// What to know about it.
    pub notes: Vec<String>,
    /// With `--wait`: what became of it.
    pub outcome: Option<OutcomeDocument>,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutcomeDocument {
    /// What.
    pub outcome: OrderOutcome,
    /// Why.
    pub reason: String,
    /// When; none when it was seen from the status and not from an answer.
    pub time: Option<Timestamp>,
}

/// One file of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportFile {
    /// Its name in the archive.
    pub file: String,
    /// What it holds.
    pub what: String,
    /// Its size in bytes.
    pub bytes: usize,
}

/// Something that is not in a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

/// `report`, and `manifest.json` inside it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportDocument {
    /// Which cluster.
    #[serde(flatten)]
    pub head: Head,
    /// When it was made.
    pub time: Timestamp,
    /// The version of this plugin.
    pub plugin_version: &'static str,
    /// Where it was written; none inside the archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
    /// What is in it.
    pub files: Vec<ReportFile>,
    /// What was left out, and why.
    pub left_out: Vec<LeftOut>,
}

/// Whether the operator was told to change nothing.
#[must_use]
pub fn is_paused(cluster: &StandbyCluster) -> bool {
    cluster
        .annotations()
        .get(names::ANNOTATION_PAUSED)
        .is_some_and(|value| value.trim() == "true")
}

/// The nodes that were told to have no role.
#[must_use]
pub fn fenced(cluster: &StandbyCluster) -> Vec<String> {
    listed(cluster, names::ANNOTATION_FENCE)
}

/// The parts of an annotation that holds a list.
#[must_use]
pub fn listed(cluster: &StandbyCluster, annotation: &str) -> Vec<String> {
    let value = cluster.annotations().get(annotation);
    let parts = value.into_iter().flat_map(|value| value.split(','));
    parts
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(String::from)
        .collect()
}

/// An annotation's name without the prefix, as orders are called in the status.
#[must_use]
pub fn short(annotation: &str) -> &str {
    annotation
        .strip_prefix(names::GROUP)
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(annotation)
}

/// The orders that stand as annotations, by their short names.
fn standing(cluster: &StandbyCluster) -> BTreeMap<String, String> {
    let all = [
        names::ANNOTATION_SWITCHOVER,
        names::ANNOTATION_PROMOTE,
        names::ANNOTATION_ACCEPT_DATA_LOSS,
        names::ANNOTATION_ACCEPT_RECOVERY,
        names::ANNOTATION_FENCE,
        names::ANNOTATION_RESTART,
        names::ANNOTATION_PAUSED,
    ];
    all.into_iter()
        .filter_map(|name| {
            Some((
                short(name).to_owned(),
                cluster.annotations().get(name)?.clone(),
            ))
        })
        .collect()
}
