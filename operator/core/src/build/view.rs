//! The object that holds the recorded view.

use standby_api::{Consent, StandbyView, StandbyViewSpec, names};
use standby_core::View;

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
