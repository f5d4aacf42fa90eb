//! What people read in each situation.

use jiff::Timestamp;
use standby_api::{DataLoss, OrderOutcome, StandbyClusterStatus, names};
use standby_core::Micros;

use super::{Moment, differs, status};
use crate::detect::Loss;
use crate::memory::Memory;
use crate::observe::{Observation, Stream};
use crate::plan::fixtures::{healthy_view, id, observed};
use crate::plan::plan;

fn moment(seconds: i64) -> Moment {
    Moment {
        now: Micros::from_millis(seconds.unsigned_abs() * 1_000),
        wall: Timestamp::from_second(1_800_000_000 + seconds).expect("a time"),
    }
}

fn seen(
    observation: &Observation,
    memory: &mut Memory,
    before: Option<&StandbyClusterStatus>,
    at: Moment,
) -> StandbyClusterStatus {
    memory.observe(observation, at.now);
    let plan = plan(observation, memory, at.now);
    status(observation, &plan, memory, before, at)
}

fn conditions(status: &StandbyClusterStatus) -> Vec<String> {
    status
        .conditions
        .iter()
        .map(|c| format!("{}={} {}", c.type_, c.status, c.reason))
        .collect()
}

#[test]
fn a_healthy_cluster_is_ready_available_and_safe() {
    let status = seen(
        &observed(Some(healthy_view())),
        &mut Memory::default(),
        None,
        moment(1),
    );
    assert_eq!(
        conditions(&status),
        [
            "Ready=True ClusterIsReady",
            "Available=True AcceptsWrites",
            "Safe=True CanFailOver",
            "Reconciling=False Steady",
            "Stalled=False Progressing",
        ]
    );
    assert_eq!(status.nodes_ready.as_deref(), Some("3/3"));
    assert_eq!(status.synchronous_standby.as_deref(), Some("db-2"));
}

#[test]
fn a_failover_that_is_blocked_says_so_in_every_condition() {
    let mut observation = observed(Some(healthy_view()));
    observation.lose(1);
    observation.lose(2);
    observation.pod_of(1).container.ended = true;
    let status = seen(&observation, &mut Memory::default(), None, moment(100));
    assert_eq!(
        conditions(&status),
        [
            "Ready=False FailoverBlocked",
            "Available=False FailoverBlocked",
            "Safe=False NoCandidate",
            "Reconciling=False Steady",
            "Stalled=True FailoverBlocked",
        ]
    );
}

#[test]
fn a_primary_that_only_the_operator_lost_leaves_availability_unknown() {
    let mut observation = observed(Some(healthy_view()));
    observation.lose(1);
    let status = seen(&observation, &mut Memory::default(), None, moment(1));
    assert_eq!(status.conditions[1].status, "Unknown");
    assert!(status.conditions[1].message.contains("that is no failure"));
}

#[test]
fn an_unchanged_status_keeps_its_times_and_progress_of_indexes_is_no_difference() {
    let mut observation = observed(Some(healthy_view()));
    let mut memory = Memory::default();
    let first = seen(&observation, &mut memory, None, moment(1));
    let second = seen(&observation, &mut memory, Some(&first), moment(60));
    assert_eq!(first, second);
    observation.said(1).applied.0 += 1;
    let third = seen(&observation, &mut memory, Some(&second), moment(61));
    assert_ne!(second, third);
    assert!(!differs(&second, &third));
}

#[test]
fn a_failover_is_kept_with_the_times_of_its_steps() {
    let mut memory = Memory::default();
    let mut observation = observed(Some(healthy_view()));
    observation.lose(1);
    observation.pod_of(1).container.ended = true;
    let noticed = Micros::from_millis(10_000);
    let _ = plan(&observation, &mut memory, noticed);
    let promoted = healthy_view().promote(id(2));
    memory.view_recorded(&promoted, Micros::from_millis(10_012));
    memory.announced("db-2", Micros::from_millis(10_020));
    let done = promoted.with_synchronous([id(3)].into());
    memory.view_recorded(&done, Micros::from_millis(10_030));
    let mut after = observed(Some(done));
    after.lose(1);
    let at = Moment {
        now: Micros::from_millis(10_040),
        ..moment(10)
    };
    let status = seen(&after, &mut memory, None, at);
    let row = &status.failovers[0];
    assert_eq!(
        (row.epoch, row.from.as_str(), row.to.as_str()),
        (3, "db-1", "db-2")
    );
    assert_eq!(row.fault, "ContainerTerminated");
    assert_eq!(row.steps.view_recorded_ms, Some(12));
    assert_eq!(row.steps.announced_ms, Some(20));
    assert_eq!(row.total_ms, Some(40));
}

#[test]
fn a_cluster_that_sleeps_is_neither_ready_nor_stalled() {
    let mut observation = observed(Some(healthy_view()));
    observation.cluster.hibernated = true;
    for facts in observation.nodes.values_mut() {
        facts.pod = None;
        facts.report = None;
        facts.stream = crate::observe::Stream::None;
    }
    let status = seen(&observation, &mut Memory::default(), None, moment(1));
    assert_eq!(status.phase.as_deref(), Some("Hibernated"));
    assert_eq!(
        conditions(&status),
        [
            "Ready=False Hibernated",
            "Available=False Hibernated",
            "Safe=False NoCandidate",
            "Reconciling=False Steady",
            "Stalled=False Progressing",
        ]
    );
}

#[test]
fn a_rolling_change_is_said_and_is_no_failure() {
    let mut observation = observed(Some(healthy_view()));
    observation.cluster.upkeep.built_from = "1-bb".into();
    let status = seen(&observation, &mut Memory::default(), None, moment(1));
    assert_eq!(
        status.phase.as_deref(),
        Some("Rolling change: db-3 is next, 3 pods left")
    );
    assert_eq!(
        conditions(&status)[3..],
        [
            "Reconciling=True RollingChange",
            "Stalled=False Progressing"
        ]
    );
    assert_eq!(status.next[0].action, "delete pod db-3");
    assert_eq!(
        status.next[0].why,
        "db-3 was made from an earlier specification"
    );
}

#[test]
fn a_paused_cluster_says_so_and_what_would_be_done() {
    let mut observation = observed(Some(healthy_view()));
    observation.order(names::ANNOTATION_PAUSED, "true");
    observation.lose(1);
    observation.pod_of(1).container.ended = true;
    let status = seen(&observation, &mut Memory::default(), None, moment(1));
    assert_eq!(status.phase.as_deref(), Some("Paused"));
    let said = conditions(&status);
    assert_eq!(said[0], "Ready=False Paused");
    assert_eq!(said[3], "Reconciling=False Paused");
    assert!(
        status.conditions[0]
            .message
            .starts_with("paused, the operator changes nothing")
    );
    assert!(
        status.next[0]
            .action
            .starts_with("record epoch 3 primary db-2")
    );
}

#[test]
fn an_order_keeps_its_outcome_and_time_until_something_changes() {
    let mut observation = observed(Some(healthy_view()));
    observation.order(names::ANNOTATION_SWITCHOVER, "db-9@2");
    let mut memory = Memory::default();
    let first = seen(&observation, &mut memory, None, moment(1));
    assert_eq!(first.orders[0].outcome, OrderOutcome::Refused);
    assert_eq!(first.orders[0].reason, "there is no node db-9");
    let again = seen(&observation, &mut memory, Some(&first), moment(9));
    assert_eq!(again.orders, first.orders);
    // Taken back, it stays in the list; another one comes first.
    observation.order(names::ANNOTATION_SWITCHOVER, "db-2@2");
    let other = seen(&observation, &mut memory, Some(&again), moment(10));
    let told: Vec<_> = other
        .orders
        .iter()
        .map(|o| (o.value.as_str(), o.outcome))
        .collect();
    assert_eq!(
        told,
        [
            ("db-2@2", OrderOutcome::Accepted),
            ("db-9@2", OrderOutcome::Refused)
        ]
    );
}

#[test]
fn a_restart_whose_pods_are_gone_is_done_and_one_that_came_too_late_is_void() {
    let mut observation = observed(Some(healthy_view()));
    observation.order(names::ANNOTATION_RESTART, "db-3@pod-3");
    let mut memory = Memory::default();
    let first = seen(&observation, &mut memory, None, moment(1));
    assert_eq!(first.orders[0].outcome, OrderOutcome::Accepted);
    observation.pod_of(3).uid = "another".into();
    let after = seen(&observation, &mut memory, Some(&first), moment(2));
    assert_eq!(after.orders[0].outcome, OrderOutcome::Done);
    let late = seen(&observation, &mut memory, None, moment(3));
    assert_eq!(late.orders[0].outcome, OrderOutcome::Void);
}

#[test]
fn what_was_lost_by_consent_is_told_for_ever() {
    let mut observation = observed(Some(healthy_view()));
    let lost = DataLoss {
        epoch: 2,
        node: "db-1".into(),
        from: 90,
        loses_up_to: Some(120),
        by: "ann".into(),
        why: "both disks burned".into(),
        time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(moment(0).wall),
    };
    observation.losses = vec![lost.clone()];
    let status = seen(&observation, &mut Memory::default(), None, moment(1));
    assert_eq!(status.data_loss, [lost]);
}

#[test]
fn a_silence_that_goes_on_is_no_difference_though_the_words_tell_how_long() {
    let mut observation = observed(Some(healthy_view()));
    let mut memory = Memory::default();
    let mut silent_for = |seconds: i64, before: Option<&StandbyClusterStatus>| {
        observation.facts(3).stream = Stream::Lost(Loss::Silent {
            silence: Micros::from_millis(seconds.unsigned_abs() * 1_000),
            phi: f64::INFINITY,
        });
        seen(&observation, &mut memory, before, moment(seconds))
    };
    let first = silent_for(60, None);
    let second = silent_for(61, Some(&first));
    assert_ne!(first, second);
    assert!(!differs(&first, &second));
}
