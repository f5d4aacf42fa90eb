//! `bench failover`: kill after kill on the local Kubernetes, as the writers and the status see it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::{Case, chosen, save};
use crate::cluster::Cluster;
use crate::error::{Result, ensure};
use crate::failover::{self, Fault};
use crate::product::{self, Product};
use crate::progress::Progress;
use crate::workload::{Plan, Verdict, Workload};

#[derive(Serialize)]
struct Figures {
    cases: Vec<Case>,
    /// None when the measurement broke off.
    verdict: Option<Verdict>,
}

/// The times of every step, by fault and step, in ms.
type Times = BTreeMap<String, Vec<f64>>;

const FAULTS: [Fault; 5] = [
    Fault::PrimaryKilled,
    Fault::StandbyKilled,
    Fault::Switchover,
    Fault::PrimaryHostGone,
    Fault::LeaderAndPrimaryGone,
];

/// Measures `kills` of each fault that `only` names, or of all. What breaks off is left as it is, for a look.
pub async fn run(number: u8, kills: usize, only: &[String], json: Option<&Path>) -> Result<()> {
    let faults = chosen(&FAULTS, |fault| fault.name(), only)?;
    let progress = Progress::new();
    let cluster = Cluster::attach_or_up(number, &progress).await?;
    product::install(&cluster, 2, &progress).await?;
    let namespace = cluster.api.namespace("bench-failover").await?;
    let mut times = Times::new();
    let outcome = measure(
        &cluster,
        &namespace.name,
        (&faults, kills),
        &mut times,
        &progress,
    )
    .await;
    let (verdict, broken) = match outcome {
        Ok(verdict) => (Some(verdict), None),
        Err(error) => (None, Some(error)),
    };
    let cases: Vec<Case> = times
        .iter()
        .filter_map(|(name, times_ms)| Case::of(name, times_ms))
        .collect();
    for case in &cases {
        progress.say(&format!(
            "{:<40} {:>3} runs  p50 {:>7.0} ms  p99 {:>7.0} ms",
            case.name, case.runs, case.p50_ms, case.p99_ms
        ));
    }
    let figures = Figures { cases, verdict };
    save(&figures, json)?;
    if let Some(error) = broken {
        return Err(error);
    }
    crate::faults::heal(&cluster).await?;
    namespace.remove().await?;
    let clean = figures.verdict.as_ref().is_none_or(Verdict::is_clean);
    ensure(clean, || format!("{:?}", figures.verdict))
}

async fn measure(
    cluster: &Cluster,
    namespace: &str,
    (faults, kills): (&[&Fault], usize),
    times: &mut Times,
    progress: &Progress,
) -> Result<Verdict> {
    let sample = product::tireless_sample("db");
    let product = Product::apply(cluster, namespace, &sample).await?;
    let workload = Workload::start(Plan::new(product.target().await?, "bench")).await?;
    for &&fault in faults {
        let step = progress.counted(fault.name());
        step.set_length(u64::try_from(kills).unwrap_or(u64::MAX));
        for _ in 0..kills {
            failover::arrange(&product, fault).await?;
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
    Ok(verdict)
}
