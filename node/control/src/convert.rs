//! Between the wire's messages and the core's types. A message that lacks a required part is an
//! error that names it; nothing is filled in.

use std::collections::BTreeSet;

use standby_core::{ClusterId, Epoch, Loss, NodeId, View};

use crate::v1;

/// A message without something it must have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("control message: {field} is missing or empty")]
pub struct ConvertError {
    field: &'static str,
}

impl From<&NodeId> for v1::NodeId {
    fn from(node: &NodeId) -> Self {
        Self {
            name: node.name.clone(),
            volume: node.volume.0.clone(),
        }
    }
}

impl TryFrom<v1::NodeId> for NodeId {
    type Error = ConvertError;

    fn try_from(node: v1::NodeId) -> Result<Self, ConvertError> {
        if node.name.is_empty() {
            return Err(ConvertError { field: "node.name" });
        }
        if node.volume.is_empty() {
            return Err(ConvertError {
                field: "node.volume",
            });
        }
        Ok(Self::new(node.name, node.volume))
    }
}

impl From<&View> for v1::View {
    fn from(view: &View) -> Self {
        Self {
            cluster_id: view.cluster_id.0.clone(),
            epoch: view.epoch.0,
            primary: Some((&view.primary).into()),
            synchronous: view.synchronous.iter().map(Into::into).collect(),
            alone: view.alone,
            complete: view.complete.iter().map(Into::into).collect(),
            loss: view.loss.map(Into::into),
        }
    }
}

impl TryFrom<v1::View> for View {
    type Error = ConvertError;

    fn try_from(view: v1::View) -> Result<Self, ConvertError> {
        if view.cluster_id.is_empty() {
            return Err(ConvertError {
                field: "view.cluster_id",
            });
        }
        if view.epoch == 0 {
            return Err(ConvertError {
                field: "view.epoch",
            });
        }
        Ok(Self {
            cluster_id: ClusterId(view.cluster_id),
            epoch: Epoch(view.epoch),
            primary: view
                .primary
                .ok_or(ConvertError {
                    field: "view.primary",
                })?
                .try_into()?,
            synchronous: nodes(view.synchronous)?,
            alone: view.alone,
            complete: nodes(view.complete)?,
            loss: view.loss.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<Loss> for v1::Loss {
    fn from(loss: Loss) -> Self {
        Self {
            epoch: loss.epoch.0,
            total: loss.total,
        }
    }
}

impl TryFrom<v1::Loss> for Loss {
    type Error = ConvertError;

    fn try_from(loss: v1::Loss) -> Result<Self, ConvertError> {
        if loss.epoch == 0 {
            return Err(ConvertError {
                field: "view.loss.epoch",
            });
        }
        Ok(Self {
            epoch: Epoch(loss.epoch),
            total: loss.total,
        })
    }
}

fn nodes(nodes: Vec<v1::NodeId>) -> Result<BTreeSet<NodeId>, ConvertError> {
    nodes.into_iter().map(TryInto::try_into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_survives_the_wire() {
        let view = View::first(ClusterId("c".into()), NodeId::new("a", "1"));
        let view = view.with_synchronous(BTreeSet::from([NodeId::new("b", "2")]));
        assert_eq!(View::try_from(v1::View::from(&view)), Ok(view.clone()));
        let view = view.promote_with_loss(NodeId::new("c", "3"), standby_core::Index(40));
        assert_eq!(View::try_from(v1::View::from(&view)), Ok(view));
    }

    #[test]
    fn a_view_without_a_primary_is_refused_by_name() {
        let mut view = v1::View::from(&View::first(ClusterId("c".into()), NodeId::new("a", "1")));
        view.primary = None;
        let error = View::try_from(view).expect_err("it has no primary");
        assert!(error.to_string().contains("view.primary"), "{error}");
    }
}
