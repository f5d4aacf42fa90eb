//! etcd's names for how many watch streams and watchers there are. Counts when it is asked, not when
//! something happens.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, Registry};

use super::hub::WatchHub;

struct WatchMetrics {
    hub: WatchHub,
    streams: IntGauge,
    watchers: IntGauge,
    slow: IntGauge,
}

/// Shows the hub's counts in `registry`.
///
/// # Errors
/// When the registry has them already.
pub fn register_metrics(hub: &WatchHub, registry: &Registry) -> Result<(), prometheus::Error> {
    registry.register(Box::new(WatchMetrics {
        hub: hub.clone(),
        streams: IntGauge::new(
            "etcd_debugging_mvcc_watch_stream_total",
            "Total number of watch streams.",
        )?,
        watchers: IntGauge::new(
            "etcd_debugging_mvcc_watcher_total",
            "Total number of watchers.",
        )?,
        slow: IntGauge::new(
            "etcd_debugging_mvcc_slow_watcher_total",
            "Total number of unsynced slow watchers.",
        )?,
    }))
}

impl Collector for WatchMetrics {
    fn desc(&self) -> Vec<&Desc> {
        [&self.streams, &self.watchers, &self.slow]
            .into_iter()
            .flat_map(Collector::desc)
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let counts = self.hub.counts();
        let shown = [
            (&self.streams, counts.streams),
            (&self.watchers, counts.watchers),
            (&self.slow, counts.lagging),
        ];
        for (gauge, count) in shown {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        shown
            .iter()
            .flat_map(|(gauge, _)| gauge.collect())
            .collect()
    }
}
