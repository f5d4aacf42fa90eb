//! What an operator that has just taken over hears before it acts: what is recorded may have been put back,
//! and then nodes live by a later view (V10). Never decides what follows.

use standby_core::{Micros, View};

use super::{Action, Later, Plan, Planned};
use crate::detect::Loss;
use crate::limits;
use crate::memory::Memory;
use crate::observe::{NodeFacts, Observation, Stream};

/// How long after it took over an operator gives nodes to tell of a later view than the recorded one.
pub(super) fn time_to_speak(observation: &Observation, memory: &Memory, view: &View) -> Micros {
    let epoch = Some(view.epoch);
    if memory.recorded == epoch {
        Micros(0)
    } else if memory.confirmed == epoch {
        // As long as silence takes to count as loss: a failover after silence waits no longer for it.
        let others = Micros::from_millis(limits::CONFIRM_OTHERS_MAX_MS);
        others.min(observation.cluster.thresholds.silence_max)
    } else {
        Micros::from_millis(limits::CONFIRM_MAX_MS)
    }
}

/// The nodes that may still tell of a later view than the recorded one. A confirmation must come from what
/// a node knew before: until then the view is told to nobody, or a node that lags behind would confirm what
/// it was just told.
pub(super) fn unheard<'a>(
    observation: &'a Observation,
    memory: &Memory,
    view: &'a View,
    now: Micros,
) -> Vec<&'a str> {
    if memory.in_epoch.held(now) >= time_to_speak(observation, memory, view) {
        return Vec::new();
    }
    let complete = view.complete.iter().map(|node| &node.name);
    let mut unheard: Vec<&str> = complete
        .chain(&observation.cluster.wanted)
        .filter(|name| observation.node(name).is_some_and(may_speak))
        .map(String::as_str)
        .collect();
    unheard.sort_unstable();
    unheard.dedup();
    unheard
}

/// Whether a node that has not been heard yet may be heard in a moment. That its container has ended is no
/// reason: what a kubelet could not report while the API server was away is not known yet, and of a process that
/// is really gone a refused connection tells at once.
fn may_speak(facts: &NodeFacts) -> bool {
    let ended = facts.pod.as_ref().is_none_or(|pod| pod.over);
    let refused = matches!(facts.stream, Stream::Lost(Loss::Refused));
    facts.report.is_none() && !ended && !refused
}

/// An operator that has just taken over records nothing that follows the recorded view before it has heard
/// every node that may be heard, or given it time: what is recorded may have been put back (V10), and
/// whoever was away since then takes it for the newest.
pub(super) fn hear_first(observation: &Observation, memory: &Memory, now: Micros, plan: &mut Plan) {
    let Some(view) = observation.view() else {
        return;
    };
    let unheard = unheard(observation, memory, view, now);
    if unheard.is_empty() {
        return;
    }
    let why = format!("{} may still tell of a later view", unheard.join(", "));
    let records = |planned: &Planned| matches!(planned.action, Action::RecordView { .. });
    for planned in plan.actions.extract_if(.., |planned| records(planned)) {
        let (what, why) = (planned.action.to_string(), why.clone());
        plan.later.push(Later { what, why });
    }
    let limit = time_to_speak(observation, memory, view);
    plan.look_when(memory.in_epoch.held(now), limit);
}
