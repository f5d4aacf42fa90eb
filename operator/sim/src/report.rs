//! What runs did: figures for people, and the hash that shows that the same seed gives the same run.

use std::collections::{BTreeMap, BTreeSet};

use standby_operator_core::plan::{Action, Phase};

/// Which states of the table, and which ways out of them, were reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Looks at each phase.
    pub phases: BTreeMap<Phase, u64>,
    /// From a phase to the next that was seen, by the same operator.
    pub moves: BTreeMap<(Phase, Phase), u64>,
}

impl Coverage {
    /// A plan was made.
    pub fn saw(&mut self, before: Option<Phase>, now: Phase) {
        if before == Some(now) {
            return;
        }
        *self.phases.entry(now).or_default() += 1;
        if let Some(before) = before {
            *self.moves.entry((before, now)).or_default() += 1;
        }
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        for (phase, count) in &other.phases {
            *self.phases.entry(*phase).or_default() += count;
        }
        for (step, count) in &other.moves {
            *self.moves.entry(*step).or_default() += count;
        }
    }

    /// Every row of the table: each phase, and each of its exits; and how often it was reached.
    #[must_use]
    pub fn table(&self) -> Vec<(String, u64)> {
        let mut rows = Vec::new();
        for phase in Phase::ALL {
            let count = self.phases.get(&phase).copied().unwrap_or(0);
            rows.push((phase.to_string(), count));
            let exits: BTreeSet<Phase> = phase.exits().iter().map(|(_, to)| *to).collect();
            for to in exits {
                let count = self.moves.get(&(phase, to)).copied().unwrap_or(0);
                rows.push((format!("{phase} -> {to}"), count));
            }
        }
        rows
    }
}

/// What a run, or many, did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Simulated microseconds.
    pub simulated: u64,
    /// Events processed.
    pub events: u64,
    /// Plans made.
    pub plans: u64,
    /// Questions of clients.
    pub asked: u64,
    /// Questions answered.
    pub answered: u64,
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Reads answered.
    pub reads: u64,
    /// Reads answered by lease alone.
    pub leased_reads: u64,
    /// Questions refused, or of unknown outcome.
    pub refused: u64,
    /// Questions without an answer.
    pub gave_up: u64,
    /// Stale answers while clocks part by more than leases allow for.
    pub stale_with_wild_clocks: u64,
    /// Views recorded.
    pub views: u64,
    /// Of these, such that changed the primary.
    pub promotions: u64,
    /// Views that were not recorded because another was meanwhile.
    pub superseded: u64,
    /// Times an operator came to lead.
    pub leaders: u64,
    /// Times it lost that.
    pub leaders_lost: u64,
    /// Processes of nodes that ended.
    pub process_ends: u64,
    /// Volumes gone for good.
    pub volumes_lost: u64,
    /// Volumes given up because somebody noticed that they had lost something.
    pub discards: u64,
    /// Snapshots sent.
    pub snapshots: u64,
    /// Storms that were healed from.
    pub heals: u64,
    /// The longest healing, in microseconds.
    pub longest_heal: u64,
    /// Watch streams opened.
    pub watches: u64,
    /// Of these, such that were told of a compaction.
    pub watches_compacted: u64,
    /// Events that watchers saw.
    pub events_watched: u64,
    /// Leases that ran out.
    pub leases_expired: u64,
    /// Faults, by kind.
    pub faults: BTreeMap<String, u64>,
    /// Actions carried out, by kind.
    pub actions: BTreeMap<String, u64>,
    /// Phases and exits.
    pub coverage: Coverage,
    /// Hash over every event, in order.
    pub trace: u64,
}

impl Report {
    /// Nothing happened yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// Takes an event into the trace.
    pub fn mark(&mut self, what: u64) {
        self.trace = self
            .trace
            .rotate_left(5)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            ^ what;
    }

    /// A fault of some kind.
    pub fn fault(&mut self, kind: &str) {
        if let Some(count) = self.faults.get_mut(kind) {
            *count += 1;
        } else {
            self.faults.insert(kind.to_owned(), 1);
        }
    }

    /// An action of the planner.
    pub fn action(&mut self, action: &Action) {
        let text = format!("{action:?}");
        let kind = text.split([' ', '{']).next().unwrap_or_default();
        *self.actions.entry(kind.to_owned()).or_default() += 1;
    }

    /// An action that this simulation does not know how to carry out.
    pub fn not_carried_out(&mut self, action: &Action) {
        let text = format!("{action:?}");
        let kind = text.split([' ', '{']).next().unwrap_or_default();
        *self
            .actions
            .entry(format!("not carried out: {kind}"))
            .or_default() += 1;
    }

    /// Simulated hours.
    #[must_use]
    pub fn hours(&self) -> f64 {
        crate::time::seconds(self.simulated) / 3_600.0
    }

    /// Adds another run's figures.
    pub fn add(&mut self, other: &Self) {
        self.simulated += other.simulated;
        self.events += other.events;
        self.plans += other.plans;
        self.asked += other.asked;
        self.answered += other.answered;
        self.acknowledged += other.acknowledged;
        self.reads += other.reads;
        self.leased_reads += other.leased_reads;
        self.refused += other.refused;
        self.gave_up += other.gave_up;
        self.stale_with_wild_clocks += other.stale_with_wild_clocks;
        self.views += other.views;
        self.promotions += other.promotions;
        self.superseded += other.superseded;
        self.leaders += other.leaders;
        self.leaders_lost += other.leaders_lost;
        self.process_ends += other.process_ends;
        self.volumes_lost += other.volumes_lost;
        self.discards += other.discards;
        self.snapshots += other.snapshots;
        self.heals += other.heals;
        self.longest_heal = self.longest_heal.max(other.longest_heal);
        self.watches += other.watches;
        self.watches_compacted += other.watches_compacted;
        self.events_watched += other.events_watched;
        self.leases_expired += other.leases_expired;
        for (kind, count) in &other.faults {
            *self.faults.entry(kind.clone()).or_default() += count;
        }
        for (kind, count) in &other.actions {
            *self.actions.entry(kind.clone()).or_default() += count;
        }
        self.coverage.add(&other.coverage);
        self.trace = self.trace.rotate_left(1) ^ other.trace;
    }

    /// As JSON, with the number of seeds that broke a rule.
    #[must_use]
    pub fn json(&self, violations: &[u64], seeds: u64) -> serde_json::Value {
        let rows = self.coverage.table();
        let unreached: Vec<&str> = rows
            .iter()
            .filter(|(_, count)| *count == 0)
            .map(|(row, _)| row.as_str())
            .collect();
        let reached: BTreeMap<&str, u64> = rows
            .iter()
            .map(|(row, count)| (row.as_str(), *count))
            .collect();
        serde_json::json!({
            "clusterHours": self.hours(),
            "seeds": seeds,
            "violations": violations.len(),
            "failingSeeds": violations,
            "faults": self.faults,
            "transitions": {
                "total": rows.len(),
                "reached": rows.len() - unreached.len(),
                "unreached": unreached,
                "counts": reached,
            },
            "clients": {
                "asked": self.asked, "answered": self.answered,
                "acknowledged": self.acknowledged, "reads": self.reads,
                "leasedReads": self.leased_reads, "refused": self.refused,
                "gaveUp": self.gave_up, "leasesExpired": self.leases_expired,
                "watches": self.watches, "watchesCompacted": self.watches_compacted,
                "eventsWatched": self.events_watched,
                "staleWithWildClocks": self.stale_with_wild_clocks,
            },
            "cluster": {
                "events": self.events, "plans": self.plans, "views": self.views,
                "promotions": self.promotions, "superseded": self.superseded,
                "processEnds": self.process_ends, "volumesLost": self.volumes_lost,
                "volumesGivenUp": self.discards, "snapshots": self.snapshots,
                "operatorsCameToLead": self.leaders, "operatorsLostTheLead": self.leaders_lost,
                "heals": self.heals, "longestHealSeconds": crate::time::seconds(self.longest_heal),
            },
            "actions": self.actions,
        })
    }
}
