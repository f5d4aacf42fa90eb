//! The simulation's teeth: each rule is broken on purpose, in every node, and some seed must notice.
//! `GrantWhileStoring` and `ConflictOverlooked` are left to tests of the core (`v2_no_lease_is_granted_…`,
//! `v10_another_view_…`).
//! A simulation that would let one of these pass proves nothing by passing itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use standby_core::replica::Mutant;
use standby_sim::{run_with, scenario};

/// Panics are expected here; their texts would drown the one that matters.
static QUIET: Mutex<()> = Mutex::new(());

/// The first of so many seeds that notices the fault.
fn noticed_by_search(mutant: Mutant, seeds: u64) -> Option<u64> {
    (0..seeds).find(|seed| fails(|| drop(run_with(*seed, Some(mutant)))))
}

fn fails(work: impl FnOnce()) -> bool {
    let _one_at_a_time = QUIET
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let failed = catch_unwind(AssertUnwindSafe(work)).is_err();
    std::panic::set_hook(hook);
    failed
}

fn assert_noticed(mutant: Mutant, seeds: u64) {
    let seed = noticed_by_search(mutant, seeds);
    eprintln!("{mutant:?}: noticed by seed {seed:?}");
    assert!(seed.is_some(), "{mutant:?} passed {seeds} seeds unnoticed");
}

#[test]
fn entries_of_a_lower_epoch_is_noticed() {
    assert_noticed(Mutant::AppendOfLowerEpoch, 5);
}

#[test]
fn an_acknowledgement_by_the_primary_alone_is_noticed() {
    assert_noticed(Mutant::AcknowledgeOnOwnDisk, 5);
}

#[test]
fn a_restarted_primary_that_goes_on_is_noticed() {
    assert_noticed(Mutant::ResumeInSameEpoch, 60);
}

#[test]
fn a_commit_with_nobody_is_noticed() {
    assert_noticed(Mutant::CommitInBareView, 5);
}

#[test]
fn a_promise_that_is_not_kept_is_noticed() {
    assert_noticed(Mutant::PromiseIgnored, 20);
}

#[test]
fn a_node_complete_with_a_part_is_noticed() {
    assert_noticed(Mutant::CompleteWithPartOfLog, 40);
}

#[test]
fn an_answer_to_an_earlier_presentation_is_noticed() {
    assert_noticed(Mutant::AnswerToEarlierHello, 20);
}

#[test]
fn acknowledgements_that_are_forgotten_is_noticed() {
    assert_noticed(Mutant::AcknowledgedForgotten, 40);
}

#[test]
fn a_damaged_node_that_leads_is_noticed() {
    assert_noticed(Mutant::DamagedMayLead, 30);
}

/// Scripts run with so many seeds: delays differ.
const SCRIPT_SEEDS: u64 = 10;

/// The sound core passes the script with every seed, the broken one fails with some.
fn assert_noticed_by(script: fn(u64, Option<Mutant>), mutant: Mutant) {
    for seed in 0..SCRIPT_SEEDS {
        script(seed, None);
    }
    let noticed = (0..SCRIPT_SEEDS).find(|seed| fails(|| script(*seed, Some(mutant))));
    eprintln!("{mutant:?}: noticed by the script with seed {noticed:?}");
    assert!(noticed.is_some(), "{mutant:?} passed the script unnoticed");
}

#[test]
fn a_new_primary_that_does_not_wait_for_leases_is_noticed() {
    assert_noticed_by(
        scenario::a_granter_is_promoted_at_once,
        Mutant::ServeBeforeLeaseIsOver,
    );
}

#[test]
fn a_lease_granted_two_epochs_ago_and_forgotten_is_noticed() {
    assert_noticed_by(
        scenario::two_promotions_within_one_lease,
        Mutant::AcknowledgementGrantsNothing,
    );
}

#[test]
fn a_proof_about_one_primary_taken_for_all_is_noticed() {
    assert_noticed_by(
        scenario::the_second_primary_is_proven_dead_the_first_is_not,
        Mutant::ProofTakenForAll,
    );
}

#[test]
fn a_lease_without_the_promised_nodes_is_noticed() {
    assert_noticed_by(
        scenario::a_promised_node_is_promoted_behind_the_primary,
        Mutant::LeaseBySynchronousOnly,
    );
}

#[test]
fn a_cut_of_what_is_committed_is_noticed() {
    assert_noticed_by(
        scenario::the_volume_of_the_primary_is_put_back,
        Mutant::CutCommitted,
    );
}

#[test]
fn a_primary_that_begins_to_write_in_a_view_it_may_have_led_is_noticed() {
    assert_noticed_by(
        scenario::the_primary_is_put_back_and_told_its_own_view,
        Mutant::LeadUnseenView,
    );
}

#[test]
fn a_standby_that_was_put_back_while_the_primary_restarted_is_noticed() {
    assert_noticed_by(
        scenario::the_standby_is_put_back_while_the_primary_restarts,
        Mutant::CompleteTakenOnTrust,
    );
}

#[test]
fn an_old_primary_that_was_put_back_while_another_took_over_is_noticed() {
    assert_noticed_by(
        scenario::the_old_primary_is_put_back_while_another_takes_over,
        Mutant::CompleteTakenOnTrust,
    );
}
