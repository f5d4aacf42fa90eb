//! Waiting between two turns. A stream that falls silent ends the wait; heartbeats, which only put off the
//! moment when it would count as lost, cost no turn.

use std::collections::BTreeMap;

use standby_core::Micros;
use standby_operator_core::detect::Thresholds;
use standby_operator_core::observe::{Observation, Stream};

use crate::clock::Clock;
use crate::limits::ms;
use crate::stream::NodeStream;

/// What the last turn took for granted, and whose end must wake the task.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// The nodes whose streams were not lost.
    alive: Vec<String>,
    thresholds: Thresholds,
}

impl Rest {
    /// After a turn that saw this.
    pub(super) fn after(observation: &Observation) -> Self {
        let alive = observation
            .nodes
            .iter()
            .filter(|(_, facts)| facts.stream == Stream::Alive)
            .map(|(name, _)| name.clone());
        Self {
            alive: alive.collect(),
            thresholds: observation.cluster.thresholds,
        }
    }

    /// Returns after `wait`, or as soon as a stream is lost that was not.
    pub(super) async fn over(
        &self,
        streams: &BTreeMap<String, NodeStream>,
        clock: Clock,
        wait: Micros,
    ) {
        let end = clock.now().plus(wait);
        loop {
            let now = clock.now();
            let mut next = end;
            for stream in self.alive.iter().filter_map(|name| streams.get(name)) {
                let Some(lost_at) = stream.lost_at(now, &self.thresholds) else {
                    return;
                };
                next = next.min(lost_at.plus(Micros::from_millis(1)));
            }
            if now >= end {
                return;
            }
            tokio::time::sleep(ms(next.since(now).as_millis().max(1))).await;
        }
    }
}
