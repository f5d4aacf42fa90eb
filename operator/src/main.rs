//! The operator's process: flags, logs, the election, and everything that runs while it leads.

mod actor;
mod api;
mod clock;
mod context;
mod convert;
mod election;
mod flags;
mod heartbeats;
mod http;
mod limits;
mod line;
mod metrics;
mod reconcile;
mod remembered;
mod stores;
mod stream;
mod supervisor;
#[cfg(test)]
mod testkit;
mod tls;

use std::num::NonZero;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Parser;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Api, Client, Config};
use standby_operator_core::validate::Settings;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

use crate::clock::Clock;
use crate::context::{Context, Wakers};
use crate::election::{Candidate, Ended};
use crate::flags::{Flags, LogFormat};
use crate::http::Readiness;
use crate::limits::{API_CONNECT_MS, EVENTS_QUEUED_MAX, SHUTDOWN_MS, WORKERS_MAX, ms};
use crate::metrics::Metrics;
use crate::remembered::Remembered;
use crate::stores::Stores;

/// As in the node: what a burst of work took goes back to the system after some seconds.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    log(&flags)?;
    flags.lease_times().check()?;
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider was installed before"))?;
    let heartbeats = heartbeats::start().context("no thread for heartbeats")?;
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors.min(WORKERS_MAX))
        .enable_all()
        .build()?;
    let result = runtime.block_on(run(flags, heartbeats));
    runtime.shutdown_timeout(ms(SHUTDOWN_MS));
    result
}

fn log(flags: &Flags) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&flags.log)
        .with_context(|| format!("--log must be a filter such as info, was {:?}", flags.log))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match flags.log_format {
        LogFormat::Json => {
            lines
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false)
                .init();
        }
        LogFormat::Text => lines.init(),
    }
    Ok(())
}

async fn run(flags: Flags, heartbeats: Handle) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone())?);
    let mut config = Config::infer()
        .await
        .context("no way to the API server: neither a service account nor a kubeconfig")?;
    config.connect_timeout = Some(ms(API_CONNECT_MS));
    let client = Client::try_from(config.clone()).context("the API server cannot be spoken to")?;
    // A connection of its own: renewing the lease must not wait behind what clusters want.
    let election = Client::try_from(config).context("the API server cannot be spoken to")?;
    let (metrics, readiness) = (Arc::new(Metrics::new()?), Arc::new(Readiness::default()));
    readiness.wait(stores::TOPIC, "nothing has been listed yet");
    let serving = tokio::spawn(http::serve(
        flags.listen,
        readiness.clone(),
        metrics.clone(),
        stop.clone(),
    ));
    let clock = Clock::start();
    let remembered = flags.memory_dir.as_deref();
    let remembered = remembered.map(Remembered::in_folder).unwrap_or_default();
    let stores = Stores::start(&client, &flags.namespaces(), remembered, &stop);
    let context = Arc::new(context(
        &flags,
        client,
        clock,
        stores,
        heartbeats.clone(),
        metrics,
        readiness.clone(),
    ));
    let (leading, is_leading) = watch::channel(false);
    let candidate = Candidate {
        leases: Api::namespaced(election, &flags.lease_namespace),
        name: flags.lease_name.clone(),
        identity: flags.identity.clone(),
        times: flags.lease_times(),
        clock,
        readiness,
    };
    // Work ends before the lease is released: the next leader must not meet us.
    let (work, release) = (stop.child_token(), CancellationToken::new());
    let filled = CancellationToken::new();
    let standing = stand(candidate, leading, filled.clone(), release.clone());
    let mut election = heartbeats.spawn(standing);
    let mut working = tokio::spawn(lead(context, filled, is_leading, work));
    tokio::select! {
        ended = &mut election => {
            error!(?ended, "not the leader any more");
            bail!("leadership was lost");
        }
        served = serving => {
            served?.with_context(|| format!("--listen {}: cannot serve", flags.listen))?;
        }
        worked = &mut working => worked??,
        () = stop.cancelled() => {}
    }
    info!("ending");
    stop.cancel();
    if !working.is_finished() {
        let _ = tokio::time::timeout(ms(SHUTDOWN_MS), &mut working).await;
    }
    release.cancel();
    match tokio::time::timeout(ms(SHUTDOWN_MS), election).await {
        Ok(Ok(Ended::Stopped)) => Ok(()),
        other => bail!("the lease was not released: {other:?}"),
    }
}

fn context(
    flags: &Flags,
    client: Client,
    clock: Clock,
    stores: Stores,
    heartbeats: Handle,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
) -> Context {
    let reporter = Reporter {
        controller: "standby-operator".into(),
        instance: Some(flags.identity.clone()),
    };
    Context {
        settings: Settings {
            node_image: flags.node_image.clone(),
            operator_namespace: flags.lease_namespace.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        clock,
        stores,
        wakers: Wakers::default(),
        recorder: Recorder::new(client.clone(), reporter),
        events: Arc::new(Semaphore::new(EVENTS_QUEUED_MAX)),
        heartbeats,
        metrics,
        readiness,
        client,
    }
}

/// Stands for election once the caches are filled: a leader that sees nothing would keep the others
/// from leading.
async fn stand(
    candidate: Candidate,
    leading: watch::Sender<bool>,
    filled: CancellationToken,
    release: CancellationToken,
) -> Ended {
    tokio::select! {
        () = filled.cancelled() => {}
        () = release.cancelled() => return Ended::Stopped,
    }
    candidate.run(leading, release).await
}

/// Fills the caches, waits for leadership, and leads.
async fn lead(
    context: Arc<Context>,
    filled: CancellationToken,
    mut is_leading: watch::Receiver<bool>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    tokio::select! {
        ready = context.stores.ready(&context.readiness) => ready.context("a cache ended")?,
        () = stop.cancelled() => return Ok(()),
    }
    filled.cancel();
    tokio::select! {
        leads = is_leading.wait_for(|leads| *leads) => {
            leads.context("the election ended")?;
        }
        () = stop.cancelled() => return Ok(()),
    }
    context.metrics.is_leader.set(1);
    supervisor::run(context, stop).await;
    Ok(())
}

/// Ends the process' work on SIGTERM and SIGINT.
fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => info!("told to end"),
            _ = interrupt.recv() => info!("interrupted"),
        }
        stop.cancel();
    })
}
