//! What a seed is about: the cluster, the machines, what goes wrong and how often.

use crate::rng::Rng;
use crate::time::{MS, SECOND, Time};

/// Drawn once per run.
#[derive(Clone, Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent choices of a seed"
)]
pub struct Profile {
    /// The uid of the cluster's resource.
    pub cluster_id: String,
    /// Wanted nodes.
    pub instances: usize,
    /// Machines.
    pub hosts: usize,
    /// Zones the machines are spread over.
    pub zones: usize,
    /// Clients.
    pub clients: usize,
    /// The longest pause between two requests of a client.
    pub think: Time,
    /// `durability: Available`.
    pub available: bool,
    /// `failover.mode: Manual`.
    pub manual: bool,
    /// Volumes stay on their machine.
    pub local_volumes: bool,
    /// The longest sync of a healthy disk.
    pub sync: Time,
    /// Entries of log that are kept for followers.
    pub log_kept: u64,
    /// The longest back-off of a crashing container.
    pub back_off: Time,
    /// How late a watch of the API server may bring its news.
    pub watch_lag: Time,
    /// Clocks part by up to this, in parts per million.
    pub drift_ppm: u64,
    /// Clocks may part by more than leases allow for: stale reads are possible then, lost writes are
    /// not.
    pub wild_clocks: bool,
    /// The mean pause between faults.
    pub fault_every: Time,
    /// How long faults go on before everything must heal.
    pub stormy: Time,
    /// How often people order something, in a thousand draws of faults.
    pub people: u64,
    /// The resource is made with `hibernated: true`.
    pub sleeps_first: bool,
    /// Something goes wrong while the first view is recorded.
    pub disturbed_beginning: bool,
    /// What a packet between two hosts takes at least: in most runs they are near.
    pub distance: Time,
}

impl Profile {
    /// How far a clock may be off, in parts per million.
    #[must_use]
    pub fn most_drift_ppm(&self) -> u64 {
        if self.wild_clocks {
            250_000
        } else {
            self.drift_ppm
        }
    }

    /// What `seed` is about.
    #[must_use]
    pub fn draw(seed: u64, rng: &mut Rng) -> Self {
        let instances = match rng.below(10) {
            0 => 1,
            1 | 2 => 2,
            3..=7 => 3,
            8 => 4,
            _ => 5,
        };
        let hosts = usize::try_from(rng.between(2, 6))
            .expect("small")
            .max(instances.min(3));
        let single = instances == 1;
        Self {
            cluster_id: format!("{seed:08x}-0000-4000-8000-000000000000"),
            instances,
            hosts,
            zones: rng.index(hosts.min(3)) + 1,
            clients: rng.index(4) + 2,
            think: rng.between(40 * MS, 800 * MS),
            available: single || rng.permille(250),
            manual: rng.permille(120),
            local_volumes: rng.permille(500),
            sync: rng.between(400, 3 * MS),
            log_kept: *[20, 100, 1_000, 10_000]
                .get(rng.index(4))
                .expect("one of four"),
            back_off: *[SECOND, 5 * SECOND, 20 * SECOND]
                .get(rng.index(3))
                .expect("one of three"),
            watch_lag: *[20 * MS, 100 * MS, 2 * SECOND]
                .get(rng.index(3))
                .expect("one of three"),
            drift_ppm: *[200, 5_000, 40_000]
                .get(rng.index(3))
                .expect("one of three"),
            wild_clocks: rng.permille(60),
            fault_every: rng.between(SECOND, 20 * SECOND),
            stormy: rng.between(30 * SECOND, 150 * SECOND),
            people: rng.below(120),
            sleeps_first: rng.permille(40),
            disturbed_beginning: rng.permille(150),
            distance: if rng.permille(80) {
                rng.between(5 * MS, 130 * MS)
            } else {
                0
            },
        }
    }
}
