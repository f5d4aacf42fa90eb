//! The object that holds the recorded view.

use standby_api::{Consent, DataLoss, StandbyView, StandbyViewSpec, names};
use standby_core::{Epoch, Loss, View};

use super::meta;
use crate::validate::ValidatedCluster;

/// The view object of a cluster. It is made once; later changes replace its specification alone, by
/// compare-and-swap on its resource version. The finalizer keeps it while the cluster lives: without
/// it nobody could tell which nodes have every acknowledged write.
#[must_use]
pub fn view(cluster: &ValidatedCluster, view: &View, consent: Option<Consent>) -> StandbyView {
    let mut spec = StandbyViewSpec::from(view);
    spec.consent = consent;
    let mut metadata = meta::owned(cluster, cluster.name.clone(), meta::labels(cluster));
    metadata.finalizers = Some(vec![names::FINALIZER_VIEW.to_owned()]);
    StandbyView { metadata, spec }
}

/// Every loss that was ever consented to, as it stands beside a view. Text that is none is an error:
/// what was lost must not be forgotten in silence.
pub fn losses(object: &StandbyView) -> Result<Vec<DataLoss>, serde_json::Error> {
    let annotations = object.metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get(names::ANNOTATION_LOSSES))
        .map_or(Ok(Vec::new()), |text| serde_json::from_str(text))
}

/// Writes every loss that was ever consented to beside the view, in the same change.
pub fn keep_losses(object: &mut StandbyView, losses: &[DataLoss]) {
    if losses.is_empty() {
        return;
    }
    let text = serde_json::json!(losses).to_string();
    let annotations = object.metadata.annotations.get_or_insert_default();
    annotations.insert(names::ANNOTATION_LOSSES.to_owned(), text);
}

/// The losses of two sources as one list, the oldest first. Where both know of an epoch, the first holds.
#[must_use]
pub fn join_losses(first: &[DataLoss], second: &[DataLoss]) -> Vec<DataLoss> {
    let mut losses = first.to_vec();
    for loss in second {
        if !losses.iter().any(|known| known.epoch == loss.epoch) {
            losses.push(loss.clone());
        }
    }
    losses.sort_by_key(|loss| loss.epoch);
    losses
}

/// What nodes are told of all losses: the last epoch that began with one, and a bound on how far any
/// history that was given up can have come.
#[must_use]
pub fn told_losses(losses: &[DataLoss]) -> Option<Loss> {
    let epoch = losses.iter().map(|loss| loss.epoch).max()?;
    let total = losses.iter().filter_map(|loss| loss.loses_up_to);
    let number = |number: i64| u64::try_from(number).unwrap_or_default();
    Some(Loss {
        epoch: Epoch(number(epoch)),
        total: total.map(number).fold(0, u64::saturating_add),
    })
}
