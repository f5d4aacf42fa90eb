//! `bench operator`: one real operator against a real API server, with many simulated clusters: what it
//! takes at rest, and while many of them lose their primary at once. Hosts, volumes and storage nodes are
//! simulated; what the simulation takes is counted apart.

mod audit;
mod fleet;
mod follow;
mod kubelet;
mod world;

use std::path::Path;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde::Serialize;
use standby_api::StandbyView;
use standby_fleet::command::Counters;
use tokio::time::{Instant, sleep};

use self::audit::Requests;
use self::follow::{Failovers, Times};
use self::world::{ProcessNames, World};
use super::processes::{Taken, Watched};
use super::{Case, save};
use crate::error::{Error, Result};
use crate::progress::Progress;

/// The number of the control plane of this measurement: no local Kubernetes has it unless asked to.
const NUMBER: u8 = 98;
/// How long the operator may calm down after the last cluster became Ready, before it is at rest.
const CALM: Duration = Duration::from_secs(20);
/// How long a cluster of clusters that fails over is watched, at least.
const AFTERMATH: Duration = Duration::from_secs(10);

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many clusters there are.
    pub clusters: usize,
    /// How many of them lose their primary at once.
    pub failovers: usize,
    /// How long they are watched at rest.
    pub rest: Duration,
    /// How often operator and nodes hear from each other, in milliseconds.
    pub heartbeat_ms: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    clusters: usize,
    nodes: usize,
    heartbeat_ms: u32,
    creation: Creation,
    rest: Span,
    failovers: FailoverFigures,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Creation {
    seconds: f64,
    requests: Requests,
}

/// What was taken and asked for within a span of time.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    seconds: f64,
    operator: Taken,
    api_server: Taken,
    etcd: Taken,
    simulated_nodes: Taken,
    requests_per_second: f64,
    /// Without those of the election's lease.
    requests_per_second_without_lease: f64,
    requests: Requests,
    heartbeats: Heartbeats,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Heartbeats {
    orders_per_second: f64,
    reports_per_second: f64,
    /// Both ways, with TLS, without the headers of TCP and IP.
    bytes_per_second: f64,
    new_sessions: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FailoverFigures {
    at_once: usize,
    cases: Vec<Case>,
    all_announced_ms: f64,
    all_synchronous_ms: f64,
    span: Span,
}

/// Measures, and removes everything it made.
pub async fn run(options: &Options, json: Option<&Path>) -> Result<()> {
    let progress = Progress::new();
    let world = World::make(NUMBER, &progress).await?;
    let kubelet = world.kubelet.clone();
    let outcome = tokio::select! {
        outcome = measure(&world, options, &progress) => outcome,
        // It ends only with an error.
        ended = kubelet.run() => ended.and_then(|()| Err(Error::Wrong("no kubelet".to_owned()))),
    };
    let outcome = outcome.map_err(|error| world.explain(&error));
    world.down().await?;
    let figures = outcome?;
    say(&figures, &progress);
    save(&figures, json)
}

async fn measure(world: &World, options: &Options, progress: &Progress) -> Result<Figures> {
    let mut meter = Meter::of(world)?;
    let begun = Instant::now();
    let step = progress.counted(&format!("making {} simulated clusters", options.clusters));
    world
        .create(options.clusters, options.heartbeat_ms, &step)
        .await?;
    step.done();
    let creation = Creation {
        seconds: begun.elapsed().as_secs_f64(),
        requests: meter.audit.take()?,
    };
    let step = progress.step("counting at rest");
    sleep(CALM).await;
    let span = meter.begin(world).await?;
    sleep(options.rest).await;
    let rest = meter.end(world, span).await?;
    step.done();
    let step = progress.step(&format!("{} failovers at once", options.failovers));
    let failovers = fail_over(world, options.failovers, &mut meter).await?;
    step.done();
    Ok(Figures {
        clusters: options.clusters,
        nodes: world::INSTANCES * options.clusters,
        heartbeat_ms: options.heartbeat_ms,
        creation,
        rest,
        failovers,
    })
}

async fn fail_over(world: &World, count: usize, meter: &mut Meter) -> Result<FailoverFigures> {
    let views: Api<StandbyView> = Api::all(world.client());
    let views = views.list(&ListParams::default()).await?;
    let primaries: Vec<_> = views
        .items
        .iter()
        .take(count)
        .map(|view| {
            let primary = view.spec.primary.split('/').next().unwrap_or_default();
            let key = (view.namespace().unwrap_or_default(), view.name_any());
            (key, primary.to_owned())
        })
        .collect();
    let pods: Vec<_> = primaries
        .iter()
        .map(|((namespace, cluster), pod)| ((namespace.clone(), pod.clone()), cluster.clone()))
        .collect();
    let failovers = Failovers::of(primaries);
    let span = meter.begin(world).await?;
    let times = failovers
        .follow(&world.client(), world.kubelet.crash(&pods))
        .await?;
    // The old primaries return, and the status is written.
    sleep(AFTERMATH).await;
    let span = meter.end(world, span).await?;
    Ok(FailoverFigures {
        at_once: count,
        all_announced_ms: last(&times.announced),
        all_synchronous_ms: last(&times.synchronous),
        cases: cases(&times),
        span,
    })
}

fn cases(times: &Times) -> Vec<Case> {
    [
        ("view recorded", &times.recorded),
        ("announced", &times.announced),
        ("synchronous again", &times.synchronous),
    ]
    .into_iter()
    .filter_map(|(name, times)| Case::of(name, times))
    .collect()
}

fn last(times: &[f64]) -> f64 {
    times.iter().copied().fold(0.0, f64::max)
}

/// Counts what processes take and what the operator asks for.
struct Meter {
    audit: audit::Audit,
}

struct Begun {
    at: Instant,
    processes: ProcessNames<Watched>,
    counters: Counters,
}

impl Meter {
    fn of(world: &World) -> Result<Self> {
        let mut audit = audit::Audit::new(world.control.audit_log(), world.user.clone());
        audit.take()?;
        Ok(Self { audit })
    }

    async fn begin(&mut self, world: &World) -> Result<Begun> {
        self.audit.take()?;
        Ok(Begun {
            processes: world.processes()?.map(Watched::begin)?,
            counters: world.fleet.count().await?,
            at: Instant::now(),
        })
    }

    async fn end(&mut self, world: &World, begun: Begun) -> Result<Span> {
        let seconds = begun.at.elapsed().as_secs_f64();
        let taken = begun.processes.map(|watched| watched.end(seconds))?;
        let now = world.fleet.count().await?;
        let requests = self.audit.take()?;
        let all: u32 = requests.values().sum();
        let lease = requests
            .iter()
            .filter(|(name, _)| name.ends_with(" leases"));
        let lease: u32 = lease.map(|(_, count)| count).sum();
        let before = begun.counters;
        let rate = |now: u64, before: u64| {
            let count = u32::try_from(now - before).unwrap_or(u32::MAX);
            f64::from(count) / seconds
        };
        Ok(Span {
            seconds,
            operator: taken.operator,
            api_server: taken.api_server,
            etcd: taken.etcd,
            simulated_nodes: taken.simulated_nodes,
            requests_per_second: f64::from(all) / seconds,
            requests_per_second_without_lease: f64::from(all - lease) / seconds,
            requests,
            heartbeats: Heartbeats {
                orders_per_second: rate(now.orders, before.orders),
                reports_per_second: rate(now.reports, before.reports),
                bytes_per_second: rate(now.sent_bytes, before.sent_bytes)
                    + rate(now.received_bytes, before.received_bytes),
                new_sessions: now.sessions - before.sessions,
            },
        })
    }
}

fn say(figures: &Figures, progress: &Progress) {
    progress.say(&format!(
        "{} clusters, {} nodes; made in {:.0} s with {} requests: {:?}",
        figures.clusters,
        figures.nodes,
        figures.creation.seconds,
        figures.creation.requests.values().sum::<u32>(),
        figures.creation.requests
    ));
    say_span("at rest", &figures.rest, progress);
    let failovers = &figures.failovers;
    for case in &failovers.cases {
        progress.say(&format!(
            "{:<24} {:>3} at once  p50 {:>7.0} ms  p99 {:>7.0} ms",
            case.name, case.runs, case.p50_ms, case.p99_ms
        ));
    }
    say_span("while failing over", &failovers.span, progress);
}

fn say_span(title: &str, span: &Span, progress: &Progress) {
    progress.say(&format!("{title}, {:.0} s:", span.seconds));
    for (name, taken) in [
        ("operator", &span.operator),
        ("API server", &span.api_server),
        ("etcd", &span.etcd),
        ("simulated nodes", &span.simulated_nodes),
    ] {
        progress.say(&format!(
            "  {name:<16} {:>7.1} MiB (peak {:>7.1})  {:>6.1} % of a processor",
            taken.resident_mib, taken.peak_mib, taken.processor_percent
        ));
    }
    progress.say(&format!(
        "  {:.1} requests a second, {:.2} without the lease: {:?}",
        span.requests_per_second, span.requests_per_second_without_lease, span.requests
    ));
    let beats = &span.heartbeats;
    progress.say(&format!(
        "  heartbeats: {:.0} orders, {:.0} reports, {:.0} KB a second; {} new sessions",
        beats.orders_per_second,
        beats.reports_per_second,
        beats.bytes_per_second / 1_000.0,
        beats.new_sessions
    ));
}
