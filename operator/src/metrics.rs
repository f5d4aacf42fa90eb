//! Prometheus metrics, on a registry of our own.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use standby_api::StandbyClusterStatus;

use crate::context::Key;
use crate::line::Rank;

/// Buckets of the steps of a failover, in seconds.
const STEP_BUCKETS_SECONDS: [f64; 14] = [
    0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 4.0, 8.0, 16.0, 60.0,
];

/// Buckets of calls of the Kubernetes API, in seconds.
const CALL_BUCKETS_SECONDS: [f64; 10] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 2.0, 30.0];

/// How long calls of the Kubernetes API wait for their turn, and how long they take. Apart from the rest,
/// because calls are made where there is nothing else to be counted.
pub static CALLS: LazyLock<Calls> = LazyLock::new(Calls::new);

/// Times of calls of the Kubernetes API, by rank.
pub struct Calls {
    waited: HistogramVec,
    took: HistogramVec,
}

impl Calls {
    fn new() -> Self {
        let histogram = |name: &str, help: &str| {
            let opts = HistogramOpts::new(name, help).buckets(CALL_BUCKETS_SECONDS.to_vec());
            HistogramVec::new(opts, &["rank"]).expect("the names are well-formed")
        };
        Self {
            waited: histogram(
                "standby_operator_api_wait_seconds",
                "How long calls of the Kubernetes API waited for their turn",
            ),
            took: histogram(
                "standby_operator_api_call_seconds",
                "How long calls of the Kubernetes API took, those that failed too",
            ),
        }
    }

    /// A call of this rank got its turn.
    pub fn waited(&self, rank: Rank, time: Duration) {
        let waited = self.waited.with_label_values(&[rank.name()]);
        waited.observe(time.as_secs_f64());
    }

    /// A call of this rank ended, one way or the other.
    pub fn took(&self, rank: Rank, time: Duration) {
        let took = self.took.with_label_values(&[rank.name()]);
        took.observe(time.as_secs_f64());
    }
}

/// Everything the operator counts.
pub struct Metrics {
    registry: Registry,
    /// 1 while this replica leads.
    pub is_leader: IntGauge,
    /// Failovers and switchovers by what had failed.
    pub failovers: IntCounterVec,
    /// Views recorded.
    pub views_recorded: IntCounter,
    /// Failed steps of reconciling, by step.
    pub reconcile_errors: IntCounterVec,
    failover_steps: HistogramVec,
    clusters: IntGaugeVec,
    conditions: Mutex<BTreeMap<Key, Vec<(String, String)>>>,
}

impl Metrics {
    /// Makes and registers every metric.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let is_leader = IntGauge::new("standby_operator_is_leader", "1 while this replica leads")?;
        let failovers = IntCounterVec::new(
            Opts::new(
                "standby_operator_failovers_total",
                "Promotions, by what had failed",
            ),
            &["fault"],
        )?;
        let views_recorded =
            IntCounter::new("standby_operator_views_recorded_total", "Views recorded")?;
        let reconcile_errors = IntCounterVec::new(
            Opts::new(
                "standby_operator_reconcile_errors_total",
                "Failed steps of reconciling",
            ),
            &["step"],
        )?;
        let failover_steps = HistogramVec::new(
            HistogramOpts::new(
                "standby_operator_failover_step_seconds",
                "When each step of a failover was done, after it was first noticed",
            )
            .buckets(STEP_BUCKETS_SECONDS.to_vec()),
            &["step"],
        )?;
        let clusters = IntGaugeVec::new(
            Opts::new(
                "standby_operator_clusters",
                "Clusters by condition and its status",
            ),
            &["condition", "status"],
        )?;
        registry.register(Box::new(is_leader.clone()))?;
        registry.register(Box::new(failovers.clone()))?;
        registry.register(Box::new(views_recorded.clone()))?;
        registry.register(Box::new(reconcile_errors.clone()))?;
        registry.register(Box::new(failover_steps.clone()))?;
        registry.register(Box::new(clusters.clone()))?;
        registry.register(Box::new(CALLS.waited.clone()))?;
        registry.register(Box::new(CALLS.took.clone()))?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        Ok(Self {
            registry,
            is_leader,
            failovers,
            views_recorded,
            reconcile_errors,
            failover_steps,
            clusters,
            conditions: Mutex::default(),
        })
    }

    /// Notes the conditions of a cluster.
    pub fn saw_status(&self, key: &Key, status: &StandbyClusterStatus) {
        let conditions = status
            .conditions
            .iter()
            .map(|c| (c.type_.clone(), c.status.clone()))
            .collect();
        self.conditions.lock().insert(key.clone(), conditions);
    }

    /// Forgets a cluster.
    pub fn forget(&self, key: &Key) {
        self.conditions.lock().remove(key);
    }

    /// Notes when a step of a failover was done.
    pub fn step_done(&self, step: &str, after_ms: Option<i64>) {
        if let Some(after) = after_ms.and_then(|ms| i32::try_from(ms).ok()) {
            self.failover_steps
                .with_label_values(&[step])
                .observe(f64::from(after) / 1_000.0);
        }
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        self.clusters.reset();
        for conditions in self.conditions.lock().values() {
            for (condition, status) in conditions {
                self.clusters.with_label_values(&[condition, status]).inc();
            }
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgotten_cluster_is_counted_no_more() {
        let metrics = Metrics::new().expect("the metrics are consistent");
        let key = Key {
            namespace: "shop".into(),
            name: "db".into(),
        };
        let mut status = StandbyClusterStatus::default();
        status
            .conditions
            .push(k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition {
                type_: "Ready".into(),
                status: "True".into(),
                reason: "ClusterIsReady".into(),
                message: String::new(),
                last_transition_time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
                    jiff::Timestamp::UNIX_EPOCH,
                ),
                observed_generation: None,
            });
        metrics.saw_status(&key, &status);
        let line = "standby_operator_clusters{condition=\"Ready\",status=\"True\"} 1";
        assert!(metrics.text().expect("text").contains(line));
        metrics.forget(&key);
        assert!(!metrics.text().expect("text").contains(line));
    }

    /// Names in backticks that begin like ours, without the labels that follow some of them.
    fn documented() -> std::collections::BTreeSet<String> {
        include_str!("../../docs/operating.md")
            .split(|c: char| !c.is_ascii_lowercase() && c != '_')
            .filter(|word| word.starts_with("standby_operator_"))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_guide_names_every_metric_and_no_other() {
        let metrics = Metrics::new().expect("the metrics are consistent");
        // A metric with labels shows itself only once it has counted something.
        metrics.failovers.with_label_values(&["Handover"]).inc();
        metrics
            .reconcile_errors
            .with_label_values(&["status"])
            .inc();
        metrics.step_done("detected", Some(1));
        metrics.clusters.with_label_values(&["Ready", "True"]).inc();
        CALLS.waited(Rank::Usual, Duration::ZERO);
        CALLS.took(Rank::Usual, Duration::ZERO);
        let families = metrics.registry.gather();
        let registered = families.iter().map(|family| family.name().to_owned());
        let ours = registered.filter(|name| name.starts_with("standby_"));
        assert_eq!(
            ours.collect::<std::collections::BTreeSet<_>>(),
            documented()
        );
    }
}
