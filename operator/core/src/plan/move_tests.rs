//! Planned moves, orders and consent: what is done, what is refused and why, and what is told.

use standby_api::names;
use standby_core::{Epoch, Index, Micros, Position, View};

use super::fixtures::{cluster_id, healthy_view, id, observed};
use super::{Action, Basis, Outcome, Phase, Plan, plan};
use crate::limits;
use crate::memory::Memory;
use crate::observe::{LinkState, NodeRole, Observation, Recorded};
use crate::policy::{Policy, Window};

const NOW: Micros = Micros::from_millis(1_000_000);

/// A plan of an operator that has watched the observation for long.
fn planned(observation: &Observation) -> Plan {
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
fn order(plan: &Plan) -> (Outcome, &str) {
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

/// Everybody with every acknowledged write is gone; `db-3` is left and ends earlier.
fn only_a_lagging_replica_left() -> Observation {
    let mut observation = observed(Some(healthy_view()));
    for serial in [1, 2] {
        observation.said(serial).last = Position::new(Epoch(2), Index(120));
        observation.said(serial).commit = Index(118);
        observation.lose(serial);
        observation.pod_of(serial).container.ended = true;
    }
    observation.said(3).last = Position::new(Epoch(2), Index(90));
    observation
}

fn consent(losing: u64) -> String {
    format!(
        r#"{{"cluster":"shop/db","epoch":2,"node":"db-3","losesUpTo":{losing},"by":"ann","why":"both disks burned"}}"#
    )
}

#[test]
fn what_can_be_done_and_what_it_costs_is_told_when_nobody_can_be_promoted() {
    let plan = planned(&only_a_lagging_replica_left());
    assert_eq!(plan.phase, Phase::FailoverBlocked);
    let told: Vec<String> = plan
        .options
        .iter()
        .map(|c| {
            format!(
                "{} {}: {}",
                c.action,
                c.node.as_deref().unwrap_or("-"),
                c.cost
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "restart db-1: bring db-1 back: loses nothing, if its volume is intact; writes wait \
             until it is back",
            "wait db-2: bring db-2 back: loses nothing, if its volume is intact; writes wait until \
             it is back",
            "acceptDataLoss db-3: LOSES up to 30 acknowledged entries, as far as is known: db-3 ends \
             at 90, and 120 may have been acknowledged",
        ]
    );
    let loss = &plan.options[2];
    assert_eq!((loss.loses_up_to, loss.epoch), (Some(120), Some(2)));
}

#[test]
fn a_node_that_lacks_writes_is_promoted_only_with_consent_that_covers_what_may_be_lost() {
    let mut observation = only_a_lagging_replica_left();
    observation.order(names::ANNOTATION_ACCEPT_DATA_LOSS, &consent(119));
    let refused = planned(&observation);
    assert_eq!(refused.view_to_record(), None);
    assert_eq!(
        order(&refused),
        (
            Outcome::Refused,
            "losesUpTo must be at least 120, the highest entry that may be lost, was 119"
        )
    );
    observation.order(names::ANNOTATION_ACCEPT_DATA_LOSS, &consent(120));
    let accepted = planned(&observation);
    let (next, basis) = accepted.view_to_record().expect("a view");
    assert_eq!((&next.primary, next.epoch), (&id(3), Epoch(3)));
    assert_eq!(next.complete, [id(3)].into());
    let Basis::Loss { record, .. } = basis else {
        panic!("{basis:?}");
    };
    assert_eq!(
        (record.from, record.loses_up_to, record.by.as_str()),
        (90, Some(120), "ann")
    );
    assert!(
        accepted
            .notices
            .iter()
            .any(|n| n.reason == "DataLossAccepted" && n.warning)
    );
}

#[test]
fn consent_to_loss_is_refused_for_another_cluster_epoch_or_a_node_that_loses_nothing() {
    let refused = |change: (&str, &str), words: &str| {
        let mut observation = only_a_lagging_replica_left();
        let text = consent(120).replace(change.0, change.1);
        observation.order(names::ANNOTATION_ACCEPT_DATA_LOSS, &text);
        let plan = planned(&observation);
        assert_eq!(plan.view_to_record(), None);
        let (outcome, reason) = order(&plan);
        assert_ne!(outcome, Outcome::Accepted);
        assert!(reason.contains(words), "{reason}");
    };
    refused(("shop/db", "other/db"), "cluster must be \"shop/db\"");
    refused(("\"epoch\":2", "\"epoch\":1"), "epoch 1 is past");
    refused(
        ("\"epoch\":2", "\"epoch\":3"),
        "epoch must be the recorded one, 2",
    );
    refused(("db-3", "db-2"), "db-2 has every acknowledged write");
    refused(("db-3", "db-9"), "there is no node db-9");
    refused(("120", "9000000000"), "losesUpTo must be at most");
    // While the primary works nothing is promoted with a loss.
    let mut healthy = observed(Some(healthy_view()));
    healthy.order(names::ANNOTATION_ACCEPT_DATA_LOSS, &consent(120));
    let plan = planned(&healthy);
    assert_eq!(plan.view_to_record(), None);
    assert!(order(&plan).1.contains("nothing needs it now"), "{plan}");
}

#[test]
fn in_manual_mode_a_person_may_choose_to_lose_what_a_node_lacks() {
    let mut observation = only_a_lagging_replica_left();
    observation.cluster.automatic = false;
    observation.facts(2).stream = crate::observe::Stream::Alive;
    observation.pod_of(2).container.ended = false;
    let waits = planned(&observation);
    assert_eq!(waits.phase, Phase::AwaitingPerson);
    let actions: Vec<&str> = waits.options.iter().map(|choice| choice.action).collect();
    assert_eq!(actions, ["promote", "restart", "acceptDataLoss"]);
    observation.order(names::ANNOTATION_ACCEPT_DATA_LOSS, &consent(120));
    assert_eq!(
        planned(&observation)
            .view_to_record()
            .expect("a view")
            .0
            .primary,
        id(3)
    );
}

#[test]
fn a_lone_primary_that_only_the_operator_has_lost_can_be_given_up_with_consent() {
    let view = View::first(cluster_id(), id(1)).go_alone();
    let mut observation = observed(Some(view));
    observation.lose(1);
    let plan = planned(&observation);
    assert_eq!(plan.phase, Phase::Suspected);
    assert!(
        plan.options
            .iter()
            .any(|choice| choice.action == "acceptDataLoss")
    );
    observation.order(names::ANNOTATION_ACCEPT_DATA_LOSS, &consent(10));
    let accepted = planned(&observation);
    assert_eq!(accepted.view_to_record().expect("a view").0.primary, id(3));
}

#[test]
fn a_lost_view_is_continued_without_everybody_only_with_consent_and_far_above() {
    let mut observation = observed(Some(healthy_view()));
    observation.recorded = Recorded::Absent;
    observation.lose(3);
    let text = r#"{"cluster":"shop/db","epoch":2,"by":"ann","why":"db-3 burned"}"#;
    observation.order(names::ANNOTATION_ACCEPT_RECOVERY, text);
    let plan = planned(&observation);
    let (next, basis) = plan.view_to_record().expect("a view");
    assert_eq!(next.primary, id(1));
    assert_eq!(next.epoch, Epoch(2 + limits::RECOVERY_EPOCH_MARGIN));
    assert_eq!(basis.loss().expect("kept").by, "ann");
    observation.order(
        names::ANNOTATION_ACCEPT_RECOVERY,
        &text.replace("\"epoch\":2", "\"epoch\":1"),
    );
    let refused = planned(&observation);
    assert_eq!(refused.view_to_record(), None);
    assert_eq!(
        order(&refused),
        (
            Outcome::Refused,
            "epoch must be 2, the highest that nodes report, was 1"
        )
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
