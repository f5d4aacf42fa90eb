//! Recording a planned view: by compare-and-swap on exactly what it was planned on.

use standby_api::{Consent, ConsentKind, StandbyViewSpec};
use standby_core::View;
use standby_operator_core::build::view::join_losses;
use standby_operator_core::observe::Observation;
use standby_operator_core::plan::{Basis, Phase, Plan, check_record};

use super::{HOT, Wait};
use crate::api::{Ask, Purpose, Recording};
use crate::world::World;

/// What a view that no rule allows by itself says of the consent to it, as `operator/src` words it.
fn consent(basis: &Basis, next: &View) -> Option<Consent> {
    let (kind, by, why, may_lose) = match basis {
        Basis::Nothing | Basis::View(_) => return None,
        Basis::Loss { record, .. } => (
            ConsentKind::AcceptDataLoss,
            record.by.clone(),
            record.why.clone(),
            format!("what was acknowledged after entry {}", record.from),
        ),
        Basis::Nodes {
            recovery, record, ..
        } => {
            let by = record.as_ref().map(|record| record.by.clone());
            (
                ConsentKind::Recovery,
                by.unwrap_or_else(|| "standby-operator".into()),
                "the view object was lost or restored".into(),
                recovery.evidence.clone(),
            )
        }
    };
    Some(Consent {
        kind,
        epoch: i64::try_from(next.epoch.0).expect("an epoch grows by one a change"),
        by,
        why,
        may_lose,
    })
}

impl World {
    pub(super) fn superseded(&mut self, which: usize) {
        self.report.superseded += 1;
        if let Some(actor) = &mut self.operators[which].actor {
            actor.wait = Wait::Again;
        }
        self.call(which, Purpose::Again, Ask::ReadView, HOT);
    }

    /// The live view is known: records what was planned, if it is still based on that.
    pub(super) fn compare(
        &mut self,
        which: usize,
        planned: Box<(Observation, Plan)>,
        found: Option<(View, u64)>,
    ) {
        let (next, basis) = planned.1.view_to_record().expect("it was planned");
        let recorded = found.as_ref().map(|(view, _)| view);
        let as_planned = match basis {
            Basis::Nothing => recorded.is_none(),
            Basis::View(view) | Basis::Loss { view, .. } => recorded == Some(view),
            Basis::Nodes { recorded: was, .. } => recorded == was.as_ref(),
        };
        if !as_planned {
            return self.superseded(which);
        }
        if let Err(error) = check_record(basis, next) {
            self.broken("rules", format!("a planned view breaks a rule: {error}"));
        }
        let mut spec = StandbyViewSpec::from(next);
        if let Some(consent) = consent(basis, next) {
            spec = spec.with_consent(consent);
        }
        let known = &planned.0.losses;
        let losses = join_losses(known, basis.loss().map_or(&[], std::slice::from_ref));
        let planned_move = planned.1.phase == Phase::HandingOver && matches!(basis, Basis::View(_));
        let recording = Recording {
            spec,
            losses,
            planned_move,
        };
        if let Some(actor) = &mut self.operators[which].actor {
            actor.wait = Wait::Record(planned);
        }
        let version = found.map(|(_, version)| version);
        self.call(
            which,
            Purpose::Record,
            Ask::WriteView(version, Box::new(recording)),
            HOT,
        );
    }
}
