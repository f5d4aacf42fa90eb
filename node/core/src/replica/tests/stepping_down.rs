//! V8: a primary that stops serving before another takes over.

use super::*;

#[test]
fn v8_a_primary_that_steps_down_takes_no_more_writes_and_reads() {
    let mut node = serving_primary();
    node.step(Input::Read(ReadTicket(1)));
    assert_eq!(
        node.step(Input::StepDown(Epoch(2))),
        [
            Output::ReadRefused(ReadTicket(1)),
            Output::Role(RoleKind::SteppedDown),
        ]
    );
    assert!(
        node.replica
            .propose(node.now, vec![Bytes::from_static(b"w")])
            .is_err()
    );
    assert_eq!(node.replica.read_lease(), Micros(0));
}

#[test]
fn v8_what_was_accepted_before_is_still_committed() {
    let mut node = serving_primary();
    node.proposes("w");
    node.durable(2, 3);
    node.step(Input::StepDown(Epoch(2)));
    assert!(!node.replica.status(node.now).drained);
    node.acked(1, 2, 3);
    assert_eq!(node.replica.commit(), Index(3));
    assert!(node.replica.status(node.now).drained);
}

#[test]
fn stepping_down_is_meant_for_one_epoch() {
    let mut node = serving_primary();
    assert_eq!(node.step(Input::StepDown(Epoch(1))), []);
    assert!(node.replica.accepts_proposals());
}

#[test]
fn a_node_that_stepped_down_may_lead_again_in_the_next_epoch() {
    let mut node = serving_primary();
    node.step(Input::StepDown(Epoch(2)));
    let said = node.adopts(&bare(3, "a", &["a", "b"]));
    assert!(said.contains(&Output::Role(RoleKind::Primary)));
}
