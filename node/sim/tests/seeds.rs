//! Runs the simulation over many seeds. `SIM_SEED=N` replays one; `SIM_SEEDS=N` runs more.

use standby_sim::{Report, run};

/// How many seeds a plain test run takes.
const SEEDS: u64 = 200;

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().expect("a whole number"))
}

#[test]
fn no_seed_breaks_a_rule_and_every_cluster_heals() {
    if let Some(seed) = number_from("SIM_SEED") {
        println!("{:?}", run(seed));
        return;
    }
    let seeds = number_from("SIM_SEEDS").unwrap_or(SEEDS);
    let mut total = Report::default();
    for seed in 0..seeds {
        let report = run(seed);
        total.events += report.events;
        total.acknowledged += report.acknowledged;
        total.reads += report.reads;
        total.views += report.views;
        total.promotions += report.promotions;
        total.faults += report.faults;
    }
    println!("{seeds} seeds: {total:?}");
    // A simulation in which nothing happens proves nothing.
    assert!(total.acknowledged > seeds * 50, "too few writes: {total:?}");
    assert!(total.reads > seeds * 20, "too few reads: {total:?}");
    assert!(total.promotions > seeds, "too few promotions: {total:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [1, 7, 42] {
        assert_eq!(run(seed), run(seed));
    }
}
