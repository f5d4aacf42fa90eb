//! `bench detection`: how long each true fault takes to be noticed and failed over, and that a node that
//! lives under jitter, pauses and starvation is not.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Case, figure, save};
use crate::cluster::Cluster;
use crate::error::{Error, Result, ensure};
use crate::faults::{self, host_of};
use crate::harm::Harm;
use crate::limits::CLUSTER_READY_TIMEOUT;
use crate::product::{self, NODE_CONTAINER, Product};
use crate::progress::Progress;
use crate::workload::{Load, Plan, Workload, now_us};

/// What to do.
pub struct Options {
    /// The number of the local Kubernetes.
    pub number: u8,
    /// How often each fault is done.
    pub runs: usize,
    /// For how many minutes in all what is no fault is borne.
    pub minutes: u64,
    /// Where the figures go.
    pub json: Option<PathBuf>,
    /// Where the picture goes.
    pub figure: Option<PathBuf>,
}

/// What must be failed over.
const TRUE: [Harm; 6] = [
    Harm::PrimaryKilled,
    Harm::PrimaryHostGone,
    Harm::PrimaryStopped,
    Harm::PrimaryMute,
    Harm::PrimaryDeaf,
    Harm::PrimaryFrozen,
];
/// How long half a second is.
const PAUSE: Duration = Duration::from_millis(500);
/// From one pause to the next.
const PAUSE_INTERVAL: Duration = Duration::from_secs(3);
/// Writes that must be acknowledged before and after a fault, so that there is a gap between.
const WRITES_AROUND: usize = 200;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    cases: Vec<Case>,
    /// Minutes and failovers of each thing that is no fault.
    borne: Vec<Borne>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Borne {
    name: &'static str,
    minutes: f64,
    failovers: usize,
    longest_gap_ms: f64,
}

/// Measures.
pub async fn run(options: &Options) -> Result<()> {
    let progress = Progress::new();
    let cluster = Cluster::attach_or_up(options.number, &progress).await?;
    product::install(&cluster, 2, &progress).await?;
    let namespace = cluster.api.namespace("bench-detection").await?;
    let outcome = measure(&cluster, &namespace.name, options, &progress).await;
    faults::heal(&cluster).await?;
    namespace.remove().await?;
    let (figures, times) = outcome?;
    for case in &figures.cases {
        progress.say(&format!(
            "{:<32} {:>3} runs  p50 {:>7.0} ms  p99 {:>7.0} ms",
            case.name, case.runs, case.p50_ms, case.p99_ms
        ));
    }
    for one in &figures.borne {
        progress.say(&format!(
            "{:<32} {:>5.1} min  {} failovers  longest gap {:.0} ms",
            one.name, one.minutes, one.failovers, one.longest_gap_ms
        ));
    }
    save(&figures, options.json.as_deref())?;
    if let Some(file) = &options.figure {
        let picture = figure::dots(
            "From the fault until it is noticed, and until writes go again",
            &times,
        );
        std::fs::write(file, picture).map_err(Error::file("write", file))?;
    }
    let failovers: usize = figures.borne.iter().map(|one| one.failovers).sum();
    ensure(failovers == 0, || {
        format!("{failovers} failovers of nodes that lived")
    })
}

async fn measure(
    cluster: &Cluster,
    namespace: &str,
    options: &Options,
    progress: &Progress,
) -> Result<(Figures, Vec<(String, Vec<f64>)>)> {
    let product = Product::create(cluster, namespace, "db").await?;
    let load = Workload::start(Plan::new(product.target().await?, "detect")).await?;
    let mut times: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut order = Vec::new();
    for harm in TRUE {
        let step = progress.counted(&harm.name());
        step.set_length(u64::try_from(options.runs).unwrap_or(u64::MAX));
        for _ in 0..options.runs {
            for (what, time_ms) in once(&product, &load, harm).await? {
                let name = format!("{}: {what}", harm.name());
                if !times.contains_key(&name) {
                    order.push(name.clone());
                }
                times.entry(name).or_default().push(time_ms);
            }
            step.inc(1);
        }
        step.done();
    }
    let each = Duration::from_secs(options.minutes * 20);
    let mut borne = Vec::new();
    for (name, harm) in [
        ("300 ms of jitter", Some(Harm::Jitter)),
        ("a fifth of a processor", Some(Harm::Starved)),
        ("pauses of 500 ms", None),
    ] {
        let step = progress.step(name);
        borne.push(bear(&product, &load, name, harm, each).await?);
        step.done();
    }
    let (_, verdict) = load.finish().await?;
    ensure(verdict.is_clean(), || format!("{:?}", verdict.examples))?;
    let ordered = order.into_iter().map(|name| {
        let found = times.remove(&name).unwrap_or_default();
        (name, found)
    });
    let ordered: Vec<_> = ordered.collect();
    let cases = ordered
        .iter()
        .filter_map(|(name, times_ms)| Case::of(name, times_ms))
        .collect();
    Ok((Figures { cases, borne }, ordered))
}

async fn once(
    product: &Product<'_>,
    load: &Workload,
    harm: Harm,
) -> Result<Vec<(&'static str, f64)>> {
    product.ready(CLUSTER_READY_TIMEOUT).await?;
    load.more(WRITES_AROUND).await?;
    let status = product.status().await?;
    let from = status.primary.unwrap_or_default();
    let at_us = now_us();
    let lasting = harm.strike(product).await?;
    let failover = product.failover_after(status.epoch.unwrap_or(0)).await?;
    load.more(WRITES_AROUND).await?;
    let gap_ms = load.longest_gap(at_us).map_or(0.0, |gap| gap.millis());
    drop(lasting);
    faults::heal(product.cluster).await?;
    product.healthy(&from).await?;
    let noticed_us = failover.time.0.as_microsecond() - at_us;
    let detected_us = noticed_us + failover.steps.detected_ms.unwrap_or(0) * 1000;
    let millis = |micros: i64| f64::from(u32::try_from(micros.max(0)).unwrap_or(u32::MAX)) / 1000.0;
    Ok(vec![
        ("noticed", millis(noticed_us)),
        ("detected", millis(detected_us)),
        ("writes go", gap_ms),
    ])
}

/// Something that must not be failed over, for that long; the primary is the same one at the end.
async fn bear(
    product: &Product<'_>,
    load: &Workload,
    name: &'static str,
    harm: Option<Harm>,
    lasts: Duration,
) -> Result<Borne> {
    product.ready(CLUSTER_READY_TIMEOUT).await?;
    load.more(WRITES_AROUND).await?;
    let epoch = product.status().await?.epoch.unwrap_or(0);
    let (at_us, begun) = (now_us(), Instant::now());
    let lasting = match harm {
        Some(harm) => harm.strike(product).await?,
        None => Vec::new(),
    };
    while begun.elapsed() < lasts {
        if harm.is_none() {
            let primary = product.primary().await?;
            // The host is asked for first, so that an error leaves nobody stopped.
            host_of(product.cluster, &primary)?;
            let stopped = faults::stop_container(product.cluster, &primary, NODE_CONTAINER)?;
            tokio::time::sleep(PAUSE).await;
            stopped.undo();
        }
        tokio::time::sleep(PAUSE_INTERVAL).await;
    }
    drop(lasting);
    let status = product.status().await?;
    let failovers = status.failovers.iter().filter(|one| one.epoch > epoch);
    let longest = load.longest_gap(at_us);
    Ok(Borne {
        name,
        minutes: begun.elapsed().as_secs_f64() / 60.0,
        failovers: failovers.count(),
        longest_gap_ms: longest.map_or(0.0, |gap| gap.millis()),
    })
}
