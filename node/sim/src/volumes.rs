//! What happens to volumes: destroyed, put back from a backup, damaged. Only so much at a time as the
//! product promises to survive: of the volumes that hold everything one stays sound.

use standby_core::replica::RoleKind;

use crate::world::{Event, World};

const MS: u64 = 1_000;
/// Operators act on what they saw, for so long. A second volume fails only after that.
const BETWEEN: u64 = 600 * MS;
/// A volume that was put back must be noticed within this time, once its node runs.
const NOTICED_WITHIN: u64 = 4_000 * MS;
/// Long enough for everything that was in flight to arrive.
const AWAY: u64 = 700 * MS;

/// Whether this volume may be lost, now.
fn may_lose(world: &World, node: usize) -> bool {
    let Some(view) = world.recorded() else {
        return false;
    };
    if world.now < world.volume_fault_at + BETWEEN {
        return false;
    }
    if !view.complete.contains(&world.nodes[node].disk.node) {
        return true;
    }
    // Whoever may go on alone promises nothing when the only complete volume is lost.
    let sound = view.complete.iter().filter(|n| world.sound(n).is_some());
    !world.faults.available && sound.count() >= 2
}

/// The volume is destroyed; the place goes on with an empty one.
pub fn replace(world: &mut World, node: usize) {
    if may_lose(world, node) {
        world.volume_fault_at = world.now;
        world.report.replaced += 1;
        world.renew(node);
    }
}

/// The end of the log turns out to be damaged at the next start.
pub fn damage(world: &mut World, node: usize) {
    if !may_lose(world, node) {
        return;
    }
    world.kill(node);
    let disk = &mut world.nodes[node].disk;
    if disk.durable.entries.is_empty() || disk.durable.last() == disk.durable.applied {
        world.schedule(20 * MS, Event::Start(node));
        return;
    }
    let applied = disk.durable.applied.index;
    let entries = &mut disk.durable.entries;
    let half = entries.len() / 2;
    entries.truncate(half);
    let base = disk.durable.base.index;
    if applied > disk.durable.last().index.max(base) {
        // The state goes with the log in this simulation: what it shows was committed anyway.
        disk.durable.base = disk.durable.applied;
        disk.durable.entries.clear();
    }
    disk.spoiled = true;
    disk.damage = Some("entries are missing".into());
    world.volume_fault_at = world.now;
    world.schedule(20 * MS, Event::Start(node));
}

/// The volume of a synchronous node is put back to an earlier state, while its primary lives, who
/// remembers what it acknowledged (V11).
pub fn roll_back(world: &mut World, node: usize) {
    let Some(view) = world.recorded().cloned() else {
        return;
    };
    let id = world.nodes[node].disk.node.clone();
    let (Some(primary), Some(backup)) = (world.index_of(&view.primary), &world.nodes[node].backup)
    else {
        return;
    };
    let last = backup.last().index;
    let leads = world.nodes[primary]
        .process
        .as_ref()
        .is_some_and(|process| {
            let status = process.replica.status(world.micros(primary));
            status.role == RoleKind::Primary && status.serving && last < status.commit
        });
    let seen = world.operators.iter().all(|operator| {
        operator
            .heard_at(primary)
            .is_some_and(|at| world.now - at < 100 * MS)
    });
    let awake = world.nodes[primary].paused_until <= world.now;
    if !view.synchronous.contains(&id)
        || world.nodes[node].disk.spoiled
        || !(leads && seen && awake)
        || world.records_are_under_way()
        || !may_lose(world, node)
    {
        return;
    }
    world.volume_fault_at = world.now;
    world.kill(node);
    world.faults.calm();
    // A node that its old view makes a primary dials nobody: only an operator can tell it better.
    world.api_up = true;
    world.watched = Some((node, world.now + AWAY + NOTICED_WITHIN));
    world.schedule(AWAY, Event::StartFromBackup(node));
}

/// The backup takes the volume's place.
pub fn put_back(world: &mut World, node: usize) {
    world.kill(node);
    if let Some(backup) = world.nodes[node].backup.take() {
        world.nodes[node].disk.durable = backup;
        world.nodes[node].disk.spoiled = true;
    }
}
