//! The model's teeth: each rule is broken on purpose, and the exploration must notice within bounds as
//! small as the quick ones. A model that would let one of these pass proves nothing by passing itself.

use standby_model::explore::{Limits, explore};
use standby_model::fault::Fault;
use standby_model::runs;
use standby_model::steps::Rules;

#[test]
fn every_deliberate_fault_is_caught() {
    let mut passed = Vec::new();
    for (fault, bounds) in runs::teeth() {
        let explored = explore(&Rules::new(bounds).broken(fault), &Limits::default());
        match explored.violation {
            Some(violation) => println!(
                "{fault:?}: after {} steps: {}",
                violation.steps.len(),
                violation.breach
            ),
            None => passed.push(fault),
        }
    }
    assert!(passed.is_empty(), "not caught: {passed:?}");
}

#[test]
fn a_counterexample_reads_as_a_story() {
    let rules = Rules::new(runs::FAILOVER).broken(Fault::ResumeInSameEpoch);
    let violation = explore(&rules, &Limits::default()).violation;
    let story = violation.expect("it is caught").to_string();
    for part in [
        "an operator records the first view",
        "ends and starts again",
        // Which rule falls first depends on which thread finds its way first.
        "\n     V",
    ] {
        assert!(story.contains(part), "{part:?} is missing in\n{story}");
    }
}
