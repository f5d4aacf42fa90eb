//! A view object that was put back to an older one (V10), as an operator sees it that knows more.

use standby_api::names;
use standby_core::{Epoch, View};

use super::fixtures::{cluster_id, healthy_view, id, observed};
use super::move_tests::NOW;
use super::{Phase, Plan, plan};
use crate::limits;
use crate::memory::Memory;
use crate::observe::{NodeRole, Observation, Recorded};

/// Epoch 4: `db-3` leads with `db-2`.
fn later() -> View {
    healthy_view()
        .promote(id(2))
        .with_synchronous([id(3)].into())
        .promote(id(3))
        .with_synchronous([id(2)].into())
}

/// Epoch 2 was put back, `db-3` and `db-2` cannot be asked, and `db-1` has slept all along.
fn put_back() -> Observation {
    let mut observation = observed(Some(healthy_view()));
    for serial in [2, 3] {
        observation.lose(serial);
        observation.facts(serial).report = None;
    }
    observation.said(1).role = NodeRole::Restarted;
    observation
}

fn remembers(observation: &Observation, view: &View) -> Plan {
    let mut memory = Memory::default();
    memory.saw_recorded(view);
    memory.observe(observation, NOW);
    plan(observation, &mut memory, NOW)
}

#[test]
fn an_older_view_is_not_gone_on_from_by_an_operator_that_has_seen_a_later_one() {
    let observation = put_back();
    let plan = remembers(&observation, &later());
    assert_eq!(plan.phase, Phase::RecoveryBlocked, "{plan}");
    let words = "the view object is at epoch 2, but epoch 6 was recorded before; going on without loss \
                 needs every node";
    assert!(plan.why.starts_with(words), "{}", plan.why);
    assert_eq!(plan.view_to_record(), None);
    // Without that memory nothing tells it from a current one.
    let mut fresh = Memory::default();
    fresh.observe(&observation, NOW);
    let astray = super::plan(&observation, &mut fresh, NOW);
    let (next, _) = astray.view_to_record().expect("nobody knows better");
    assert_eq!((next.epoch, &next.primary), (Epoch(3), &id(1)));
}

#[test]
fn a_running_operator_remembers_the_views_it_worked_with() {
    let mut memory = Memory::default();
    memory.observe(&observed(Some(later())), NOW);
    let observation = put_back();
    memory.observe(&observation, NOW);
    let plan = plan(&observation, &mut memory, NOW);
    assert_eq!(plan.phase, Phase::RecoveryBlocked, "{plan}");
}

#[test]
fn it_goes_on_above_what_it_has_seen_once_the_nodes_that_are_ahead_report() {
    let mut observation = observed(Some(later()));
    observation.recorded = Recorded::View(healthy_view());
    let plan = remembers(&observation, &later().promote(id(2)));
    assert_eq!(plan.phase, Phase::Recovering, "{plan}");
    let (next, _) = plan.view_to_record().expect("a view");
    assert_eq!(next.epoch, Epoch(8));
    assert!(later().complete.contains(&next.primary));
}

#[test]
fn a_consent_to_going_on_without_them_names_the_remembered_epoch_and_goes_far_above_it() {
    let mut observation = put_back();
    let text = r#"{"cluster":"shop/db","epoch":6,"losesUpTo":99,"by":"ann","why":"both burned"}"#;
    observation.order(names::ANNOTATION_ACCEPT_RECOVERY, text);
    let plan = remembers(&observation, &later());
    let (next, basis) = plan.view_to_record().expect("a view");
    assert_eq!(next.primary, id(1));
    assert_eq!(next.epoch, Epoch(6 + limits::RECOVERY_EPOCH_MARGIN));
    assert!(basis.loss().is_some());
}

#[test]
fn what_was_recorded_of_another_cluster_of_the_same_name_counts_for_nothing() {
    let mut other = later();
    other.cluster_id = standby_core::ClusterId("0ther".into());
    assert_ne!(other.cluster_id, cluster_id());
    let plan = remembers(&observed(Some(healthy_view())), &other);
    assert_eq!(plan.phase, Phase::Healthy, "{plan}");
}

#[test]
fn a_missing_view_is_continued_above_what_was_seen_recorded_too() {
    let mut observation = observed(Some(healthy_view()));
    observation.recorded = Recorded::Absent;
    let plan = remembers(&observation, &healthy_view().promote(id(2)));
    let (next, _) = plan.view_to_record().expect("a view");
    assert_eq!(next.epoch, Epoch(4), "{plan}");
}
