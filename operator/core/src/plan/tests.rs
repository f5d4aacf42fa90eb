//! Observation in, printed plan out: what the operator does, and the reasons people will read.

use standby_api::names;
use standby_core::{Epoch, Micros, View, VolumeId};

use super::fixtures::{cluster_id, healthy_view, id, observed, peer};
use super::{Action, Phase, Plan, plan};
use crate::memory::Memory;
use crate::observe::{
    ClaimFacts, HostFacts, LinkState, NodeRole, Observation, Peer, Recorded, Stream, WriteStall,
};

const NOW: Micros = Micros::from_millis(100_000);

fn planned(observation: &Observation) -> Plan {
    let mut memory = Memory::default();
    memory.observe(observation, NOW);
    plan(observation, &mut memory, NOW)
}

/// The plan as people would read it, without the candidates.
fn text(observation: &Observation) -> String {
    let mut plan = planned(observation);
    plan.candidates.clear();
    plan.to_string()
}

#[test]
fn a_healthy_cluster_is_told_its_view_and_otherwise_left_alone() {
    assert_eq!(
        text(&observed(Some(healthy_view()))),
        "Healthy: db-1 acknowledges with db-2\n\
         - push, await []\n    because every node must know the recorded view\n\
         - announce db-1 at 10.0.0.1\n    because db-1 is primary in epoch 2\n"
    );
}

#[test]
fn the_first_view_names_the_first_node_when_all_volumes_are_new() {
    assert_eq!(
        text(&observed(None)),
        "FirstView: there is no view, and every node reports a volume that never had one\n\
         - record epoch 1 primary db-1 synchronous [] complete [db-1]\n    \
         because there is no view, and every node reports a volume that never had one\n\
         ! Normal FirstView: db-1 becomes primary\n"
    );
}

#[test]
fn the_first_view_waits_for_every_node() {
    let mut observation = observed(None);
    observation.lose(3);
    let plan = planned(&observation);
    assert_eq!(plan.phase, Phase::AwaitingNodes);
    assert!(plan.why.ends_with("db-3 has not reported"), "{}", plan.why);
    assert_eq!(plan.view_to_record(), None);
}

#[test]
fn a_view_that_is_not_known_is_not_taken_for_none() {
    let mut observation = observed(None);
    observation.recorded = Recorded::Unknown;
    let plan = planned(&observation);
    assert_eq!(plan.phase, Phase::ViewUnknown);
    assert!(plan.actions.iter().all(|planned| !planned.action.is_hot()));
}

#[test]
fn a_missing_view_is_continued_above_the_highest_epoch_when_every_node_reports() {
    let mut observation = observed(Some(healthy_view()));
    observation.recorded = Recorded::Absent;
    let plan = planned(&observation);
    assert_eq!(plan.phase, Phase::Recovering);
    let (next, _) = plan.view_to_record().expect("a view");
    assert_eq!((next.epoch, next.can_acknowledge()), (Epoch(3), false));
    assert_eq!(next.primary, id(1), "a primary that works stays");
}

#[test]
fn a_missing_view_is_not_continued_while_a_node_cannot_be_asked() {
    let mut observation = observed(Some(healthy_view()));
    observation.recorded = Recorded::Absent;
    observation.lose(3);
    assert_eq!(
        text(&observation),
        "RecoveryBlocked: there is no view object, but nodes have adopted epoch 2; going on \
         without loss needs every node: db-3 cannot be asked\n\
         - push, await []\n    because nodes need to know where their peers are\n\
         ! Warning ActionNeeded: there is no view object, but nodes have adopted epoch 2; going on \
         without loss needs every node: db-3 cannot be asked\n\
         ? wait db-3: bring db-3 back, so that it can be asked: loses nothing; writes go on meanwhile \
         where the primary works\n\
         ? acceptRecovery db-1: MAY LOSE what was acknowledged after epoch 2 by nodes that cannot be \
         asked (db-3); the primary that works now goes on\n"
    );
}

#[test]
fn a_view_older_than_what_nodes_adopted_is_continued_above_theirs() {
    let mut observation = observed(Some(healthy_view()));
    observation.recorded = Recorded::View(View::first(cluster_id(), id(1)));
    let plan = planned(&observation);
    assert_eq!(plan.phase, Phase::Recovering);
    assert_eq!(plan.view_to_record().expect("a view").0.epoch, Epoch(3));
}

#[test]
fn a_terminated_primary_is_replaced_by_the_synchronous_node() {
    let mut observation = observed(Some(healthy_view()));
    observation.lose(1);
    observation.pod_of(1).container.ended = true;
    observation.pod_of(1).container.ended_why = "exit code 137".into();
    assert_eq!(
        text(&observation),
        "FailingOver: Kubernetes reports the container of db-1 as terminated (exit code 137)\n\
         - record epoch 3 primary db-2 synchronous [] complete [db-1, db-2]\n    because \
         Kubernetes reports the container of db-1 as terminated (exit code 137)\n\
         ! Warning Failover: db-2 takes over from db-1 in epoch 3: Kubernetes reports the container \
         of db-1 as terminated (exit code 137)\n"
    );
}

#[test]
fn a_primary_that_only_the_operator_has_lost_stays() {
    let mut observation = observed(Some(healthy_view()));
    observation.lose(1);
    let plan = planned(&observation);
    assert_eq!(plan.phase, Phase::Suspected);
    assert_eq!(
        plan.why,
        "only the operator has lost db-1 (operator: connection refused; db-2: hears it): that is no \
         failure"
    );
    assert_eq!(plan.view_to_record(), None);
}

#[test]
fn a_primary_that_operator_and_synchronous_node_have_lost_is_replaced() {
    for state in [LinkState::Refused, LinkState::NotPrimary] {
        let mut observation = observed(Some(healthy_view()));
        observation.lose(1);
        observation.link(2, state);
        assert_eq!(planned(&observation).phase, Phase::FailingOver, "{state:?}");
    }
}

#[test]
fn a_short_silence_of_the_link_confirms_nothing() {
    let mut observation = observed(Some(healthy_view()));
    observation.lose(1);
    observation.link(2, LinkState::Silent);
    let link = observation.said(2).link.as_mut().expect("just set");
    link.silent = Micros::from_millis(1_400);
    link.phi = 9.0;
    assert_eq!(planned(&observation).phase, Phase::Suspected);
    observation.said(2).link.as_mut().expect("just set").silent = Micros::from_millis(1_600);
    assert_eq!(planned(&observation).phase, Phase::FailingOver);
}

#[test]
fn a_restarted_primary_is_replaced_and_goes_on_itself_only_if_nobody_else_can() {
    let mut observation = observed(Some(healthy_view()));
    observation.said(1).role = NodeRole::Restarted;
    let plan = planned(&observation);
    assert_eq!(plan.view_to_record().expect("a view").0.primary, id(2));
    observation.lose(2);
    let plan = planned(&observation);
    assert_eq!(plan.view_to_record().expect("a view").0.primary, id(1));
}

#[test]
fn a_primary_with_a_stuck_disk_is_replaced() {
    let mut observation = observed(Some(healthy_view()));
    observation.said(1).stall = Some(WriteStall {
        waiting: Micros::from_millis(3_000),
        local_disk: true,
        nodes: vec![],
    });
    let plan = planned(&observation);
    assert_eq!(plan.phase, Phase::FailingOver);
    assert!(
        plan.why.contains("its own disk for 3000 ms"),
        "{}",
        plan.why
    );
}

#[test]
fn a_replica_is_never_promoted() {
    let mut observation = observed(Some(healthy_view()));
    observation.lose(1);
    observation.lose(2);
    observation.pod_of(1).container.ended = true;
    let plan = planned(&observation);
    assert_eq!(plan.phase, Phase::FailoverBlocked);
    assert_eq!(plan.view_to_record(), None);
    let replica = plan
        .candidates
        .iter()
        .find(|c| c.name == "db-3")
        .expect("listed");
    assert!(!replica.promotable);
    assert_eq!(
        replica.why,
        "it may lack acknowledged writes: not complete in epoch 2"
    );
}

#[test]
fn the_address_is_withdrawn_only_after_a_failover_has_been_blocked_for_a_while() {
    let mut observation = observed(Some(healthy_view()));
    observation.lose(1);
    observation.lose(2);
    observation.pod_of(1).container.ended = true;
    let mut memory = Memory::default();
    let withdraws = |plan: &Plan| plan.actions.iter().any(|p| p.action == Action::Withdraw);
    let first = plan(&observation, &mut memory, NOW);
    assert!(!withdraws(&first));
    assert_eq!(first.requeue_after, Micros::from_millis(1_000));
    assert!(withdraws(&plan(
        &observation,
        &mut memory,
        NOW.plus(first.requeue_after)
    )));
}

#[test]
fn after_a_promotion_the_next_nodes_are_awaited_at_once() {
    let view = healthy_view().promote(id(2));
    let mut observation = observed(Some(view));
    observation.lose(1);
    observation.said(2).view = Some(healthy_view());
    let awaiting = planned(&observation);
    assert_eq!(awaiting.phase, Phase::Adopting);
    let pushed = awaiting
        .actions
        .iter()
        .find_map(|planned| match &planned.action {
            Action::Push { await_nodes, .. } => Some(await_nodes.clone()),
            _ => None,
        });
    assert_eq!(pushed, Some([id(3)].into()));
}

#[test]
fn a_complete_node_is_recorded_as_synchronous() {
    let view = healthy_view().promote(id(2));
    let mut observation = observed(Some(view));
    observation.lose(1);
    let peer = observation
        .said(2)
        .peers
        .iter_mut()
        .find(|p| p.node == id(3))
        .expect("a peer");
    peer.awaited = true;
    peer.complete = true;
    let plan = planned(&observation);
    let (next, _) = plan.view_to_record().expect("a view");
    assert_eq!(next.synchronous, [id(3)].into());
    assert_eq!(next.complete, [id(2), id(3)].into());
}

#[test]
fn strict_durability_waits_and_available_goes_alone_when_nobody_is_left() {
    let mut observation = observed(Some(healthy_view()));
    for serial in [2, 3] {
        observation.lose(serial);
        for peer in &mut observation.said(1).peers {
            peer.connected = false;
        }
    }
    let strict = planned(&observation);
    assert_eq!(strict.phase, Phase::ReplacingSynchronous);
    assert_eq!(strict.view_to_record(), None);
    observation.cluster.may_go_alone = true;
    let available = planned(&observation);
    assert!(available.view_to_record().expect("a view").0.alone);
}

#[test]
fn a_lost_synchronous_node_is_replaced_by_the_replica() {
    let mut observation = observed(Some(healthy_view()));
    observation.lose(2);
    observation.said(1).peers[0].connected = false;
    assert_eq!(
        text(&observation),
        "ReplacingSynchronous: db-1 has lost db-2; operator: connection refused\n\
         - push, await [db-3]\n    because every node must know the recorded view\n\
         - announce db-1 at 10.0.0.1\n    because db-1 is primary in epoch 2\n"
    );
}

#[test]
fn a_cut_between_primary_and_synchronous_node_counts_when_it_lasts() {
    let mut observation = observed(Some(healthy_view()));
    observation.link(2, LinkState::NotPrimary);
    let peer = &mut observation.said(1).peers[0];
    peer.connected = false;
    peer.silent = Micros::from_millis(200);
    assert_eq!(planned(&observation).phase, Phase::Healthy);
    observation.said(1).peers[0].silent = Micros::from_millis(1_500);
    assert_eq!(planned(&observation).phase, Phase::ReplacingSynchronous);
}

#[test]
fn a_promise_that_is_not_kept_ends_with_a_new_epoch() {
    let mut observation = observed(Some(healthy_view()));
    let peer = &mut observation.said(1).peers[1];
    peer.awaited = true;
    peer.connected = false;
    let plan = planned(&observation);
    assert_eq!(plan.phase, Phase::EndingPromise);
    let (next, _) = plan.view_to_record().expect("a view");
    assert_eq!((next.epoch, &next.synchronous), (Epoch(3), &[id(2)].into()));
}

#[test]
fn a_switchover_steps_down_first_and_promotes_when_drained() {
    let mut observation = observed(Some(healthy_view()));
    observation.said(1).wants_handover = true;
    assert_eq!(
        text(&observation),
        "HandingOver: db-1 is told to end and asks for a switchover\n\
         - step down db-1 in epoch 2\n    because db-1 is told to end and asks for a switchover\n\
         - push, await []\n    because every node must know the recorded view\n\
         - announce db-1 at 10.0.0.1\n    because db-1 is primary in epoch 2\n\
         ! Normal Switchover: db-1 is relieved: db-1 is told to end and asks for a switchover\n"
    );
    observation.said(1).role = NodeRole::SteppedDown;
    assert_eq!(planned(&observation).view_to_record(), None);
    observation.said(1).drained = true;
    let plan = planned(&observation);
    assert_eq!(plan.view_to_record().expect("a view").0.primary, id(2));
}

#[test]
fn nobody_steps_down_when_nobody_can_take_over() {
    let mut observation = observed(Some(healthy_view()));
    observation.pod_of(1).deleting_since = Some(NOW);
    observation.lose(2);
    let plan = planned(&observation);
    assert!(
        plan.why.contains("no synchronous node can take over"),
        "{}",
        plan.why
    );
    assert!(
        !plan
            .actions
            .iter()
            .any(|p| matches!(p.action, Action::StepDown { .. }))
    );
}

#[test]
fn manual_mode_waits_for_a_person_and_takes_the_order_of_this_epoch_only() {
    let mut observation = observed(Some(healthy_view()));
    observation.cluster.automatic = false;
    observation.lose(1);
    observation.pod_of(1).container.ended = true;
    assert_eq!(planned(&observation).phase, Phase::AwaitingPerson);
    for void in ["db-2@1", "db-3@2"] {
        observation.order(names::ANNOTATION_PROMOTE, void);
        assert_eq!(planned(&observation).phase, Phase::AwaitingPerson, "{void}");
    }
    observation.order(names::ANNOTATION_PROMOTE, "db-2@2");
    assert_eq!(planned(&observation).phase, Phase::FailingOver);
}

#[test]
fn a_missing_pod_and_claim_are_made() {
    let mut observation = observed(Some(healthy_view()));
    observation.nodes.remove("db-3");
    let text = text(&observation);
    assert!(text.contains("- create claim db-3\n"), "{text}");
    assert!(text.contains("- create pod db-3\n"), "{text}");
    let told = "! Normal PodCreated: create pod db-3: the node has no pod\n";
    assert!(text.contains(told), "{text}");
}

#[test]
fn a_node_above_instances_runs_while_the_view_needs_it() {
    let view = View {
        complete: [id(1), id(3)].into(),
        ..healthy_view().promote(id(1))
    };
    let mut observation = observed(Some(view));
    observation.cluster.wanted.truncate(2);
    // The volume of db-1 was lost, and the pod of db-3 went with its host.
    observation.said(1).node.volume = VolumeId("00000000000000aa".into());
    let gone = observation.facts(3);
    (gone.pod, gone.report) = (None, None);
    gone.stream = Stream::None;
    let text = text(&observation);
    let made = "- create pod db-3\n    because it is above spec.instances, but the view names it as \
                complete\n";
    assert!(text.contains(made), "{text}");
}

#[test]
fn the_claim_of_a_complete_node_is_kept_even_when_its_host_is_gone() {
    for (serial, deletes) in [(2, false), (3, true)] {
        let mut observation = observed(Some(healthy_view()));
        // Only the operator has lost it: the phase stays Healthy.
        observation.lose(serial);
        let facts = observation.facts(serial);
        facts.host = HostFacts::Gone(Micros(0));
        facts.claim = Some(ClaimFacts {
            owned: true,
            bound_to_host: Some("h".into()),
            ..ClaimFacts::default()
        });
        let plan = planned(&observation);
        let deleted = plan
            .actions
            .iter()
            .any(|p| matches!(p.action, Action::DeleteClaim { .. }));
        assert_eq!(deleted, deletes, "db-{serial}: {plan}");
    }
}

/// The primary has heard nothing from `db-2` for so long; the link of `db-3` to it is as given.
fn unheard(silent_ms: u64, phi: f64, third: &Peer) -> Observation {
    let mut observation = observed(Some(healthy_view()));
    let peers = &mut observation.said(1).peers;
    for peer in peers.iter_mut().filter(|peer| peer.node == id(2)) {
        (peer.silent, peer.phi) = (Micros::from_millis(silent_ms), phi);
    }
    for peer in peers.iter_mut().filter(|peer| peer.node == id(3)) {
        *peer = third.clone();
    }
    observation
}

#[test]
fn only_a_lasting_and_surprising_silence_of_the_standby_counts() {
    let cases = [
        ("jitter of 300 ms", 400, 1.5, Phase::Healthy),
        ("a pause of 500 ms", 600, 9.0, Phase::Healthy),
        (
            "shorter than any silence that counts",
            1_490,
            30.0,
            Phase::Healthy,
        ),
        ("long, but not for this link", 1_600, 5.0, Phase::Healthy),
        ("lost", 1_600, 30.0, Phase::ReplacingSynchronous),
        (
            "lost, from a node that does not say how surprising",
            10_000,
            0.0,
            Phase::ReplacingSynchronous,
        ),
    ];
    for (what, silent_ms, phi, phase) in cases {
        let plan = planned(&unheard(silent_ms, phi, &peer(3)));
        assert_eq!(plan.phase, phase, "{what}: {plan}");
    }
}

#[test]
fn a_standby_that_is_not_heard_is_replaced_only_by_one_that_is() {
    let away = Peer {
        connected: false,
        ..peer(3)
    };
    let filling = Peer {
        in_snapshot: true,
        ..peer(3)
    };
    let silent = Peer {
        silent: Micros::from_millis(1_600),
        phi: 30.0,
        ..peer(3)
    };
    for third in [away, filling, silent] {
        let plan = planned(&unheard(1_600, 30.0, &third));
        assert_eq!(plan.phase, Phase::Healthy, "{third:?}: {plan}");
        assert!(
            plan.why.contains("hears nothing from db-2 although"),
            "{plan}"
        );
    }
    let ready = Peer {
        awaited: true,
        complete: true,
        ..peer(3)
    };
    let plan = planned(&unheard(1_600, 30.0, &ready));
    let (next, _) = plan.view_to_record().expect("a view");
    assert_eq!(next.synchronous, [id(3)].into(), "{plan}");
}

#[test]
fn a_report_of_a_silence_that_goes_on_is_news() {
    let report = |silent_ms| unheard(silent_ms, 1.0, &peer(3)).said(1).clone();
    assert!(!report(400).is_news(&report(300)));
    assert!(report(600).is_news(&report(550)));
}
