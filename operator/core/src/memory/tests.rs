//! What is remembered of primaries, and what it proves of them (V5).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use standby_api::{FailoverStatus, FailoverSteps};
use standby_core::{Micros, View};

use super::Memory;
use crate::judge::FailureReason;
use crate::limits::CONTAINER_SETTLED_MS;
use crate::observe::{NodeRole, Observation};
use crate::plan::fixtures::{healthy_view, id, observed};
use crate::status::Moment;

const NOW: Micros = Micros::from_millis(100_000);
const SETTLED: Micros = Micros::from_millis(100_000 + CONTAINER_SETTLED_MS);

/// `db-1` was seen serving long enough for its container to be known, after an operator that saw all.
fn remembered() -> Memory {
    let mut memory = Memory::default();
    let observation = observed(Some(healthy_view()));
    memory.observe(&observation, NOW);
    memory.observe(&observation, SETTLED);
    memory
}

/// `db-1` is not heard any more and `view` is recorded.
fn lost(view: &View) -> Observation {
    let mut observation = observed(Some(view.clone()));
    observation.said(1).view = Some(healthy_view());
    observation.said(1).role = NodeRole::Primary;
    observation.said(2).role = NodeRole::Follower;
    observation.lose(1);
    observation
}

fn terminated(observation: &mut Observation) {
    let container = &mut observation.pod_of(1).container;
    container.running = None;
    container.ended = true;
    container.terminated = ["c-1".to_owned()].into();
}

#[test]
fn a_terminated_container_proves_that_its_primary_has_stopped() {
    let mut memory = remembered();
    let next = healthy_view().promote(id(2));
    let mut observation = lost(&next);
    memory.observe(&observation, SETTLED);
    assert!(!memory.previous_stopped(&observation, &next));
    terminated(&mut observation);
    assert!(memory.previous_stopped(&observation, &next));
}

#[test]
fn a_terminated_container_proves_nothing_while_another_runs_in_the_pod() {
    let mut memory = remembered();
    let next = healthy_view().promote(id(2));
    let mut observation = lost(&next);
    terminated(&mut observation);
    let container = &mut observation.pod_of(1).container;
    container.ended = false;
    container.running = Some("c-9".into());
    memory.observe(&observation, SETTLED);
    assert!(!memory.previous_stopped(&observation, &next));
}

#[test]
fn a_terminated_container_proves_nothing_while_its_process_is_heard() {
    let mut memory = remembered();
    let next = healthy_view().promote(id(2));
    let mut observation = lost(&next);
    terminated(&mut observation);
    observation.facts(1).stream = crate::observe::Stream::Alive;
    memory.observe(&observation, SETTLED);
    assert!(!memory.previous_stopped(&observation, &next));
}

#[test]
fn nothing_is_proven_after_views_that_somebody_else_recorded() {
    let mut memory = remembered();
    let others = healthy_view()
        .promote(id(2))
        .with_synchronous([id(3)].into())
        .promote(id(3));
    let mut observation = lost(&others);
    observation.said(1).role = NodeRole::Follower;
    memory.observe(&observation, SETTLED);
    assert!(!memory.previous_stopped(&observation, &others));
}

#[test]
fn the_container_of_an_earlier_run_is_not_taken_for_that_of_the_next() {
    let mut memory = remembered();
    let again = healthy_view().promote(id(1));
    let mut observation = observed(Some(again));
    observation.said(1).run = "run-2".into();
    memory.observe(&observation, SETTLED);
    memory.observe(
        &observation,
        SETTLED.plus(Micros::from_millis(CONTAINER_SETTLED_MS)),
    );
    let holder = memory.holder.as_ref().expect("seen");
    assert_eq!((holder.run.as_str(), &holder.container), ("run-2", &None));
}

#[test]
fn failovers_on_suspicion_of_an_earlier_operator_are_taken_over_from_the_status() {
    let moment = Moment {
        now: NOW,
        wall: "2026-03-01T12:00:00Z".parse().expect("a time"),
    };
    let row = |fault: FailureReason, time: &str| FailoverStatus {
        epoch: 3,
        fault: fault.to_string(),
        reason: String::new(),
        from: "db-1".into(),
        to: "db-2".into(),
        time: MicroTime(time.parse().expect("a time")),
        steps: FailoverSteps::default(),
        total_ms: None,
    };
    let mut memory = Memory::default();
    let rows = [
        row(FailureReason::WritePathStuck, "2026-03-01T11:59:59Z"),
        row(FailureReason::Unreachable, "2026-03-01T11:59:00Z"),
        row(FailureReason::PodGone, "2026-03-01T11:59:30Z"),
        row(FailureReason::Unreachable, "2026-03-01T11:00:00Z"),
    ];
    memory.recall(&rows, moment);
    let mut observation = observed(Some(healthy_view()));
    observation.cluster.policy.limit.within = Micros::from_millis(61_000);
    assert_eq!(memory.suspicions(&observation, NOW), 2);
    let later = NOW.plus(Micros::from_millis(2_000));
    assert_eq!(memory.suspicions(&observation, later), 1);
}
