//! The demo: install the product, write without a pause, kill the primary, then its host, and show
//! that nothing was lost. It uses only what a user has: the chart, `kubectl`, an etcd client.

use std::path::PathBuf;

use kube::ResourceExt;
use serde::Serialize;

use crate::cluster::Cluster;
use crate::error::{Error, Result, ensure};
use crate::failover::{self, Fault, Figures};
use crate::kubernetes::Kubernetes;
use crate::limits::CLUSTER_READY_TIMEOUT;
use crate::product::{self, Product};
use crate::progress::Progress;
use crate::workload::{Load, Plan, Verdict, Workload};

/// How the demo runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// The number of the local Kubernetes.
    pub number: u8,
    /// Where to write the figures.
    pub json: Option<PathBuf>,
    /// Whether to use the local Kubernetes that is up already.
    pub keep: bool,
    /// How often both faults are done.
    pub rounds: u32,
}

/// What the demo found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    failovers: Vec<Figures>,
    acknowledged_writes: usize,
    lost_writes: usize,
    watch_events_missed: usize,
    watch_events_doubled: usize,
    watch_events_untrue: usize,
    writes_in_doubt: usize,
    watch_reopened: u64,
}

const NAME: &str = "demo";
const NAMESPACE: &str = "default";
/// Written before the first fault, so that there is something to lose.
const FIRST_WRITES: usize = 1_000;

/// Runs the demo. It fails when anything was lost, missed or doubled.
pub async fn run(options: &Options) -> Result<()> {
    let progress = Progress::new();
    let cluster = if options.keep {
        Cluster::attach_or_up(options.number, &progress).await?
    } else {
        Cluster::up(options.number, &progress).await?
    };
    product::install(&cluster, 2, &progress).await?;

    let sample = if options.rounds > 1 {
        product::tireless_sample(NAME)
    } else {
        product::sample(NAME)
    };
    progress.say(&format!("$ kubectl apply -f - <<YAML\n{sample}YAML"));
    let step = progress.step("kubectl wait --for=condition=Ready standbycluster/demo");
    let product = Product::apply(&cluster, NAMESPACE, &sample).await?;
    wait_by_kubectl(&cluster.api).await?;
    step.done();
    show(&cluster, &progress).await?;

    progress.say("writing with 4 writers through the Service, a watch is open");
    let run = format!("demo-{}", crate::workload::now_us());
    let workload = Workload::start(Plan::new(product.target().await?, &run)).await?;
    workload.more(FIRST_WRITES).await?;
    let mut failovers = Vec::new();
    for round in 0..options.rounds {
        if options.rounds > 1 {
            progress.say(&format!("round {} of {}", round + 1, options.rounds));
        }
        for fault in [Fault::PrimaryKilled, Fault::PrimaryHostGone] {
            failovers.push(fail(&product, &workload, fault, &progress).await?);
        }
    }
    let step = progress.step("reading back every acknowledged write");
    let (_, verdict) = workload.finish().await?;
    step.done();
    report(options, failovers, &verdict, &progress)?;
    look_around(&cluster, &progress);
    ensure(verdict.is_clean(), || {
        format!("something is wrong: {}", verdict.examples.join("; "))
    })
}

async fn wait_by_kubectl(api: &Kubernetes) -> Result<()> {
    let limit = format!("--timeout={}s", CLUSTER_READY_TIMEOUT.as_secs());
    let resource = format!("standbycluster/{NAME}");
    api.kubectl(&[
        "wait",
        "--for=condition=Ready",
        &resource,
        "-n",
        NAMESPACE,
        &limit,
    ])
    .await
    .map(drop)
}

async fn show(cluster: &Cluster, progress: &Progress) -> Result<()> {
    let text = cluster
        .api
        .kubectl(&["get", "standbyclusters", "-n", NAMESPACE])
        .await?;
    progress.say(&format!(
        "$ kubectl get standbyclusters\n{}",
        text.trim_end()
    ));
    Ok(())
}

/// One fault, its timeline, and the failed node's return.
async fn fail(
    product: &Product<'_>,
    workload: &Workload,
    fault: Fault,
    progress: &Progress,
) -> Result<Figures> {
    let primary = product.primary().await?;
    let host = crate::faults::host_of(product.cluster, &primary)?.node();
    progress.say(&match fault {
        Fault::PrimaryHostGone => {
            format!(
                "cutting the power and the link of {host}, where {} runs",
                primary.name_any()
            )
        }
        _ => format!("kill -9 of {} on {host}, in mid-write", primary.name_any()),
    });
    let (figures, _) = failover::measure(product, workload, fault).await?;
    progress.say(&failover::timeline(&figures));
    show(product.cluster, progress).await?;
    let step = progress.step(&format!("{} returns", figures.from));
    failover::heal(product, &figures).await?;
    step.done();
    let status = product.status().await?;
    let row = status
        .nodes
        .into_iter()
        .find(|node| node.name == figures.from);
    let row = row.ok_or_else(|| Error::Wrong(format!("{} has no row", figures.from)))?;
    progress.say(&format!(
        "  {} is back as {}: {}",
        row.name,
        row.role.as_str(),
        row.reason
    ));
    Ok(figures)
}

fn report(
    options: &Options,
    failovers: Vec<Figures>,
    verdict: &Verdict,
    progress: &Progress,
) -> Result<()> {
    progress.say(&format!(
        "acknowledged writes {}, lost {}; watch events missed {}, doubled {}",
        verdict.acknowledged_writes,
        verdict.lost_writes,
        verdict.watch_events_missed,
        verdict.watch_events_doubled,
    ));
    let report = Report {
        failovers,
        acknowledged_writes: verdict.acknowledged_writes,
        lost_writes: verdict.lost_writes,
        watch_events_missed: verdict.watch_events_missed,
        watch_events_doubled: verdict.watch_events_doubled,
        watch_events_untrue: verdict.watch_events_untrue,
        writes_in_doubt: verdict.writes_in_doubt,
        watch_reopened: verdict.watch_reopened,
    };
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(file, text + "\n").map_err(Error::file("write", file))?;
    }
    Ok(())
}

fn look_around(cluster: &Cluster, progress: &Progress) {
    progress.say(&format!(
        "\nThe local Kubernetes stays up. To look around:\n\
         \x20 export KUBECONFIG={} PATH={}:$PATH\n\
         \x20 kubectl get standbyclusters,pods -o wide\n\
         \x20 kubectl describe standbycluster {NAME}\n\
         To remove everything: cargo xtask down",
        cluster.layout.kubeconfig().display(),
        cluster.layout.bin().display(),
    ));
}
