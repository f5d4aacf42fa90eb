//! The recorded view: read live, written by compare-and-swap. Never from a cache.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, PostParams};
use standby_api::{ConsentKind, DataLoss, StandbyView, StandbyViewSpec};
use standby_core::{View, ViewChange};
use standby_operator_core::build::view::{join_losses, keep_losses, losses, view as build};
use standby_operator_core::observe::Recorded;
use standby_operator_core::plan::{Basis, check_record};
use standby_operator_core::validate::ValidatedCluster;

use super::StepError;
use crate::api::{HOT, Lane, within};
use crate::context::{Context, Key};

/// The longest text of what may be lost: the schema's limit.
const MAY_LOSE_LENGTH_MAX: usize = 1_000;

/// Reads the live object.
async fn live(context: &Context, key: &Key, lane: Lane) -> Result<Option<StandbyView>, StepError> {
    let views: Api<StandbyView> = Api::namespaced(context.client.clone(), &key.namespace);
    Ok(within(lane, "read the StandbyView", views.get_opt(&key.name)).await?)
}

fn parse(key: &Key, spec: &StandbyViewSpec) -> Result<View, StepError> {
    View::try_from(spec).map_err(|source| StepError::View {
        name: key.name.clone(),
        source,
    })
}

/// The view object as it was read live or written last, with its `resourceVersion`. A change that is
/// based on it is refused by the API server if anything has changed since: so it spares a failover the
/// read before each write, and can never make a stale change succeed.
#[derive(Default)]
pub struct Held {
    object: Option<StandbyView>,
    /// Every loss that was ever consented to, as it stands beside the view.
    losses: Vec<DataLoss>,
}

impl Held {
    /// Every loss that was ever consented to, as far as the view object knows.
    #[must_use]
    pub fn losses(&self) -> &[DataLoss] {
        &self.losses
    }

    fn take(&mut self, key: &Key, object: Option<StandbyView>) -> Result<(), StepError> {
        if let Some(object) = &object {
            let losses = losses(object).map_err(|source| StepError::Losses {
                name: key.name.clone(),
                source,
            })?;
            self.losses = join_losses(&losses, &self.losses);
            // A person may have changed the view by hand, with consent: that is kept too.
            self.losses = join_losses(&self.losses, by_hand(object).as_slice());
        }
        self.object = object;
        Ok(())
    }
}

/// The loss that the view's own consent tells of.
fn by_hand(object: &StandbyView) -> Option<DataLoss> {
    let spec = &object.spec;
    let consent = spec.consent.as_ref()?;
    let primary = spec.primary.split('/').next().unwrap_or_default();
    (consent.kind == ConsentKind::AcceptDataLoss).then(|| DataLoss {
        epoch: consent.epoch,
        node: primary.to_owned(),
        from: 0,
        loses_up_to: None,
        by: consent.by.clone(),
        why: format!("{}; may lose {}", consent.why, consent.may_lose)
            .chars()
            .take(MAY_LOSE_LENGTH_MAX)
            .collect(),
        time: Time(Timestamp::now()),
    })
}

/// What is recorded now, read live.
pub async fn read(
    context: &Context,
    key: &Key,
    held: &mut Held,
    lane: Lane,
) -> Result<Recorded, StepError> {
    held.object = None;
    held.take(key, live(context, key, lane).await?)?;
    Ok(match &held.object {
        Some(object) => Recorded::View(parse(key, &object.spec)?),
        None => Recorded::Absent,
    })
}

/// Records `next`, if exactly `basis` is recorded at this moment. `losses`: every loss that is known of,
/// kept beside the view with the one that comes with it.
///
/// # Errors
/// [`StepError::Superseded`] when something else is recorded: the caller reads and plans anew.
pub async fn record(
    context: &Context,
    key: &Key,
    cluster: &ValidatedCluster,
    held: &mut Held,
    planned: (&View, &Basis),
    known: &[DataLoss],
) -> Result<ViewChange, StepError> {
    let (next, basis) = planned;
    let object = match held.object.take() {
        Some(object) => Some(object),
        None => live(context, key, HOT).await?,
    };
    let recorded = object
        .as_ref()
        .map(|object| parse(key, &object.spec))
        .transpose()?;
    if !basis.is(recorded.as_ref()) {
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
    let losses = join_losses(known, basis.loss().map_or(&[], std::slice::from_ref));
    let mut made = build(cluster, next, basis.consent(next));
    keep_losses(&mut made, &losses);
    let written = write(context, key, made, object).await?;
    held.take(key, Some(written))?;
    Ok(change)
}

async fn write(
    context: &Context,
    key: &Key,
    made: StandbyView,
    object: Option<StandbyView>,
) -> Result<StandbyView, StepError> {
    let views: Api<StandbyView> = Api::namespaced(context.client.clone(), &key.namespace);
    let params = PostParams {
        field_manager: Some(crate::api::MANAGER.into()),
        dry_run: false,
    };
    let written = if let Some(mut object) = object {
        // With the resourceVersion of the live object: the compare-and-swap.
        object.spec = made.spec;
        for (name, value) in made.metadata.annotations.into_iter().flatten() {
            object
                .metadata
                .annotations
                .get_or_insert_default()
                .insert(name, value);
        }
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
        Ok(object) => Ok(object),
        Err(error) if error.is_conflict() || error.is_not_found() => Err(StepError::Superseded),
        Err(error) => Err(error.into()),
    }
}
