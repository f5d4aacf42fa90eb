//! What a person can do when the operator cannot go on, and consent to loss.

use standby_api::names;
use standby_core::{Epoch, Index, Micros, Position, View};

use super::fixtures::{cluster_id, healthy_view, id, observed};
use super::move_tests::{NOW, order, planned};
use super::{Basis, Outcome, Phase, plan};
use crate::limits;
use crate::memory::Memory;
use crate::observe::{HostFacts, Observation, PodFacts, Recorded, Stream};

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
    observation.facts(2).stream = Stream::Alive;
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
fn a_lost_view_is_continued_by_a_node_that_lacks_writes_only_if_that_loss_is_named() {
    let mut observation = observed(Some(healthy_view()));
    observation.recorded = Recorded::Absent;
    observation.lose(1);
    observation.lose(2);
    let consent = |loss: &str| {
        format!(r#"{{"cluster":"shop/db","epoch":2,{loss}"by":"ann","why":"both burned"}}"#)
    };
    let blocked = planned(&observation);
    let offered = blocked
        .options
        .iter()
        .find(|it| it.action == "acceptRecovery");
    let offered = offered.expect("it is offered");
    assert!(offered.cost.starts_with("LOSES up to "), "{}", offered.cost);
    let at_risk = offered.loses_up_to.expect("it is told");
    let too_little = format!(r#""losesUpTo":{},"#, at_risk - 1);
    for loss in ["", &too_little] {
        observation.order(names::ANNOTATION_ACCEPT_RECOVERY, &consent(loss));
        let refused = planned(&observation);
        assert_eq!(refused.view_to_record(), None, "{refused}");
        let (outcome, why) = order(&refused);
        assert_eq!(outcome, Outcome::Refused);
        assert!(why.starts_with("losesUpTo must be at least"), "{why}");
    }
    let enough = format!(r#""losesUpTo":{at_risk},"#);
    observation.order(names::ANNOTATION_ACCEPT_RECOVERY, &consent(&enough));
    let accepted = planned(&observation);
    let (next, basis) = accepted.view_to_record().expect("a view");
    assert_eq!(next.primary, id(3));
    assert!(basis.loss().is_some());
}

#[test]
fn who_could_say_how_a_lost_primary_is_and_what_ending_it_costs_is_told_when_nobody_is_heard() {
    let mut observation = observed(Some(healthy_view()));
    observation.lose(1);
    // The synchronous node hears the primary: nobody has to do anything.
    assert_eq!(planned(&observation).options, []);
    observation.lose(2);
    let plan = planned(&observation);
    assert_eq!(plan.phase, Phase::Suspected, "{plan}");
    let told: Vec<(&str, Option<&str>, &str)> = plan
        .options
        .iter()
        .map(|choice| {
            let node = choice.node.as_deref();
            (choice.action, node, choice.cost.as_str())
        })
        .collect();
    assert_eq!(
        told,
        [
            (
                "wait",
                Some("db-2"),
                "let db-2 (host host-2) be reached again: loses nothing; it has every acknowledged \
                 write and takes over at once if db-1 has failed"
            ),
            (
                "wait",
                Some("db-1"),
                "let db-1 (host host-1) be reached again: loses nothing; if it works, writes go on \
                 meanwhile"
            ),
            (
                "restart",
                Some("db-1"),
                "end db-1 for certain: loses nothing, if its volume is intact; if it still works, \
                 writes stop until it or another node with every acknowledged write is back; what \
                 going on without them costs is told then"
            ),
        ]
    );
    let command = plan.options[2].command.as_deref();
    assert_eq!(command, Some("kubectl delete pod db-1 -n shop"));
    // Then it is told.
    observation.facts(1).pod = None;
    tells_the_costs(&observation);
}

/// Whether the end of the primary is taken for certain, and what going on costs is told.
fn tells_the_costs(observation: &Observation) {
    let blocked = planned(observation);
    assert_eq!(blocked.phase, Phase::FailoverBlocked, "{blocked}");
    let costs = |action| blocked.options.iter().any(|choice| choice.action == action);
    assert!(costs("acceptDataLoss"), "{blocked}");
}

#[test]
fn a_primary_whose_pod_was_ended_stays_ended_while_another_waits_by_its_name() {
    let mut observation = observed(Some(healthy_view()));
    observation.lose(1);
    observation.lose(2);
    observation.facts(1).host = HostFacts::NotReady(Micros(0));
    observation.facts(2).host = HostFacts::NotReady(Micros(0));
    assert_eq!(planned(&observation).phase, Phase::Suspected);
    // Made anew by the operator, it cannot start: its volume is on the host that is gone.
    *observation.pod_of(1) = PodFacts {
        uid: "pod-1b".into(),
        ..PodFacts::default()
    };
    observation.facts(1).stream = Stream::None;
    tells_the_costs(&observation);
    // An operator that has just begun never heard the one before.
    observation.facts(1).report = None;
    tells_the_costs(&observation);
}

#[test]
fn a_primary_that_was_seen_to_lead_in_another_pod_is_ended_also_while_the_new_one_runs_unheard() {
    let mut observation = observed(Some(healthy_view()));
    let mut memory = Memory::default();
    memory.observe(&observation, Micros(0));
    let _ = plan(&observation, &mut memory, Micros(0));
    // Another pod object is another stream: what was said over the one before is gone with it.
    observation.pod_of(1).uid = "pod-1b".into();
    for serial in [1, 2] {
        observation.lose(serial);
        observation.facts(serial).report = None;
    }
    memory.observe(&observation, NOW);
    let blocked = plan(&observation, &mut memory, NOW);
    assert_eq!(blocked.phase, Phase::FailoverBlocked, "{blocked}");
    let costs = |action| blocked.options.iter().any(|choice| choice.action == action);
    assert!(costs("acceptDataLoss"), "{blocked}");
}
