//! Planned moves and orders: what is done, what is refused and why, and what is told.

use standby_api::names;
use standby_core::{Epoch, Index, Micros, View};

use super::fixtures::{cluster_id, healthy_view, id, observed};
use super::{Action, Outcome, Phase, Plan, plan};
use crate::limits;
use crate::memory::Memory;
use crate::observe::{LinkState, NodeRole, Observation};
use crate::policy::{Policy, Window};

pub(super) const NOW: Micros = Micros::from_millis(1_000_000);

/// A plan of an operator that has watched the observation for long.
pub(super) fn planned(observation: &Observation) -> Plan {
    let mut memory = Memory::default();
    for at in [Micros(0), NOW] {
        memory.observe(observation, at);
        let _ = plan(observation, &mut memory, at);
    }
    plan(observation, &mut memory, NOW)
}

fn does(plan: &Plan, wanted: impl Fn(&Action) -> bool) -> bool {
    plan.actions.iter().any(|planned| wanted(&planned.action))
}

fn steps_down(plan: &Plan) -> bool {
    does(plan, |action| matches!(action, Action::StepDown { .. }))
}

/// What became of the only order there is.
pub(super) fn order(plan: &Plan) -> (Outcome, &str) {
    let verdict = plan.orders.first().expect("an order");
    (verdict.outcome, &verdict.reason)
}

fn ordered(value: &str) -> Observation {
    let mut observation = observed(Some(healthy_view()));
    observation.order(names::ANNOTATION_SWITCHOVER, value);
    observation
}

#[test]
fn a_switchover_to_the_synchronous_node_steps_down_at_once() {
    for to in ["db-2@2", "any@2"] {
        let plan = planned(&ordered(to));
        assert_eq!(plan.phase, Phase::HandingOver, "{to}: {plan}");
        assert!(steps_down(&plan), "{to}: {plan}");
        assert_eq!(order(&plan).0, Outcome::Accepted, "{to}");
    }
}

#[test]
fn a_replica_is_made_synchronous_before_the_role_is_handed_to_it() {
    let mut observation = ordered("db-3@2");
    let first = planned(&observation);
    assert_eq!(
        first.to_string(),
        "PreparingHandover: a person asked for db-3 in epoch 2; db-3 is made synchronous first\n\
         - push, await [db-3]\n    because every node must know the recorded view\n\
         - announce db-1 at 10.0.0.1\n    because db-1 is primary in epoch 2\n\
         > switchover db-3@2: Accepted: a person asked for db-3 in epoch 2; db-3 is made \
         synchronous first\n\
         + db-1: it is primary\n\
         + db-2: it has every acknowledged write (complete in epoch 2)\n\
         - db-3: it may lack acknowledged writes: not complete in epoch 2\n"
    );
    observation.said(1).peers[1].complete = true;
    observation.said(1).peers[1].awaited = true;
    let recorded = planned(&observation);
    let (next, _) = recorded.view_to_record().expect("a view");
    assert_eq!((next.epoch, &next.synchronous), (Epoch(3), &[id(3)].into()));
    // The order names epoch 2 and is carried out in 3, where its node is synchronous.
    let mut after = observed(Some(next.clone()));
    after.order(names::ANNOTATION_SWITCHOVER, "db-3@2");
    let handing = planned(&after);
    assert!(steps_down(&handing), "{handing}");
    // And never again once the role has moved.
    let moved = next.promote(id(3)).with_synchronous([id(1)].into());
    let mut done = observed(Some(moved));
    done.order(names::ANNOTATION_SWITCHOVER, "db-3@2");
    let plan = planned(&done);
    assert_eq!(plan.phase, Phase::Healthy);
    assert_eq!(order(&plan).0, Outcome::Done);
}

#[test]
fn an_order_of_a_past_epoch_is_void_and_of_a_future_one_refused() {
    let plan = planned(&ordered("db-3@1"));
    assert_eq!(
        (plan.phase, order(&plan).0),
        (Phase::Healthy, Outcome::Past)
    );
    let plan = planned(&ordered("db-2@9"));
    assert_eq!(
        order(&plan),
        (Outcome::Refused, "epoch must be the recorded one, 2, was 9")
    );
}

#[test]
fn a_switchover_that_would_not_be_safe_is_refused_with_the_reason() {
    let refused = |observation: &Observation, words: &str| {
        let plan = planned(observation);
        assert!(!steps_down(&plan), "{plan}");
        let (outcome, reason) = order(&plan);
        assert_eq!(outcome, Outcome::Refused, "{plan}");
        assert!(reason.contains(words), "{reason:?} does not say {words:?}");
        assert!(plan.notices.iter().any(|n| n.reason == "OrderRefused"));
    };
    refused(&ordered("db-1@2"), "db-1 is primary already");
    refused(&ordered("db-9@2"), "there is no node db-9");
    let mut lost = ordered("db-3@2");
    lost.lose(3);
    refused(&lost, "db-3 cannot be reached");
    let mut leaving = ordered("db-3@2");
    leaving.pod_of(3).deleting_since = Some(NOW);
    refused(&leaving, "db-3 is being deleted");
    let mut behind = ordered("db-3@2");
    behind.said(1).commit = Index(1_000_000);
    refused(
        &behind,
        "db-3 has not caught up: it is 999990 entries behind",
    );
    let mut doubting = ordered("db-3@2");
    doubting.said(3).doubt = "its log is damaged".into();
    refused(&doubting, "db-3 refuses: its log is damaged");
    let mut unhealthy = ordered("any@2");
    unhealthy.lose(2);
    unhealthy.said(1).peers[0].connected = false;
    refused(&unhealthy, "no synchronous node can take over");
}

#[test]
fn a_target_that_dies_before_the_step_down_changes_nothing() {
    let mut observation = ordered("db-3@2");
    let peer = &mut observation.said(1).peers[1];
    peer.awaited = true;
    peer.connected = false;
    observation.lose(3);
    let plan = planned(&observation);
    assert_eq!(plan.phase, Phase::EndingPromise, "{plan}");
    let (next, _) = plan.view_to_record().expect("a view");
    assert_eq!(next.synchronous, [id(2)].into());
    // In the epoch that ended the promise the order is void.
    let mut after = observed(Some(next.clone()));
    after.order(names::ANNOTATION_SWITCHOVER, "db-3@2");
    let plan = planned(&after);
    assert_eq!(
        (plan.phase, order(&plan).0),
        (Phase::Healthy, Outcome::Past)
    );
}

#[test]
fn a_target_that_dies_after_the_step_down_leaves_the_role_to_the_old_primary() {
    let mut observation = ordered("db-2@2");
    observation.said(1).role = NodeRole::SteppedDown;
    observation.lose(2);
    let plan = planned(&observation);
    let (next, _) = plan.view_to_record().expect("a view");
    assert_eq!((&next.primary, next.epoch), (&id(1), Epoch(3)), "{plan}");
}

#[test]
fn a_client_of_the_primary_can_ask_for_a_switchover() {
    let mut observation = observed(Some(healthy_view()));
    observation.said(1).wants_switchover_to = Some("db-2".into());
    assert!(steps_down(&planned(&observation)));
    observation.said(1).wants_switchover_to = Some("db-3".into());
    assert!(!steps_down(&planned(&observation)), "it is not synchronous");
}

#[test]
fn a_fenced_primary_hands_over_and_a_fenced_synchronous_node_is_replaced() {
    let mut observation = observed(Some(healthy_view()));
    observation.order(names::ANNOTATION_FENCE, "db-1");
    assert!(steps_down(&planned(&observation)));
    observation.order(names::ANNOTATION_FENCE, "db-2");
    let plan = planned(&observation);
    assert_eq!(plan.phase, Phase::ReplacingSynchronous, "{plan}");
    assert!(does(
        &plan,
        |a| matches!(a, Action::Push { await_nodes, .. } if *await_nodes == [id(3)].into())
    ));
    let verdict = plan
        .candidates
        .iter()
        .find(|c| c.name == "db-2")
        .expect("listed");
    assert_eq!(
        (verdict.promotable, verdict.why.as_str()),
        (false, "it is fenced")
    );
}

#[test]
fn a_fenced_primary_steps_down_even_if_nobody_can_take_over() {
    let mut observation = observed(Some(healthy_view()));
    observation.order(names::ANNOTATION_FENCE, "db-1,db-2,db-3");
    let plan = planned(&observation);
    assert!(steps_down(&plan), "{plan}");
    observation.said(1).role = NodeRole::SteppedDown;
    let stopped = planned(&observation);
    assert_eq!(stopped.phase, Phase::GaveUp, "{stopped}");
    assert!(
        stopped
            .options
            .iter()
            .any(|choice| choice.action == "unfence")
    );
    observation.order(names::ANNOTATION_FENCE, "db-1,db-3");
    observation.said(1).drained = true;
    let unfenced = planned(&observation);
    assert_eq!(unfenced.view_to_record().expect("a view").0.primary, id(2));
}

#[test]
fn a_fenced_node_becomes_synchronous_and_then_primary_only_when_it_is_fenced_no_more() {
    let mut observation = ordered("db-3@2");
    let orders = [
        (names::ANNOTATION_SWITCHOVER.to_owned(), "db-3@2".to_owned()),
        (names::ANNOTATION_FENCE.to_owned(), "db-3".to_owned()),
    ];
    observation.cluster.orders = crate::orders::Orders::read(&orders.into());
    let plan = planned(&observation);
    let refused = plan
        .orders
        .iter()
        .find(|o| o.order == "switchover")
        .expect("listed");
    assert_eq!(refused.reason, "db-3 is fenced");
    assert_eq!(plan.phase, Phase::Healthy);
}

fn preferring(node: &str) -> Observation {
    let mut observation = observed(Some(healthy_view()));
    observation.cluster.policy = Policy {
        nodes: vec![node.into()],
        ..Policy::default()
    };
    observation
}

#[test]
fn the_primary_is_moved_to_a_better_place_once_the_cluster_has_been_healthy_for_a_while() {
    let observation = preferring("db-2");
    let mut memory = Memory::default();
    memory.observe(&observation, NOW);
    let early = plan(&observation, &mut memory, NOW);
    assert!(!steps_down(&early));
    assert_eq!(early.later[0].what, "switch over to db-2");
    let later = NOW.plus(Micros::from_millis(limits::PREFERRED_AFTER_MS));
    assert!(steps_down(&plan(&observation, &mut memory, later)));
    // A replica in the best place is made synchronous first.
    assert_eq!(planned(&preferring("db-3")).phase, Phase::PreparingHandover);
    assert_eq!(planned(&preferring("db-1")).phase, Phase::Healthy);
}

#[test]
fn the_primary_is_moved_to_a_better_place_only_inside_a_window() {
    let mut observation = preferring("db-2");
    let window = Window::new("0 3 * * *", "UTC", 60).expect("a window");
    observation.cluster.policy.windows = vec![window];
    observation.wall = "2026-01-04T12:00:00Z".parse().expect("a time");
    let closed = planned(&observation);
    assert!(!steps_down(&closed), "{closed}");
    assert!(
        closed.later[0]
            .why
            .contains("opens at 2026-01-05T03:00:00Z"),
        "{closed}"
    );
    observation.wall = "2026-01-04T03:30:00Z".parse().expect("a time");
    assert!(steps_down(&planned(&observation)));
}

#[test]
fn among_nodes_that_have_everything_the_one_in_the_better_place_is_promoted() {
    let view = View::first(cluster_id(), id(1)).with_synchronous([id(2), id(3)].into());
    let mut observation = observed(Some(view));
    observation.cluster.policy.zones = vec!["zone-3".into()];
    observation.lose(1);
    observation.pod_of(1).container.ended = true;
    let plan = planned(&observation);
    assert_eq!(plan.view_to_record().expect("a view").0.primary, id(3));
}

#[test]
fn a_pod_of_the_primary_that_is_to_be_restarted_hands_over_after_all_others_were() {
    let mut observation = observed(Some(healthy_view()));
    observation.order(names::ANNOTATION_RESTART, "db-1@pod-1,db-3@pod-3");
    assert!(!steps_down(&planned(&observation)));
    observation.pod_of(3).uid = "another".into();
    assert!(steps_down(&planned(&observation)));
}

#[test]
fn a_paused_cluster_is_watched_and_says_what_would_be_done() {
    let mut observation = observed(Some(healthy_view()));
    observation.order(names::ANNOTATION_PAUSED, "true");
    observation.lose(1);
    observation.pod_of(1).container.ended = true;
    observation.nodes.remove("db-3");
    let plan = planned(&observation);
    assert_eq!(plan.phase, Phase::FailingOver);
    assert_eq!(plan.view_to_record(), None, "{plan}");
    assert!(plan.actions.is_empty(), "{plan}");
    let withheld = plan.withheld.expect("withheld");
    assert!(
        withheld
            .iter()
            .any(|p| matches!(p.action, Action::RecordView { .. }))
    );
    assert!(
        withheld
            .iter()
            .any(|p| matches!(p.action, Action::CreatePod { .. }))
    );
}

#[test]
fn failovers_on_suspicion_follow_each_other_ever_more_slowly_and_proven_ones_never() {
    let mut observation = observed(Some(healthy_view()));
    let mut memory = Memory::default();
    memory.observe(&observation, NOW);
    memory.confirmed = Some(Epoch(2));
    memory.suspected = vec![NOW; observation.cluster.policy.limit.count];
    observation.lose(1);
    observation.link(2, LinkState::Refused);
    let held = plan(&observation, &mut memory, NOW);
    assert_eq!(held.phase, Phase::HeldBack, "{held}");
    assert_eq!(held.later[0].what, "promote db-2");
    let doubled = NOW.plus(Micros(2 * observation.cluster.thresholds.silence_max.0));
    assert_eq!(
        plan(&observation, &mut memory, doubled).phase,
        Phase::FailingOver
    );
    // One more: twice as long.
    memory.suspected.push(NOW);
    assert_eq!(
        plan(&observation, &mut memory, doubled).phase,
        Phase::HeldBack
    );
    observation.pod_of(1).container.ended = true;
    assert_eq!(
        plan(&observation, &mut memory, doubled).phase,
        Phase::FailingOver
    );
}

#[test]
fn an_operator_that_has_just_taken_over_hears_the_nodes_before_it_fails_over_in_a_view_nobody_confirmed()
 {
    let mut observation = observed(Some(healthy_view()));
    observation.pod_of(1).container.ended = true;
    observation.lose(1);
    // The synchronous node says what it has adopted: that is enough.
    let mut memory = Memory::default();
    memory.observe(&observation, NOW);
    assert_eq!(
        plan(&observation, &mut memory, NOW).phase,
        Phase::FailingOver
    );
    // It has something older, and another node has not spoken yet.
    observation.said(2).view = Some(View::first(cluster_id(), id(1)));
    observation.facts(3).report = None;
    let mut memory = Memory::default();
    memory.observe(&observation, NOW);
    let waits = plan(&observation, &mut memory, NOW);
    assert_eq!(waits.phase, Phase::Confirming, "{waits}");
    let limit = NOW.plus(Micros::from_millis(limits::CONFIRM_MAX_MS));
    assert_eq!(
        plan(&observation, &mut memory, limit).phase,
        Phase::FailingOver
    );
    observation.facts(3).report = observed(Some(healthy_view())).facts(3).report.clone();
    assert_eq!(
        plan(&observation, &mut memory, NOW).phase,
        Phase::FailingOver
    );
}

#[test]
fn a_promise_to_a_node_that_refuses_ends_at_once() {
    let mut observation = observed(Some(healthy_view()));
    observation.said(1).peers[1].awaited = true;
    observation.said(3).doubt = "the log ends before what this volume once acknowledged".into();
    let plan = planned(&observation);
    assert_eq!(plan.phase, Phase::EndingPromise, "{plan}");
}
