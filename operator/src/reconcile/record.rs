//! The recorded view: read live, written by compare-and-swap. Never from a cache.

use kube::api::{Api, PostParams};
use standby_api::{Consent, ConsentKind, StandbyView, StandbyViewSpec};
use standby_core::{View, ViewChange};
use standby_operator_core::build::view::view as build;
use standby_operator_core::observe::Recorded;
use standby_operator_core::plan::{Basis, check_record};
use standby_operator_core::validate::ValidatedCluster;

use super::StepError;
use crate::api::{HOT, within};
use crate::context::{Context, Key};

/// Reads the live object.
async fn live(context: &Context, key: &Key) -> Result<Option<StandbyView>, StepError> {
    let views: Api<StandbyView> = Api::namespaced(context.client.clone(), &key.namespace);
    Ok(within(HOT, "read the StandbyView", views.get_opt(&key.name)).await?)
}

fn parse(key: &Key, spec: &StandbyViewSpec) -> Result<View, StepError> {
    View::try_from(spec).map_err(|source| StepError::View {
        name: key.name.clone(),
        source,
    })
}

/// What is recorded now.
pub async fn read(context: &Context, key: &Key) -> Result<Recorded, StepError> {
    Ok(match live(context, key).await? {
        Some(object) => Recorded::View(parse(key, &object.spec)?),
        None => Recorded::Absent,
    })
}

/// Records `next`, if exactly `basis` is recorded at this moment.
///
/// # Errors
/// [`StepError::Superseded`] when something else is recorded: the caller reads and plans anew.
pub async fn record(
    context: &Context,
    key: &Key,
    cluster: &ValidatedCluster,
    next: &View,
    basis: &Basis,
) -> Result<ViewChange, StepError> {
    let object = live(context, key).await?;
    let recorded = object
        .as_ref()
        .map(|object| parse(key, &object.spec))
        .transpose()?;
    let as_planned = match basis {
        Basis::Nothing => recorded.is_none(),
        Basis::View(view) => recorded.as_ref() == Some(view),
        Basis::Nodes {
            recorded: planned, ..
        } => recorded == *planned,
    };
    if !as_planned {
        return Err(StepError::Superseded);
    }
    let change = check_record(basis, next)?;
    if let (Basis::View(_), Some(recorded)) = (basis, &recorded) {
        // Against what the API server holds now, not against what was planned with: a breach would
        // lose acknowledged writes.
        let checked = recorded.check_successor(next);
        assert!(
            checked.is_ok(),
            "about to record a view that breaks a rule: {checked:?}"
        );
    }
    write(context, key, cluster, next, basis, object).await?;
    Ok(change)
}

async fn write(
    context: &Context,
    key: &Key,
    cluster: &ValidatedCluster,
    next: &View,
    basis: &Basis,
    object: Option<StandbyView>,
) -> Result<(), StepError> {
    let views: Api<StandbyView> = Api::namespaced(context.client.clone(), &key.namespace);
    let made = build(cluster, next, consent(basis, next));
    let params = PostParams {
        field_manager: Some(crate::api::MANAGER.into()),
        dry_run: false,
    };
    let written = if let Some(mut object) = object {
        // With the resourceVersion of the live object: the compare-and-swap.
        object.spec = made.spec;
        within(
            HOT,
            "record the view",
            views.replace(&key.name, &params, &object),
        )
        .await
    } else {
        within(HOT, "record the first view", views.create(&params, &made)).await
    };
    match written {
        Ok(_) => Ok(()),
        Err(error) if error.is_conflict() || error.is_not_found() => Err(StepError::Superseded),
        Err(error) => Err(error.into()),
    }
}

/// V10: continuing a lost view names its evidence.
fn consent(basis: &Basis, next: &View) -> Option<Consent> {
    let Basis::Nodes { recovery, .. } = basis else {
        return None;
    };
    Some(Consent {
        kind: ConsentKind::Recovery,
        epoch: i64::try_from(next.epoch.0).expect("an epoch grows by one a change"),
        by: "standby-operator".into(),
        why: "the view object was lost or restored, and every node was asked".into(),
        may_lose: format!("nothing: {}", recovery.evidence),
    })
}
