//! `bench failover`: kill after kill on the local Kubernetes, as the writers and the status see it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::{Case, save};
use crate::cluster::Cluster;
use crate::error::{Result, ensure};
use crate::failover::{self, Fault};
use crate::product::{self, Product};
use crate::progress::Progress;
use crate::workload::{Plan, Verdict, Workload};

#[derive(Serialize)]
struct Figures {
    cases: Vec<Case>,
    verdict: Verdict,
}

/// Measures `kills` of each fault.
pub async fn run(number: u8, kills: usize, json: Option<&Path>) -> Result<()> {
    let progress = Progress::new();
    let cluster = Cluster::attach_or_up(number, &progress).await?;
    product::install(&cluster, 2, &progress).await?;
    let namespace = cluster.api.namespace("bench-failover").await?;
    let outcome = measure(&cluster, &namespace.name, kills, &progress).await;
    crate::faults::heal(&cluster).await?;
    namespace.remove().await?;
    let figures = outcome?;
    for case in &figures.cases {
        progress.say(&format!(
            "{:<40} {:>3} runs  p50 {:>7.0} ms  p99 {:>7.0} ms",
            case.name, case.runs, case.p50_ms, case.p99_ms
        ));
    }
    save(&figures, json)?;
    ensure(figures.verdict.is_clean(), || {
        format!("{:?}", figures.verdict.examples)
    })
}

async fn measure(
    cluster: &Cluster,
    namespace: &str,
    kills: usize,
    progress: &Progress,
) -> Result<Figures> {
    let product = Product::create(cluster, namespace, "db").await?;
    let workload = Workload::start(Plan::new(product.target().await?, "bench")).await?;
    let mut times: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for fault in [
        Fault::PrimaryKilled,
        Fault::StandbyKilled,
        Fault::PrimaryHostGone,
    ] {
        let step = progress.counted(fault.name());
        step.set_length(u64::try_from(kills).unwrap_or(u64::MAX));
        for _ in 0..kills {
            let (figures, _) = failover::measure(&product, &workload, fault).await?;
            let mut note = |what: &str, time_ms: f64| {
                let name = format!("{}/{what}", fault.name());
                times.entry(name).or_default().push(time_ms);
            };
            note("gap", figures.gap_ms);
            for (name, after_ms) in &figures.steps {
                note(
                    name.trim_end_matches("Ms"),
                    f64::from(i32::try_from(*after_ms).unwrap_or(0)),
                );
            }
            failover::heal(&product, &figures).await?;
            step.inc(1);
        }
        step.done();
    }
    let (_, verdict) = workload.finish().await?;
    let cases = times
        .iter()
        .filter_map(|(name, times_ms)| Case::of(name, times_ms))
        .collect();
    Ok(Figures { cases, verdict })
}
