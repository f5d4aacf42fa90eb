//! The simulation's teeth: a rule is broken on purpose in every node, and some seed must notice. Those
//! that need a moment which chance meets too rarely are left to the scripts of `node/sim`.

use standby_core::replica::Mutant;
use standby_system_sim::{Act, Run, catches, run};

#[test]
fn an_acknowledgement_by_the_primary_alone_is_noticed() {
    assert!(catches(Mutant::AcknowledgeOnOwnDisk, None, 5));
}

#[test]
fn a_commit_with_nobody_is_noticed() {
    assert!(catches(Mutant::CommitInBareView, None, 5));
}

#[test]
fn a_restarted_primary_that_goes_on_is_noticed() {
    assert!(catches(Mutant::ResumeInSameEpoch, None, 20));
}

#[test]
fn entries_of_a_lower_epoch_are_noticed() {
    assert!(catches(Mutant::AppendOfLowerEpoch, None, 20));
}

#[test]
fn a_promise_that_is_not_kept_is_noticed() {
    assert!(catches(Mutant::PromiseIgnored, None, 20));
}

#[test]
fn a_node_complete_with_a_part_is_noticed() {
    assert!(catches(Mutant::CompleteWithPartOfLog, None, 20));
}

#[test]
fn an_answer_to_an_earlier_presentation_is_noticed() {
    assert!(catches(Mutant::AnswerToEarlierHello, None, 30));
}

#[test]
fn a_damaged_node_that_leads_is_noticed() {
    assert!(catches(Mutant::DamagedMayLead, None, 20));
}

#[test]
fn a_cut_of_what_is_committed_is_noticed() {
    let act = Some(Act::PrimaryPutBack);
    assert!(catches(Mutant::CutCommitted, act, 20));
}

#[test]
fn acknowledgements_that_are_forgotten_are_noticed() {
    assert!(catches(Mutant::AcknowledgedForgotten, None, 40));
}

#[test]
fn a_new_primary_that_does_not_wait_for_leases_is_noticed() {
    let act = Some(Act::OldPrimaryLives);
    assert!(catches(Mutant::ServeBeforeLeaseIsOver, act, 20));
}

/// Without a broken rule the acts end well.
#[test]
fn the_acts_that_notice_it_pass_with_every_rule_kept() {
    for act in [Act::PrimaryPutBack, Act::OldPrimaryLives] {
        for seed in 0..6 {
            let act = Some(act);
            let _ = run(
                seed,
                Run {
                    act,
                    ..Run::default()
                },
            );
        }
    }
}
