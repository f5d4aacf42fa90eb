//! A cluster that is to sleep: the primary steps down (V8), then every pod ends. Volumes and the
//! recorded view stay as they are, and waking goes on from them as after any loss of all processes.

use std::collections::BTreeSet;

use standby_core::{Micros, View};

use super::{Action, Phase, Plan, Situation};
use crate::limits;
use crate::memory::Memory;
use crate::observe::{NodeRole, Observation};

/// How far it has come.
pub(super) fn situation(observation: &Observation, memory: &Memory, now: Micros) -> Situation {
    let kept = match observation.view() {
        Some(view) => format!("volumes and view (epoch {}) are kept", view.epoch),
        None => "volumes are kept".into(),
    };
    if observation.nodes.values().all(|facts| facts.pod.is_none()) {
        return Situation::of(
            Phase::Hibernated,
            format!("spec.hibernated is true: {kept}"),
        );
    }
    let primary = observation.view().and_then(|view| {
        let report = observation.live(&view.primary)?;
        (report.epoch() == view.epoch && !view.synchronous.is_empty()).then_some(report)
    });
    let waited = memory.stepped_down.held(now) >= Micros::from_millis(limits::DRAIN_MAX_MS);
    let (stepped_down, end_pods, does) = match primary.map(|report| (report.role, report.drained)) {
        Some((NodeRole::Primary, _)) => (None, false, "the primary steps down first"),
        Some((NodeRole::SteppedDown, drained)) if !drained && !waited => (
            Some(drained),
            false,
            "the primary has stepped down and drains",
        ),
        Some((NodeRole::SteppedDown, drained)) => (Some(drained), true, "the pods end"),
        _ => (None, true, "the pods end"),
    };
    Situation {
        stepped_down,
        end_pods,
        ..Situation::of(
            Phase::Hibernating,
            format!("spec.hibernated is true: {does}; {kept}"),
        )
    }
}

/// Nobody is led anywhere any more; a primary that works steps down before its pod ends.
pub(super) fn step(
    memory: &Memory,
    situation: &Situation,
    view: &View,
    now: Micros,
    plan: &mut Plan,
) {
    if situation.phase == Phase::Hibernating {
        if situation.stepped_down.is_some() {
            let limit = Micros::from_millis(limits::DRAIN_MAX_MS);
            plan.look_when(memory.stepped_down.held(now), limit);
        } else if !situation.end_pods {
            plan.act(
                Action::StepDown {
                    node: view.primary.name.clone(),
                    epoch: view.epoch,
                },
                &situation.why,
            );
        }
        plan.act(
            Action::Push {
                await_nodes: BTreeSet::new(),
                previous_stopped: false,
            },
            "every node must know the recorded view",
        );
        plan.tell("Hibernating", false, situation.why.clone());
    }
    plan.act(Action::Withdraw, &situation.why);
}
