//! The simulation's teeth: a rule is broken on purpose in every node, and some seed must notice. Those
//! that need a moment which chance meets too rarely are left to the scripts of `node/sim`.

use standby_core::replica::Mutant;
use standby_system_sim::catches;

#[test]
fn an_acknowledgement_by_the_primary_alone_is_noticed() {
    assert!(catches(Mutant::AcknowledgeOnOwnDisk, 5));
}

#[test]
fn a_commit_with_nobody_is_noticed() {
    assert!(catches(Mutant::CommitInBareView, 5));
}

#[test]
fn a_restarted_primary_that_goes_on_is_noticed() {
    assert!(catches(Mutant::ResumeInSameEpoch, 20));
}

#[test]
fn entries_of_a_lower_epoch_are_noticed() {
    assert!(catches(Mutant::AppendOfLowerEpoch, 20));
}

#[test]
fn a_promise_that_is_not_kept_is_noticed() {
    assert!(catches(Mutant::PromiseIgnored, 20));
}

#[test]
fn a_node_complete_with_a_part_is_noticed() {
    assert!(catches(Mutant::CompleteWithPartOfLog, 20));
}

#[test]
fn an_answer_to_an_earlier_presentation_is_noticed() {
    assert!(catches(Mutant::AnswerToEarlierHello, 30));
}

#[test]
fn a_damaged_node_that_leads_is_noticed() {
    assert!(catches(Mutant::DamagedMayLead, 20));
}
