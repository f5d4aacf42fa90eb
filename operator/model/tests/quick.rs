//! The quick bounds, with every test run: everything is seen, and no rule is broken.

use standby_model::explore::{Limits, explore};
use standby_model::runs;
use standby_model::steps::Rules;

#[test]
fn no_rule_is_broken_within_the_quick_bounds() {
    for bounds in runs::QUICK {
        let explored = explore(&Rules::new(bounds), &Limits::default());
        if let Some(violation) = &explored.violation {
            panic!("{bounds}:\n{violation}");
        }
        assert!(
            explored.complete,
            "{bounds}: stopped after {} states",
            explored.states
        );
        println!(
            "{}: {} states, depth {}, {:.1} s",
            bounds.name,
            explored.states,
            explored.depth,
            explored.time.as_secs_f64()
        );
    }
}
