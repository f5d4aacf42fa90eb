//! What an operator can do to a cluster, as values with their reasons.

use std::collections::BTreeSet;
use std::fmt;

use standby_core::{Epoch, NodeId, View};

use super::Basis;

/// One thing to do.
#[allow(clippy::large_enum_variant, reason = "a handful per plan, made once")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Record a view, by compare-and-swap on what it is based on.
    RecordView {
        /// The view.
        next: View,
        /// What must be recorded at that moment.
        basis: Basis,
    },
    /// Tell every node the recorded view. Idempotent; sent again only when it changed.
    Push {
        /// The nodes the primary shall wait for (V4).
        await_nodes: BTreeSet<NodeId>,
        /// The earlier primaries are proven stopped (V5).
        previous_stopped: bool,
    },
    /// Relieve the primary (V8). Idempotent.
    StepDown {
        /// The primary.
        node: String,
        /// The epoch it applies to.
        epoch: Epoch,
    },
    /// Let the read-write Service lead to this node. Idempotent.
    Announce {
        /// The pod.
        node: String,
        /// Its address.
        address: String,
    },
    /// Let the read-write Service lead nowhere. Idempotent.
    Withdraw,
    /// Make the claim of a node.
    CreateClaim {
        /// The node.
        node: String,
    },
    /// Make the pod of a node.
    CreatePod {
        /// The node.
        node: String,
    },
    /// Delete a pod.
    DeletePod {
        /// The node.
        node: String,
        /// Exactly this pod object.
        uid: String,
        /// Without waiting for its host.
        force: bool,
    },
    /// Delete a claim, unless the view recorded at that moment names its node as complete.
    DeleteClaim {
        /// The node.
        node: String,
        /// Exactly this claim object.
        uid: String,
    },
    /// Ask for a larger volume.
    GrowClaim {
        /// The node.
        node: String,
        /// So large.
        bytes: u64,
    },
    /// Let a claim go with the cluster.
    OwnClaim {
        /// The node.
        node: String,
    },
    /// Write the role into a pod's labels.
    LabelPod {
        /// The node.
        node: String,
        /// The role.
        role: &'static str,
    },
    /// Let the volumes of these nodes outlive the cluster.
    RetainClaims {
        /// The nodes.
        nodes: Vec<String>,
    },
    /// Deletion: let go of the view and the cluster's objects.
    Release,
}

impl Action {
    /// The reason of the Event that tells of an action on pods and claims, and whether it is a warning.
    /// Of the hot path the planner tells in its own words.
    pub(super) fn event(&self) -> Option<(&'static str, bool)> {
        match self {
            Self::CreateClaim { .. } => Some(("ClaimCreated", false)),
            Self::CreatePod { .. } => Some(("PodCreated", false)),
            Self::DeletePod { force, .. } => Some(("PodDeleted", *force)),
            Self::DeleteClaim { .. } => Some(("ClaimDeleted", true)),
            Self::GrowClaim { .. } => Some(("ClaimGrown", false)),
            _ => None,
        }
    }

    /// Whether this belongs to the hot path of a failover.
    #[must_use]
    pub fn is_hot(&self) -> bool {
        matches!(
            self,
            Self::RecordView { .. }
                | Self::Push { .. }
                | Self::StepDown { .. }
                | Self::Announce { .. }
                | Self::Withdraw
        )
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RecordView { next, .. } => {
                let names: Vec<&str> = next.complete.iter().map(|n| n.name.as_str()).collect();
                write!(f, "record {next} complete [{}]", names.join(", "))
            }
            Self::Push {
                await_nodes,
                previous_stopped,
            } => {
                let names: Vec<&str> = await_nodes.iter().map(|n| n.name.as_str()).collect();
                write!(f, "push, await [{}]", names.join(", "))?;
                if *previous_stopped {
                    f.write_str(", previous primary stopped")?;
                }
                Ok(())
            }
            Self::StepDown { node, epoch } => write!(f, "step down {node} in epoch {epoch}"),
            Self::Announce { node, address } => write!(f, "announce {node} at {address}"),
            Self::Withdraw => f.write_str("withdraw the read-write address"),
            Self::CreateClaim { node } => write!(f, "create claim {node}"),
            Self::CreatePod { node } => write!(f, "create pod {node}"),
            Self::DeletePod { node, force, .. } => {
                write!(
                    f,
                    "delete pod {node}{}",
                    if *force { " by force" } else { "" }
                )
            }
            Self::DeleteClaim { node, .. } => write!(f, "delete claim {node}"),
            Self::GrowClaim { node, bytes } => write!(f, "grow claim {node} to {bytes} bytes"),
            Self::OwnClaim { node } => write!(f, "own claim {node}"),
            Self::LabelPod { node, role } => write!(f, "label pod {node} {role}"),
            Self::RetainClaims { nodes } => write!(f, "retain claims {}", nodes.join(", ")),
            Self::Release => f.write_str("release the view and the cluster"),
        }
    }
}

/// An action and its reason in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What.
    pub action: Action,
    /// Why.
    pub why: String,
}
