//! Runs: one seed, or many.

use std::panic::{AssertUnwindSafe, catch_unwind};

use standby_core::replica::Mutant;

use crate::acts::Act;
use crate::invariants::healed;
use crate::report::Report;
use crate::time::{SECOND, Time};
use crate::world::{Event, World};

/// Before the first fault the cluster comes up.
const BEGINNING: Time = 12 * SECOND;
/// After the faults everything must be well within this time, beside a container's longest back-off.
const HEAL_WITHIN: Time = 150 * SECOND;
/// Writes that must be acknowledged after a storm.
const WRITES_AFTER: u64 = 3;
/// Storms in one run.
const STORMS: u64 = 5;
/// Without new writes everybody has everything after this time.
const CATCH_UP: Time = 10 * SECOND;
/// How many half seconds more it may take until all nodes stand at the same place.
const MOMENTS: u32 = 10;

/// How to run a seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    /// A rule that every node breaks on purpose.
    pub mutant: Option<Mutant>,
    /// The act that is played, whichever would be drawn.
    pub act: Option<Act>,
    /// Print what happens.
    pub verbose: bool,
}

/// Runs one seed to its end.
///
/// # Panics
/// With the seed and how to replay it, when a rule is broken or the cluster does not heal.
#[must_use]
pub fn run(seed: u64, how: Run) -> Report {
    let mut world = World::new(seed, how.mutant);
    world.verbose = how.verbose;
    world.schedule(SECOND, Event::People);
    world.run_until(BEGINNING);
    world.sleeps(false);
    let drawn = Act::draw(&mut world);
    let act = how.act.or(drawn);
    let scene = world.rng.below(STORMS);
    for storm in 0..STORMS {
        world.storm_begins();
        let end = world.now + world.profile.stormy;
        world.run_until(end);
        world.storm_ends();
        world.people_relent();
        heal(&mut world);
        if let Some(act) = act.filter(|_| storm == scene) {
            act.play(&mut world);
            heal(&mut world);
        }
    }
    world.clients.stopped = true;
    world.run_until(world.now + CATCH_UP);
    // Leases end at any moment, and what is written then takes its time to places that are far.
    for _ in 0..MOMENTS {
        if healed::all_applied(&world) {
            break;
        }
        world.run_until(world.now + SECOND / 2);
    }
    healed::converged(&world);
    if world.rng.permille(100) {
        delete(&mut world);
    }
    let mut report = std::mem::take(&mut world.report);
    report.simulated = world.now;
    report.leases_expired = world.history.model.expired;
    report
}

/// The cluster is deleted: its volumes stay, and everything of it is let go of.
fn delete(world: &mut World) {
    world.people_delete_the_cluster();
    world.run_until(world.now + 20 * SECOND);
    if !world.api.released {
        world.broken("liveness", "a deleted cluster is not let go of".into());
    }
    let owned = world.api.objects.claims.values().any(|claim| claim.owned);
    if owned && world.retains() {
        world.broken(
            "deletion",
            "a volume goes with the cluster that was to be kept".into(),
        );
    }
}

/// Lets the cluster heal.
fn heal(world: &mut World) {
    let began = world.now;
    let written = world.report.acknowledged;
    let deadline = began + HEAL_WITHIN + world.profile.back_off;
    loop {
        world.run_until(world.now + SECOND / 2);
        world.look_at_spoiled();
        let missing = healed::missing(world);
        let writes = world.report.acknowledged >= written + WRITES_AFTER;
        if missing.is_none() && writes {
            break;
        }
        if world.now >= deadline {
            let what = missing.unwrap_or_else(|| "writes do not go".into());
            let text = format!(
                "{} s after the faults: {what}",
                (world.now - began) / SECOND
            );
            world.broken("liveness", text);
        }
    }
    world.report.heals += 1;
    world.report.longest_heal = world.report.longest_heal.max(world.now - began);
}

/// Runs `seed`; an error is what was broken.
///
/// # Errors
/// The text of the breach.
pub fn run_many(seed: u64, how: Run) -> Result<Report, String> {
    catch_unwind(AssertUnwindSafe(|| run(seed, how))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        text.unwrap_or_else(|| "a panic without words".into())
    })
}

/// Whether one of the first `seeds` seeds, with this act or the one that is drawn, notices that every node
/// breaks a rule.
#[must_use]
pub fn catches(mutant: Mutant, act: Option<Act>, seeds: u64) -> bool {
    (0..seeds).any(|seed| {
        let how = Run {
            mutant: Some(mutant),
            act,
            verbose: false,
        };
        run_many(seed, how).is_err()
    })
}
