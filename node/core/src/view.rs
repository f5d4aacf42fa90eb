//! Views and the rules for changing them (V1, V3, V4).
//!
//! The same rules stand in the CEL of the `StandbyView` resource, where the API server enforces them
//! against everybody, the operator included; a test holds the two against each other. This module
//! never decides *when* a view should change: that is the operator's planner.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{ClusterId, Epoch, Index, NodeId};

/// The most nodes a view can name in one list. The cost limits of CEL in the API server need a bound.
pub const VIEW_NODES_MAX: usize = 10;

/// Acknowledged writes that somebody consented to give up. From then on the cluster has another
/// history, and its clients must be able to see that: each later view carries this on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Loss {
    /// The epoch of the view that was recorded with the consent, the last one if there were several.
    pub epoch: Epoch,
    /// The highest indexes that might be lost, of every such consent there ever was, added up: a bound
    /// on how far any history that was given up can have come beyond the present one.
    pub total: u64,
}

/// A cluster's configuration: who writes, and who has to have a write before it is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// The cluster this view belongs to. Never changes.
    pub cluster_id: ClusterId,
    /// The number of this view.
    pub epoch: Epoch,
    /// The only node that may acknowledge writes in this epoch.
    pub primary: NodeId,
    /// The nodes that must have every write on disk before it is acknowledged.
    pub synchronous: BTreeSet<NodeId>,
    /// Whether the primary may acknowledge by itself. Only ever with no synchronous node.
    pub alone: bool,
    /// The nodes that hold every acknowledged write, and so may be promoted.
    pub complete: BTreeSet<NodeId>,
    /// Acknowledged writes that were given up, if any ever were. The operator keeps it beside the view
    /// object, fills it in when it tells nodes the view, and leaves it out everywhere else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
}

/// Why a change of view was refused. The text names the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// Two clusters were mixed up.
    #[error("clusterId must not change: is {is}, was to become {given}")]
    ClusterChanged {
        /// The recorded one.
        is: ClusterId,
        /// The one asked for.
        given: ClusterId,
    },
    /// A view was skipped or repeated.
    #[error("epoch must be {must} (one more than recorded), was {given}")]
    EpochNotNext {
        /// The only epoch that may follow.
        must: Epoch,
        /// The one asked for.
        given: Epoch,
    },
    /// V3: promoted although it may lack acknowledged writes.
    #[error("primary {primary} was not complete in epoch {epoch} (V3)")]
    PrimaryNotComplete {
        /// The node that was to become primary.
        primary: NodeId,
        /// The epoch whose list does not name it.
        epoch: Epoch,
    },
    /// V4: a new primary must be recorded with nobody first.
    #[error("a new primary must first be recorded with no synchronous node and not alone (V4)")]
    NewPrimaryNotBare,
    /// V4: in a view that can acknowledge, complete is exactly the primary and the synchronous nodes.
    #[error(
        "complete must be exactly the primary and the synchronous nodes in a view that can acknowledge"
    )]
    CompleteNotExact,
    /// In a view that cannot acknowledge nothing enters `complete`.
    #[error("{node} may not enter complete in a view that cannot acknowledge")]
    EnteredComplete {
        /// The node that was to enter.
        node: NodeId,
    },
    /// The primary must be among `complete`.
    #[error("the primary must be in complete")]
    PrimaryMissing,
    /// `alone` contradicts `synchronous`.
    #[error("alone and synchronous exclude each other")]
    AloneWithSynchronous,
    /// The primary cannot be its own synchronous node.
    #[error("the primary cannot be synchronous too")]
    PrimarySynchronous,
    /// A list is longer than a view can hold.
    #[error("at most {VIEW_NODES_MAX} nodes in one list")]
    TooManyNodes,
    /// The first view of a cluster has a fixed shape.
    #[error("the first view must have epoch 1, no synchronous node, and only the primary complete")]
    NotAFirstView,
}

/// A change of view in words: what happened to primary and synchronous nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ViewChange {
    /// The first view of the cluster.
    First,
    /// Another node became primary.
    Promoted,
    /// The same node is primary again after its process restarted.
    Resumed,
    /// The nodes that are waited for changed.
    SynchronousChanged,
    /// The primary may acknowledge by itself from now on (V7).
    WentAlone,
}

impl View {
    /// Whether anything can be acknowledged in this view (V1).
    #[must_use]
    pub fn can_acknowledge(&self) -> bool {
        self.alone || !self.synchronous.is_empty()
    }

    /// Whether it takes the place of `known` as the highest view that is known of: it is of a later epoch,
    /// or of another cluster that now has the name.
    #[must_use]
    pub fn supersedes(&self, known: &Self) -> bool {
        known.cluster_id != self.cluster_id || known.epoch < self.epoch
    }

    /// The first view of a cluster: `primary`, with nobody yet.
    #[must_use]
    pub fn first(cluster_id: ClusterId, primary: NodeId) -> Self {
        Self {
            cluster_id,
            epoch: Epoch(1),
            complete: BTreeSet::from([primary.clone()]),
            primary,
            synchronous: BTreeSet::new(),
            alone: false,
            loss: None,
        }
    }

    /// The view that promotes `primary`, with nobody yet; the complete nodes stay complete, since
    /// nothing can be acknowledged in it (V4). The caller checks with [`View::check_successor`].
    #[must_use]
    pub fn promote(&self, primary: NodeId) -> Self {
        Self {
            cluster_id: self.cluster_id.clone(),
            epoch: self.epoch.next(),
            primary,
            synchronous: BTreeSet::new(),
            alone: false,
            complete: self.complete.clone(),
            loss: self.loss,
        }
    }

    /// The view that promotes `primary` although it may lack acknowledged writes up to `loses_up_to`.
    /// Somebody must have consented to that.
    #[must_use]
    pub fn promote_with_loss(&self, primary: NodeId, loses_up_to: Index) -> Self {
        let before = self.loss.map_or(0, |loss| loss.total);
        Self {
            complete: BTreeSet::from([primary.clone()]),
            loss: Some(Loss {
                epoch: self.epoch.next(),
                total: before.saturating_add(loses_up_to.0),
            }),
            ..self.promote(primary)
        }
    }

    /// This view as it is recorded: what was given up stands beside it.
    #[must_use]
    pub fn without_loss(mut self) -> Self {
        self.loss = None;
        self
    }

    /// The view in which the same primary waits for exactly `synchronous` (V4). The primary must have
    /// reported every one of them as complete in the current epoch.
    #[must_use]
    pub fn with_synchronous(&self, synchronous: BTreeSet<NodeId>) -> Self {
        let mut complete = synchronous.clone();
        complete.insert(self.primary.clone());
        Self {
            cluster_id: self.cluster_id.clone(),
            epoch: self.epoch.next(),
            primary: self.primary.clone(),
            synchronous,
            alone: false,
            complete,
            loss: self.loss,
        }
    }

    /// The view in which the primary acknowledges by itself (V7).
    #[must_use]
    pub fn go_alone(&self) -> Self {
        Self {
            cluster_id: self.cluster_id.clone(),
            epoch: self.epoch.next(),
            primary: self.primary.clone(),
            synchronous: BTreeSet::new(),
            alone: true,
            complete: BTreeSet::from([self.primary.clone()]),
            loss: self.loss,
        }
    }

    /// Whether the view obeys the rules that concern one view.
    pub fn check(&self) -> Result<(), ViewError> {
        if self.alone && !self.synchronous.is_empty() {
            return Err(ViewError::AloneWithSynchronous);
        }
        if self.synchronous.contains(&self.primary) {
            return Err(ViewError::PrimarySynchronous);
        }
        if self.complete.len() > VIEW_NODES_MAX || self.synchronous.len() > VIEW_NODES_MAX {
            return Err(ViewError::TooManyNodes);
        }
        if !self.complete.contains(&self.primary) {
            return Err(ViewError::PrimaryMissing);
        }
        if self.can_acknowledge() {
            let mut exact = self.synchronous.clone();
            exact.insert(self.primary.clone());
            if exact != self.complete {
                return Err(ViewError::CompleteNotExact);
            }
        }
        Ok(())
    }

    /// Whether this may be the first view of a cluster.
    pub fn check_first(&self) -> Result<(), ViewError> {
        self.check()?;
        if self.epoch != Epoch(1) || self.can_acknowledge() || self.complete.len() != 1 {
            return Err(ViewError::NotAFirstView);
        }
        Ok(())
    }

    /// Whether `next` may follow this view without anybody's consent to losing data.
    pub fn check_successor(&self, next: &Self) -> Result<ViewChange, ViewError> {
        next.check()?;
        if next.cluster_id != self.cluster_id {
            return Err(ViewError::ClusterChanged {
                is: self.cluster_id.clone(),
                given: next.cluster_id.clone(),
            });
        }
        if next.epoch != self.epoch.next() {
            return Err(ViewError::EpochNotNext {
                must: self.epoch.next(),
                given: next.epoch,
            });
        }
        if !self.complete.contains(&next.primary) {
            return Err(ViewError::PrimaryNotComplete {
                primary: next.primary.clone(),
                epoch: self.epoch,
            });
        }
        if next.can_acknowledge() {
            if next.primary != self.primary {
                return Err(ViewError::NewPrimaryNotBare);
            }
            return Ok(if next.alone {
                ViewChange::WentAlone
            } else {
                ViewChange::SynchronousChanged
            });
        }
        if let Some(node) = next.complete.difference(&self.complete).next() {
            return Err(ViewError::EnteredComplete { node: node.clone() });
        }
        Ok(if next.primary == self.primary {
            ViewChange::Resumed
        } else {
            ViewChange::Promoted
        })
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {} primary {}", self.epoch, self.primary.name)?;
        if self.alone {
            return f.write_str(" alone");
        }
        f.write_str(" synchronous [")?;
        for (at, node) in self.synchronous.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { ", " }, node.name)?;
        }
        f.write_str("]")
    }
}
