//! What must never be deleted, promoted or recorded, whatever else is true; and the ways out of states
//! that once had none.

use standby_api::names;
use standby_core::{Epoch, Index, Micros, View};

use super::fixtures::{claim, cluster_id, healthy_view, id, observed, up};
use super::{Action, Phase, Plan, plan};
use crate::detect::Loss;
use crate::limits;
use crate::memory::Memory;
use crate::observe::{ClaimFacts, NodeFacts, NodeRole, Observation, Recorded, Stream, WriteStall};
use crate::status::{Moment, status};

const NOW: Micros = Micros::from_millis(100_000);

fn planned(observation: &Observation) -> Plan {
    let mut memory = Memory::default();
    memory.observe(observation, NOW);
    plan(observation, &mut memory, NOW)
}

fn does(plan: &Plan, wanted: impl Fn(&Action) -> bool) -> bool {
    plan.actions.iter().any(|planned| wanted(&planned.action))
}

fn deletes_pod(plan: &Plan, name: &str) -> bool {
    does(
        plan,
        |a| matches!(a, Action::DeletePod { node, .. } if node == name),
    )
}

fn deletes_claim(plan: &Plan, name: &str) -> bool {
    does(
        plan,
        |a| matches!(a, Action::DeleteClaim { node, .. } if node == name),
    )
}

/// The cluster has fewer instances than there are nodes.
fn wanting(mut observation: Observation, instances: usize) -> Observation {
    observation.cluster.wanted.truncate(instances);
    observation
}

#[test]
fn a_surplus_node_and_its_claim_go_when_no_view_needs_them() {
    let mut observation = wanting(observed(Some(healthy_view())), 2);
    assert!(deletes_pod(&planned(&observation), "db-3"));
    observation.facts(3).pod = None;
    assert!(deletes_claim(&planned(&observation), "db-3"));
}

#[test]
fn nothing_is_deleted_while_nodes_have_adopted_more_than_is_recorded() {
    let mut observation = wanting(observed(Some(healthy_view())), 2);
    let newer = healthy_view().with_synchronous([id(3)].into());
    observation.recorded = Recorded::View(healthy_view());
    observation.said(1).view = Some(newer);
    observation.facts(3).pod = None;
    observation.lose(3);
    let plan = planned(&observation);
    assert_eq!(plan.phase, Phase::RecoveryBlocked, "{plan}");
    assert!(!deletes_claim(&plan, "db-3"), "{plan}");
    assert!(does(
        &plan,
        |a| matches!(a, Action::CreatePod { node } if node == "db-3")
    ));
}

#[test]
fn the_claim_of_a_surplus_node_stays_while_the_primary_does_not_confirm_the_recorded_view() {
    let mut observation = wanting(observed(Some(healthy_view())), 2);
    observation.facts(3).pod = None;
    observation.lose(1);
    assert!(!deletes_claim(&planned(&observation), "db-3"));
}

#[test]
fn volumes_above_instances_are_asked_before_a_view_is_recorded() {
    let mut observation = wanting(observed(Some(healthy_view())), 2);
    observation.recorded = Recorded::Absent;
    for serial in [1, 2] {
        observation.said(serial).role = NodeRole::Restarted;
    }
    observation.nodes.insert(
        "db-3".into(),
        NodeFacts {
            claim: Some(claim(3)),
            ..NodeFacts::default()
        },
    );
    let plan = planned(&observation);
    assert_eq!(plan.phase, Phase::RecoveryBlocked);
    assert!(
        does(&plan, |a| *a
            == Action::CreatePod {
                node: "db-3".into()
            }),
        "{plan}"
    );
    let asked = wanting(
        Observation {
            recorded: Recorded::Absent,
            ..observed(Some(healthy_view()))
        },
        2,
    );
    let plan = planned(&asked);
    assert_eq!(plan.phase, Phase::Recovering);
    assert!(!deletes_pod(&plan, "db-3"));
}

#[test]
fn the_address_of_a_working_primary_stays_while_its_view_cannot_be_continued() {
    let mut observation = observed(Some(healthy_view()));
    observation.recorded = Recorded::Absent;
    observation.lose(3);
    let plan = planned(&observation);
    assert_eq!(plan.phase, Phase::RecoveryBlocked);
    assert!(!does(&plan, |a| *a == Action::Withdraw), "{plan}");
}

#[test]
fn the_pod_of_a_complete_node_stays_when_its_claim_is_being_deleted() {
    for alone in [false, true] {
        let mut observation = observed(Some(healthy_view()));
        if alone {
            let view = View::first(cluster_id(), id(1)).go_alone();
            observation = observed(Some(view));
            observation.lose(2);
            observation.lose(3);
        }
        let ending = ClaimFacts {
            deleting: true,
            ..claim(1)
        };
        observation.facts(1).claim = Some(ending);
        let plan = planned(&observation);
        assert!(!deletes_pod(&plan, "db-1"), "{plan}");
        assert!(plan.notices.iter().any(|n| n.reason == "VolumeEnding"));
        if !alone {
            assert_eq!(plan.phase, Phase::HandingOver, "another takes over first");
        }
    }
}

#[test]
fn a_node_whose_claim_is_being_deleted_does_not_become_synchronous() {
    let mut observation = observed(Some(healthy_view()));
    observation
        .facts(2)
        .claim
        .as_mut()
        .expect("a claim")
        .deleting = true;
    let plan = planned(&observation);
    assert_eq!(plan.phase, Phase::ReplacingSynchronous);
    assert!(!deletes_pod(&plan, "db-2"));
    observation.recorded = Recorded::View(healthy_view().with_synchronous([id(3)].into()));
    for serial in 1..=3 {
        observation.said(serial).view = observation.view().cloned();
    }
    assert!(deletes_pod(&planned(&observation), "db-2"));
}

#[test]
fn a_claim_follows_the_deletion_policy() {
    let mut observation = observed(Some(healthy_view()));
    assert!(!does(&planned(&observation), |a| matches!(
        a,
        Action::OwnClaim { .. } | Action::RetainClaims { .. }
    )));
    observation.cluster.retain_volumes = true;
    assert!(does(&planned(&observation), |a| matches!(
        a,
        Action::RetainClaims { .. }
    )));
    observation.cluster.retain_volumes = false;
    observation.facts(2).claim.as_mut().expect("a claim").owned = false;
    assert!(does(&planned(&observation), |a| *a
        == Action::OwnClaim {
            node: "db-2".into()
        }));
}

#[test]
fn a_cluster_scaled_to_one_acknowledges_alone_and_lets_go_of_the_others() {
    let mut observation = wanting(observed(Some(healthy_view())), 1);
    observation.cluster.may_go_alone = true;
    let plan = planned(&observation);
    let (next, _) = plan.view_to_record().expect("a view");
    assert!(next.alone, "{plan}");
    let mut alone = wanting(observed(Some(next.clone())), 1);
    alone.cluster.may_go_alone = true;
    let after = planned(&alone);
    assert!(
        deletes_pod(&after, "db-2") && deletes_pod(&after, "db-3"),
        "{after}"
    );
}

#[test]
fn a_surplus_primary_hands_over_before_the_cluster_goes_alone() {
    let view = View::first(cluster_id(), id(2)).with_synchronous([id(3)].into());
    let mut observation = wanting(observed(Some(view)), 1);
    observation.cluster.may_go_alone = true;
    let plan = planned(&observation);
    assert_eq!(plan.view_to_record(), None, "{plan}");
}

/// `db-1` was promoted although its volume had been rolled back; `db-2` knows.
fn rolled_back() -> Observation {
    let view = healthy_view().promote(id(1));
    let mut observation = observed(Some(view));
    observation.cluster.may_go_alone = true;
    observation.said(2).doubt = "the primary's log parts from this one".into();
    observation.said(2).doubts_primary = true;
    observation.said(2).link = Some(up());
    let peers = &mut observation.said(1).peers;
    for peer in peers {
        peer.complete = true;
    }
    observation
}

#[test]
fn v11_a_complete_node_that_doubts_the_primary_is_promoted_and_nobody_else_is_established() {
    let plan = planned(&rolled_back());
    assert_eq!(plan.phase, Phase::FailingOver, "{plan}");
    let (next, _) = plan.view_to_record().expect("a view");
    assert_eq!((next.epoch, &next.primary), (Epoch(4), &id(2)));
    assert_eq!(
        next.complete,
        [id(2)].into(),
        "the others may lack what it has"
    );
    assert!(plan.why.contains("db-2 refuses db-1"), "{}", plan.why);
    let former = plan
        .candidates
        .iter()
        .find(|c| c.name == "db-1")
        .expect("listed");
    assert!(!former.promotable, "{}", former.why);
}

#[test]
fn v11_a_doubted_primary_is_not_safe_and_waits_for_a_person_in_manual_mode() {
    let mut observation = rolled_back();
    observation.cluster.automatic = false;
    let plan = planned(&observation);
    assert_eq!(plan.phase, Phase::AwaitingPerson, "{plan}");
    assert_eq!(plan.view_to_record(), None);
    let moment = Moment {
        now: NOW,
        wall: jiff::Timestamp::UNIX_EPOCH,
    };
    let seen = status(&observation, &plan, &Memory::default(), None, moment);
    let safe = seen
        .conditions
        .iter()
        .find(|c| c.type_ == "Safe")
        .expect("said");
    assert_eq!(
        (safe.status.as_str(), safe.reason.as_str()),
        ("False", "PrimaryLacksCommitted")
    );
}

#[test]
fn v11_a_doubt_of_an_earlier_epoch_changes_nothing() {
    let mut observation = rolled_back();
    observation.said(2).view = Some(healthy_view());
    assert_ne!(planned(&observation).phase, Phase::FailingOver);
}

#[test]
fn v11_a_doubt_of_a_node_that_is_not_complete_is_told() {
    let mut observation = observed(Some(healthy_view()));
    observation.said(3).doubt = "the primary's log parts from this one".into();
    observation.said(3).doubts_primary = true;
    let plan = planned(&observation);
    assert_eq!(plan.phase, Phase::Healthy);
    assert!(plan.notices.iter().any(|n| n.reason == "PrimaryDoubted"));
}

#[test]
fn v11_a_node_above_instances_that_knows_more_than_the_primary_is_kept() {
    let mut observation = wanting(observed(Some(healthy_view())), 2);
    observation.said(3).doubt = "the primary's log parts from this one".into();
    observation.said(3).doubts_primary = true;
    let plan = planned(&observation);
    assert_eq!(plan.phase, Phase::Healthy);
    assert!(plan.notices.iter().any(|n| n.reason == "PrimaryDoubted"));
    assert!(!deletes_pod(&plan, "db-3"), "{plan}");
}

/// `db-1` was put back to what it was before it led epoch 2, and has been told that epoch again.
fn not_led_before(epoch: u64) -> Observation {
    let mut observation = observed(Some(healthy_view()));
    let said = observation.said(1);
    said.role = NodeRole::Restarted;
    said.view = said.view.take().map(|view| View {
        epoch: Epoch(epoch),
        ..view
    });
    said.doubt = "this run of its process did not lead the epoch before".into();
    said.doubts_primary = true;
    said.peers.clear();
    said.serving = false;
    observation
}

#[test]
fn v3_a_primary_that_may_have_led_its_view_before_is_given_another() {
    let mut observation = not_led_before(2);
    let plan = planned(&observation);
    let (next, _) = plan.view_to_record().expect("a view");
    assert_eq!((next.epoch, &next.primary), (Epoch(3), &id(2)));
    assert!(!next.can_acknowledge());
    // With nobody else it goes on itself, in whichever mode.
    observation.lose(2);
    for automatic in [true, false] {
        observation.cluster.automatic = automatic;
        let plan = planned(&observation);
        let (next, _) = plan.view_to_record().expect("a view");
        assert_eq!((next.epoch, &next.primary), (Epoch(3), &id(1)), "{plan}");
        assert!(!next.can_acknowledge());
    }
}

/// `db-1` restarted in the recorded epoch, with a log that ends at entry 5.
fn restarted_short() -> Observation {
    let mut observation = observed(Some(healthy_view()));
    let said = observation.said(1);
    said.role = NodeRole::Restarted;
    said.run = "run-2".into();
    said.serving = false;
    said.peers.clear();
    said.last.index = Index(5);
    (said.durable, said.commit, said.applied) = (Index(5), Index(3), Index(3));
    observation
}

#[test]
fn v11_a_restarted_primary_that_lacks_what_another_knows_to_be_committed_does_not_go_on() {
    let mut observation = restarted_short();
    observation.cluster.automatic = false;
    let plan = planned(&observation);
    assert_eq!(plan.phase, Phase::AwaitingPerson, "{plan}");
    assert_eq!(plan.view_to_record(), None, "{plan}");
    assert!(plan.why.contains("its volume was put back"), "{}", plan.why);
    // Of what is only in its own log nobody knows anything: it goes on.
    observation.said(2).commit = Index(5);
    let plan = planned(&observation);
    let (next, _) = plan.view_to_record().expect("a view");
    assert_eq!(next.primary, id(1), "{plan}");
}

#[test]
fn v11_what_was_committed_is_remembered_while_nobody_can_be_asked() {
    let mut memory = Memory::default();
    memory.observe(&observed(Some(healthy_view())), NOW);
    let mut observation = restarted_short();
    observation.lose(2);
    memory.observe(&observation, NOW);
    let blocked = plan(&observation, &mut memory, NOW);
    assert_eq!(blocked.view_to_record(), None, "{blocked}");
    assert!(blocked.why.contains("its volume was put back"), "{blocked}");
    // An operator that never heard of it can only believe the log.
    let plan = planned(&observation);
    let (next, _) = plan.view_to_record().expect("a view");
    assert_eq!(next.primary, id(1), "{plan}");
}

#[test]
fn v3_a_doubt_about_an_earlier_view_does_not_fail_the_primary_of_the_next() {
    let plan = planned(&not_led_before(1));
    assert_eq!(plan.phase, Phase::Adopting, "{plan}");
    assert_eq!(plan.view_to_record(), None);
}

#[test]
fn a_view_that_nobody_has_confirmed_is_told_to_nobody_so_that_nobody_confirms_what_it_was_told() {
    // The store was put back: nodes live by something later, and one lags behind what is recorded.
    let mut observation = observed(Some(healthy_view()));
    observation.said(2).view = Some(View::first(cluster_id(), id(1)));
    observation.facts(1).report = None;
    observation.facts(3).report = None;
    let mut memory = Memory::default();
    memory.observe(&observation, NOW);
    let pushes = |plan: &Plan| does(plan, |a| matches!(a, Action::Push { .. }));
    assert!(!pushes(&plan(&observation, &mut memory, NOW)));
    // Everybody has had time to speak.
    let limit = NOW.plus(Micros::from_millis(limits::CONFIRM_MAX_MS));
    assert!(pushes(&plan(&observation, &mut memory, limit)));
    // Or one says that it lives by exactly this view.
    observation.said(2).view = Some(healthy_view());
    let mut memory = Memory::default();
    memory.observe(&observation, NOW);
    assert!(pushes(&plan(&observation, &mut memory, NOW)));
}

#[test]
fn v10_a_primary_of_an_older_view_that_was_cut_off_gets_no_other_standby_before_all_were_heard() {
    // The store was put back to a view that db-1 still lives by: it was cut off from the rest since then.
    let mut observation = observed(Some(healthy_view()));
    let third = observation.said(3).node.clone();
    observation.said(1).stall = Some(WriteStall {
        waiting: Micros::from_millis(60_000),
        local_disk: false,
        nodes: vec![id(2)],
    });
    let peer = observation
        .said(1)
        .peers
        .iter_mut()
        .find(|it| it.node == third);
    let peer = peer.expect("it follows");
    (peer.awaited, peer.complete) = (true, true);
    observation.lose(2);
    observation.facts(2).stream = Stream::None;
    observation.facts(2).report = None;
    let mut memory = Memory::default();
    memory.observe(&observation, NOW);
    let waits = plan(&observation, &mut memory, NOW);
    assert_eq!(waits.view_to_record(), None, "{waits}");
    assert!(
        waits.later.iter().any(|it| it.why.contains("db-2")),
        "{waits}"
    );
    let limit = NOW.plus(Micros::from_millis(limits::CONFIRM_OTHERS_MAX_MS));
    memory.observe(&observation, limit);
    let goes_on = plan(&observation, &mut memory, limit);
    let next = goes_on
        .view_to_record()
        .map(|(next, _)| next.synchronous.clone());
    assert_eq!(next, Some([id(3)].into()), "{goes_on}");
}

#[test]
fn v10_a_step_down_in_an_older_view_promotes_nobody_before_all_were_heard() {
    // The store was put back to an epoch in which db-1 stepped down; db-3 leads a later one by now.
    let mut observation = observed(Some(healthy_view()));
    observation.said(1).role = NodeRole::SteppedDown;
    observation.said(1).drained = true;
    observation.lose(2);
    observation.facts(2).report = None;
    observation.facts(3).report = None;
    observation.order(
        names::ANNOTATION_ACCEPT_DATA_LOSS,
        r#"{"cluster":"shop/db","epoch":2,"node":"db-1","losesUpTo":99,"by":"ann","why":"put back too"}"#,
    );
    let mut memory = Memory::default();
    memory.observe(&observation, NOW);
    let waits = plan(&observation, &mut memory, NOW);
    assert_eq!(waits.view_to_record(), None, "{waits}");
    let limit = NOW.plus(Micros::from_millis(limits::CONFIRM_MAX_MS));
    memory.observe(&observation, limit);
    let goes_on = plan(&observation, &mut memory, limit);
    let next = goes_on
        .view_to_record()
        .map(|(next, _)| next.primary.clone());
    assert_eq!(next, Some(id(1)), "{goes_on}");
}

#[test]
fn v10_a_node_that_was_away_does_not_confirm_an_older_view_for_those_that_are_about_to_speak() {
    // The store was put back. db-1 led in epoch 2, was away while db-2 was promoted, and is back first.
    let mut observation = restarted_short();
    let later = healthy_view().promote(id(2)).go_alone();
    observation.said(1).last.index = Index(10);
    observation.facts(2).report = None;
    observation.facts(3).report = None;
    let mut memory = Memory::default();
    memory.observe(&observation, NOW);
    let waits = plan(&observation, &mut memory, NOW);
    assert_eq!(waits.phase, Phase::Confirming, "{waits}");
    assert_eq!(waits.view_to_record(), None);
    // Who recorded the view itself has nobody to wait for.
    let mut knows = memory.clone();
    knows.view_recorded(&healthy_view(), NOW);
    assert_eq!(
        plan(&observation, &mut knows, NOW).phase,
        Phase::FailingOver
    );
    // db-2 speaks a moment later.
    let said = observed(Some(later.clone())).said(2).clone();
    observation.facts(2).report = Some(said);
    memory.observe(&observation, NOW);
    let told = plan(&observation, &mut memory, NOW);
    assert_eq!(
        told.view_to_record().map(|(next, _)| next.primary.clone()),
        None
    );
    assert!(told.why.contains("nodes have adopted epoch 4"), "{told}");
}

#[test]
fn v10_a_container_that_is_said_to_have_ended_may_run_again_and_speak() {
    // The store was put back while the API server was away: what kubelets saw since then is not known yet.
    let mut observation = restarted_short();
    observation.said(1).last.index = Index(10);
    for serial in [2, 3] {
        let facts = observation.facts(serial);
        facts.report = None;
        let pod = facts.pod.as_mut().expect("it has a pod");
        pod.container.ended = true;
    }
    let mut memory = Memory::default();
    memory.observe(&observation, NOW);
    let waits = plan(&observation, &mut memory, NOW);
    assert_eq!(waits.phase, Phase::Confirming, "{waits}");
    assert_eq!(waits.view_to_record(), None, "{waits}");
    // A process that is really gone is told of by its host at once.
    for serial in [2, 3] {
        observation.facts(serial).stream = Stream::Lost(Loss::Refused);
    }
    memory.observe(&observation, NOW);
    let goes_on = plan(&observation, &mut memory, NOW);
    assert_ne!(goes_on.phase, Phase::Confirming, "{goes_on}");
}

#[test]
fn a_promise_that_is_not_kept_ends_also_while_the_synchronous_node_is_about_to_leave() {
    let mut observation = observed(Some(healthy_view()));
    observation.order(names::ANNOTATION_FENCE, "db-2");
    let said = observation.said(1);
    said.peers[1].awaited = true;
    assert_eq!(planned(&observation).phase, Phase::ReplacingSynchronous);
    // The one that was to take its place dies, and writes wait for it alone.
    let said = observation.said(1);
    said.peers[1].connected = false;
    said.stall = Some(WriteStall {
        waiting: Micros::from_millis(60_000),
        local_disk: false,
        nodes: vec![id(3)],
    });
    observation.lose(3);
    let plan = planned(&observation);
    assert_eq!(plan.phase, Phase::EndingPromise, "{plan}");
    let (next, _) = plan.view_to_record().expect("a view");
    assert_eq!((next.epoch, &next.synchronous), (Epoch(3), &[id(2)].into()));
    // A failed one does not acknowledge either: nothing is gained by an epoch with it.
    observation.lose(2);
    observation.said(1).peers[0].connected = false;
    assert_eq!(planned(&observation).phase, Phase::ReplacingSynchronous);
}

#[test]
fn a_primary_that_cannot_store_its_view_gives_way_to_another_that_has_everything() {
    // The disk of db-1 hangs at the moment in which db-3 takes the place of db-2.
    let view = healthy_view().with_synchronous([id(3)].into());
    let mut observation = observed(Some(view));
    observation.said(1).view = Some(healthy_view());
    let mut memory = Memory::default();
    let mut plan_at = |observation: &Observation, at| {
        memory.observe(observation, at);
        plan(observation, &mut memory, at)
    };
    assert_eq!(plan_at(&observation, NOW).phase, Phase::Adopting);
    let late = NOW.plus(Micros::from_millis(limits::ADOPT_MAX_MS));
    let overdue = plan_at(&observation, late);
    let (next, _) = overdue.view_to_record().expect("a view");
    assert_eq!((next.epoch, &next.primary), (Epoch(4), &id(3)), "{overdue}");
    // It stays overdue for as long as that could not be recorded; and with nobody else, it is waited for.
    let later = late.plus(Micros::from_millis(1_000));
    assert_eq!(plan_at(&observation, later).phase, Phase::FailingOver);
    observation.lose(3);
    assert_eq!(plan_at(&observation, later).phase, Phase::Adopting);
}
