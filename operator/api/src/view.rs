//! `StandbyView`: the recorded view of one cluster, and the rules by which the API server refuses an
//! unsafe change of it.
//!
//! The rules are those of [`standby_core::View`] (V1, V3, V4, V10), written a second time in CEL so
//! that they hold against everybody, the operator included. [`check_change`] says in Rust what the
//! CEL says; a property test holds the two against each other. Nothing here decides *when* a view
//! should change.

#![allow(
    clippy::doc_markdown,
    reason = "kubectl explain shows these comments as plain text"
)]
#![allow(
    clippy::duplicated_attributes,
    reason = "printer columns of the same type are no duplicates"
)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use standby_core::{ClusterId, Epoch, NodeId, View, ViewError};

/// Which node accepts writes, and which have every acknowledged write. Only the operator writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "standby.dev",
    version = "v1alpha1",
    kind = "StandbyView",
    plural = "standbyviews",
    shortname = "sbv",
    category = "standby",
    namespaced,
    derive = "PartialEq",
    doc = "Which node of a StandbyCluster accepts writes, and which have every acknowledged write. Only the operator writes it; rules in its schema refuse every change that could lose acknowledged writes.",
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".spec.epoch"),
    printcolumn(name = "Primary", type_ = "string", json_path = ".spec.primary"),
    printcolumn(
        name = "Synchronous",
        type_ = "string",
        json_path = ".spec.synchronous"
    ),
    printcolumn(name = "Alone", type_ = "boolean", json_path = ".spec.alone"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!self.alone || self.synchronous.size() == 0")
        .field_path(".alone")
        .message("alone and synchronous exclude each other"),
    validation = Rule::new("!(self.primary in self.synchronous)")
        .field_path(".primary")
        .message("the primary cannot be synchronous too"),
    validation = Rule::new("self.primary in self.complete")
        .field_path(".complete")
        .message("the primary must be in complete"),
    validation = Rule::new("!(self.alone || self.synchronous.size() > 0) || (self.complete.size() == self.synchronous.size() + 1 && self.synchronous.all(n, n in self.complete))")
        .field_path(".complete")
        .message("complete must be exactly the primary and the synchronous nodes in a view that can acknowledge"),
    validation = Rule::new("!has(self.consent) || self.consent.epoch == self.epoch")
        .field_path(".consent.epoch")
        .message("consent must name the epoch it is for: consent.epoch must be the same as epoch"),
    validation = Rule::new("!has(self.consent) || self.consent.kind != 'recovery' || !(self.alone || self.synchronous.size() > 0)")
        .message("a recovered view must first be recorded with no synchronous node and not alone (V10)"),
    validation = Rule::new("oldSelf.hasValue() || (has(self.consent) && self.consent.kind == 'recovery') || (self.epoch == 1 && !self.alone && self.synchronous.size() == 0 && self.complete.size() == 1)")
        .optional_old_self(true)
        .message("the first view must have epoch 1, no synchronous node, and only the primary complete; to continue a lost view, give consent of kind recovery (V10)"),
    validation = Rule::new("self.epoch != oldSelf.epoch || self == oldSelf")
        .message("a recorded view never changes: take the next epoch"),
    validation = Rule::new("self.epoch == oldSelf.epoch || self.epoch == oldSelf.epoch + 1 || (self.epoch > oldSelf.epoch && has(self.consent) && self.consent.kind == 'recovery')")
        .field_path(".epoch")
        .message("epoch must be one more than recorded"),
    validation = Rule::new("self.epoch == oldSelf.epoch || self.primary in oldSelf.complete || has(self.consent)")
        .field_path(".primary")
        .message(Message::Expression("'primary ' + self.primary + ' was not complete in the recorded epoch: promoting it could lose acknowledged writes (V3)'".into())),
    validation = Rule::new("self.epoch == oldSelf.epoch || self.primary == oldSelf.primary || !(self.alone || self.synchronous.size() > 0)")
        .message("a new primary must first be recorded with no synchronous node and not alone (V4)"),
    validation = Rule::new("self.epoch == oldSelf.epoch || self.alone || self.synchronous.size() > 0 || (has(self.consent) && self.consent.kind == 'recovery') || self.complete.all(n, n in oldSelf.complete || (has(self.consent) && n == self.primary))")
        .field_path(".complete")
        .message("nothing may enter complete in a view that cannot acknowledge"),
    validation = Rule::new("self.epoch == oldSelf.epoch || !has(self.consent) || self.consent.kind != 'acceptDataLoss' || self.primary in oldSelf.complete || self.complete.size() == 1")
        .field_path(".complete")
        .message("after a promotion that accepts data loss only the new primary is complete")
)]
pub struct StandbyViewSpec {
    /// The cluster this view belongs to. Never changes.
    #[schemars(length(min = 1, max = 40))]
    #[x_kube(validation = Rule::new("self == oldSelf").message(Message::Expression(
        "'clusterId must not change: is ' + oldSelf + ', was to become ' + self".into()
    )))]
    pub cluster_id: String,
    /// The number of this view. Every change takes the next one.
    #[schemars(range(min = 1))]
    pub epoch: i64,
    /// The only node that may acknowledge writes in this epoch, as name/volume.
    #[schemars(
        length(max = 128),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[0-9a-f]{16}$")
    )]
    pub primary: String,
    /// The nodes that must have every write on disk before it is acknowledged.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(
        length(max = 10),
        inner(
            length(max = 128),
            regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[0-9a-f]{16}$")
        )
    )]
    pub synchronous: Vec<String>,
    /// Whether the primary may acknowledge by itself.
    pub alone: bool,
    /// The nodes that have every acknowledged write, and so may be promoted.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(
        length(min = 1, max = 10),
        inner(
            length(max = 128),
            regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[0-9a-f]{16}$")
        )
    )]
    pub complete: Vec<String>,
    /// Somebody's consent to a change that the rules would refuse. It holds for this epoch alone and
    /// lifts only the rule it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<Consent>,
}

/// Somebody's consent to a change that the rules would refuse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Consent {
    /// acceptDataLoss: promote a node that may lack acknowledged writes. recovery: continue a view
    /// object that was lost or restored from a backup (V10).
    pub kind: ConsentKind,
    /// The epoch it is for.
    #[schemars(range(min = 1))]
    pub epoch: i64,
    /// Who gave it.
    #[schemars(length(min = 1, max = 256))]
    pub by: String,
    /// Why.
    #[schemars(length(min = 1, max = 1024))]
    pub why: String,
    /// What may be lost by it, as far as is known.
    #[schemars(length(min = 1, max = 1024))]
    pub may_lose: String,
}

/// What a consent is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ConsentKind {
    /// Promote a node that may lack acknowledged writes; it alone is complete afterwards.
    AcceptDataLoss,
    /// Continue a view object that was lost or restored from a backup (V10).
    Recovery,
}

/// A recorded view that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// An epoch that is no epoch.
    #[error("spec.epoch must be 1 or more, was {given}")]
    Epoch {
        /// What stood there.
        given: i64,
    },
    /// A node that is no node.
    #[error("spec.{field}: {source}")]
    Node {
        /// The field.
        field: &'static str,
        /// What was wrong.
        source: standby_core::ParseNodeIdError,
    },
}

/// Why a change of the recorded view is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// One of the two cannot be read.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A rule of views is broken.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The same epoch with another content.
    #[error("a recorded view never changes: take the next epoch")]
    Recorded,
    /// The consent is for another epoch.
    #[error("consent must name the epoch it is for: must be {must}, was {given}")]
    ConsentEpoch {
        /// The epoch of the view.
        must: i64,
        /// The epoch of the consent.
        given: i64,
    },
    /// A recovered view that could acknowledge.
    #[error("a recovered view must first be recorded with no synchronous node and not alone (V10)")]
    RecoveryNotBare,
    /// A node that lost acknowledged writes has others complete beside it.
    #[error("after a promotion that accepts data loss only the new primary is complete")]
    LossNotExact,
}

impl From<&View> for StandbyViewSpec {
    fn from(view: &View) -> Self {
        let names = |nodes: &std::collections::BTreeSet<NodeId>| {
            nodes.iter().map(ToString::to_string).collect()
        };
        Self {
            cluster_id: view.cluster_id.0.clone(),
            epoch: i64::try_from(view.epoch.0)
                .expect("an epoch grows by one a change and never comes near 2^63"),
            primary: view.primary.to_string(),
            synchronous: names(&view.synchronous),
            alone: view.alone,
            complete: names(&view.complete),
            consent: None,
        }
    }
}

impl TryFrom<&StandbyViewSpec> for View {
    type Error = SpecError;

    fn try_from(spec: &StandbyViewSpec) -> Result<Self, SpecError> {
        let node = |field: &'static str, text: &String| {
            text.parse::<NodeId>()
                .map_err(|source| SpecError::Node { field, source })
        };
        let epoch = match u64::try_from(spec.epoch) {
            Ok(epoch) if epoch > 0 => Epoch(epoch),
            _ => return Err(SpecError::Epoch { given: spec.epoch }),
        };
        Ok(Self {
            cluster_id: ClusterId(spec.cluster_id.clone()),
            epoch,
            primary: node("primary", &spec.primary)?,
            synchronous: spec
                .synchronous
                .iter()
                .map(|text| node("synchronous", text))
                .collect::<Result<_, _>>()?,
            alone: spec.alone,
            complete: spec
                .complete
                .iter()
                .map(|text| node("complete", text))
                .collect::<Result<_, _>>()?,
            loss: None,
        })
    }
}

impl StandbyViewSpec {
    /// This view with somebody's consent to it.
    #[must_use]
    pub fn with_consent(mut self, consent: Consent) -> Self {
        self.consent = Some(consent);
        self
    }
}

/// Whether the API server takes `new` after `old` (after nothing, when it is created): the rules of
/// views, and what each kind of consent lifts.
pub fn check_change(
    old: Option<&StandbyViewSpec>,
    new: &StandbyViewSpec,
) -> Result<(), ChangeError> {
    let next = View::try_from(new)?;
    next.check()?;
    let kind = match &new.consent {
        Some(consent) if consent.epoch != new.epoch => {
            return Err(ChangeError::ConsentEpoch {
                must: new.epoch,
                given: consent.epoch,
            });
        }
        consent => consent.as_ref().map(|consent| consent.kind),
    };
    if kind == Some(ConsentKind::Recovery) && next.can_acknowledge() {
        return Err(ChangeError::RecoveryNotBare);
    }
    let Some(old) = old else {
        return match kind {
            Some(ConsentKind::Recovery) => Ok(()),
            _ => Ok(next.check_first()?),
        };
    };
    let is = View::try_from(old)?;
    if next.cluster_id != is.cluster_id {
        return Err(ViewError::ClusterChanged {
            is: is.cluster_id,
            given: next.cluster_id,
        }
        .into());
    }
    if next.epoch == is.epoch {
        let same = next == is && new.consent == old.consent;
        return if same {
            Ok(())
        } else {
            Err(ChangeError::Recorded)
        };
    }
    match kind {
        Some(ConsentKind::Recovery) if next.epoch > is.epoch => Ok(()),
        Some(ConsentKind::AcceptDataLoss) if !is.complete.contains(&next.primary) => {
            check_loss(&is, &next)
        }
        _ => Ok(is.check_successor(&next).map(|_| ())?),
    }
}

/// The rules that are left when a node that was not complete is promoted with consent.
fn check_loss(is: &View, next: &View) -> Result<(), ChangeError> {
    if next.epoch != is.epoch.next() {
        return Err(ViewError::EpochNotNext {
            must: is.epoch.next(),
            given: next.epoch,
        }
        .into());
    }
    if next.can_acknowledge() {
        return Err(ViewError::NewPrimaryNotBare.into());
    }
    if next.complete.len() != 1 {
        return Err(ChangeError::LossNotExact);
    }
    Ok(())
}
