//! Recording a planned view: by compare-and-swap on exactly what it was planned on.

use standby_api::StandbyViewSpec;
use standby_core::View;
use standby_operator_core::build::view::join_losses;
use standby_operator_core::observe::Observation;
use standby_operator_core::plan::{Basis, Phase, Plan, check_record};

use super::{HOT, Wait};
use crate::api::{Ask, Purpose, Recording};
use crate::world::World;

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
        if !basis.is(recorded) {
            return self.superseded(which);
        }
        if let Err(error) = check_record(basis, next) {
            self.broken("rules", format!("a planned view breaks a rule: {error}"));
        }
        let mut spec = StandbyViewSpec::from(next);
        if let Some(consent) = basis.consent(next) {
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
