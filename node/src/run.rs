//! Puts a node together, runs it, and ends it in order.

mod clients;
mod engine;
mod ports;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use crossbeam_channel::bounded;
use prometheus::Registry;
use standby_core::View;
use standby_core::replica::Input;
use standby_etcd::server::{EtcdServer, Onward, ServerOptions};
use standby_etcd::services::node::{MonotonicClock, Node, NodeParts};
use standby_etcd::state::Outcome;
use standby_interface::{Role, RoleInfo};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::control::Session;
use crate::limits::{DRAIN_MS, HANDOVER_MS, RELIEVED_MS};
use crate::peers::network::Tcp;
use crate::peers::{PeerContext, dialer, listener, views};
use crate::probe::{self, NodeMetrics};
use crate::replication::{ApplyJob, Command, LogJob, NodeReplication, Told};
use crate::tls::Tls;

use clients::Clients;
use engine::Engine;
use ports::{PortWatch, Ports, moved};

/// Runs a node until it is told to end.
pub fn run(config: &Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(
            std::thread::available_parallelism()
                .map_or(2, usize::from)
                .min(8),
        )
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let engine = engine::start(config, runtime.handle())?;
    let watched = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build()
        .context("cannot start the control port's runtime")?;
    let ended = runtime.block_on(serve(config, engine, watched.handle()));
    watched.shutdown_background();
    ended
}

async fn serve(config: &Config, engine: Engine, watched: &Handle) -> anyhow::Result<()> {
    let tls = match &config.tls_dir {
        Some(dir) => Some(Tls::load(dir, config.client_tls)?),
        None => None,
    };
    let ports = Ports::open(config, &engine.handles.driver_thread).await?;
    let shutdown = CancellationToken::new();
    let tasks = TaskTracker::new();
    if let Some(tls) = &tls {
        tokio::spawn(tls.clone().keep_fresh());
    }
    let (watch, mut unserved) = PortWatch::until(shutdown.clone());
    let (role, registry) = (engine.handles.role.clone(), Registry::new());
    let metrics = NodeMetrics::new(Arc::clone(&engine.shared), role.clone())?;
    registry.register(Box::new(metrics))?;
    if let Some(probe) = ports.probe {
        let probe = moved(probe, watched)?;
        let serves = probe::serve(probe, role, registry.clone(), shutdown.clone());
        tasks.spawn_on(serves, watched);
    }
    if let (Some(peer), Some(control)) = (ports.peer, ports.control) {
        engine.serve_peers(peer, tls.clone(), &tasks, &shutdown);
        let control = moved(control, watched)?;
        let serves =
            crate::control::serve(engine.session(), control, tls.clone(), shutdown.clone());
        tasks.spawn_on(watch.clone().port("--control-listen", serves), watched);
    }
    let server = engine.etcd_server(config, registry);
    tokio::spawn(engine.clients(&server, tls.clone()).look_after());
    let (serving, until) = (server.clone(), shutdown.clone());
    let client_tls = tls.and_then(|tls| tls.client_source());
    let address = ports.client.local_addr()?;
    let clients = async move { serving.serve(vec![ports.client], client_tls, until).await };
    tasks.spawn(watch.port("--client-listen", clients));
    if config.standalone {
        engine.lead_alone();
    }
    tracing::info!(node = %engine.node, cluster = %engine.cluster_id, %address,
        epoch = engine.stored_epoch.0, "the node runs");

    let told = tokio::select! {
        told = wait_for_the_end() => told,
        // Nothing comes once every port has ended with the node.
        Some(error) = unserved.recv() => Err(error),
    };
    if told.is_ok() {
        engine.hand_over(config.standalone, server.onward()).await;
    }
    shutdown.cancel();
    tasks.close();
    // What is still in flight after that is cut off.
    let _ = tokio::time::timeout(Duration::from_millis(DRAIN_MS), tasks.wait()).await;
    engine.close().await;
    tracing::info!("the node has ended");
    told
}

async fn wait_for_the_end() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

impl Engine {
    fn serve_peers(
        &self,
        peer: TcpListener,
        tls: Option<Tls>,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) {
        let context = Arc::new(PeerContext {
            driver: self.handles.driver.clone(),
            apply_jobs: self.handles.apply_jobs.clone(),
            tail: Arc::clone(&self.tail),
            shared: Arc::clone(&self.shared),
            tls,
            sessions: AtomicU64::new(0),
        });
        let (follow, addresses) = (self.handles.follow.clone(), self.handles.addresses.clone());
        let asker = views::Asker {
            cluster_id: self.cluster_id.clone(),
            node: self.node.clone(),
        };
        let role = self.handles.role.clone();
        let asks = views::run(Arc::clone(&context), Tcp, asker, role, addresses.clone());
        tokio::spawn(asks);
        let driver_thread = &self.handles.driver_thread;
        driver_thread.spawn(dialer::run(Arc::clone(&context), Tcp, follow, addresses));
        tasks.spawn_on(
            listener::run(context, peer, shutdown.clone()),
            driver_thread,
        );
    }

    fn session(&self) -> Arc<Session> {
        Arc::new(Session {
            cluster_id: self.cluster_id.clone(),
            node: self.node.clone(),
            run: run_id(),
            driver: self.handles.driver.clone(),
            shared: Arc::clone(&self.shared),
            changed: self.handles.changed.clone(),
        })
    }

    fn etcd_server(
        &self,
        config: &Config,
        registry: Registry,
    ) -> EtcdServer<Arc<NodeReplication<Outcome>>> {
        let replication = Arc::new(NodeReplication {
            cluster_id: self.cluster_id.clone(),
            node: self.node.clone(),
            driver: self.handles.driver.clone(),
            proposals: Arc::clone(&self.handles.proposals),
            shared: Arc::clone(&self.shared),
            clock: self.clock,
            role: self.handles.role.clone(),
            view: self.handles.view.clone(),
            addresses: self.handles.addresses.clone(),
            log: self.log.clone(),
        });
        let node = Node::new(NodeParts {
            replication,
            view: self.view.clone(),
            quota_backend_bytes: config.quota_backend_bytes,
            clock: Arc::new(MonotonicClock::start()),
        });
        let watch_progress_interval_ms = config.watch_progress_interval_ms;
        let options = ServerOptions {
            watch_progress_interval_ms,
            registry,
        };
        EtcdServer::new(node, self.hub.clone(), options)
    }

    fn clients(
        &self,
        server: &EtcdServer<Arc<NodeReplication<Outcome>>>,
        tls: Option<Tls>,
    ) -> Clients {
        Clients {
            server: server.clone(),
            role: self.handles.role.clone(),
            addresses: self.handles.addresses.clone(),
            tls,
        }
    }

    /// Takes up the next epochs as the only copy there is: one with nobody, and, since only whoever led that
    /// may lead the next (V3), then one alone. Nobody else can have served: the data directory is locked.
    fn lead_alone(&self) {
        let first = View {
            cluster_id: self.cluster_id.clone(),
            epoch: self.stored_epoch.next(),
            primary: self.node.clone(),
            synchronous: BTreeSet::new(),
            alone: false,
            complete: BTreeSet::from([self.node.clone()]),
            loss: None,
        };
        let told = |view: View| {
            Command::Input(Input::View {
                view,
                await_nodes: BTreeSet::new(),
                previous_stopped: true,
            })
        };
        let then = told(first.go_alone());
        self.tell(told(first));
        let (driver, mut role) = (self.handles.driver.clone(), self.handles.role.clone());
        tokio::spawn(async move {
            let led = |info: &RoleInfo| info.role == Role::PrimaryWaiting;
            // Both are gone only when the process ends.
            if role.wait_for(led).await.is_ok() {
                let _ = driver.send(then);
            }
        });
    }

    fn tell(&self, command: Command) {
        // The driver is gone only when the process ends.
        let _ = self.handles.driver.send(command);
    }

    /// A primary asks to be relieved, and waits a while for it; one that just was lets its clients go on to
    /// the next for a moment longer.
    async fn hand_over(&self, standalone: bool, onward: &Onward) {
        let mut role = self.handles.role.clone();
        let leads = role.borrow().role.is_primary();
        if !standalone && leads {
            tracing::info!("asked to end: waiting for a switchover");
            self.shared.wants_handover.store(true, Ordering::Relaxed);
            self.tell(Command::Told(Told::News));
            let relieved = role.wait_for(|info| !info.role.is_primary());
            let limit = Duration::from_millis(HANDOVER_MS);
            // The answer is let go at once: it holds the role's lock.
            let in_time = tokio::time::timeout(limit, relieved).await.is_ok();
            if !in_time {
                tracing::warn!(waited_ms = HANDOVER_MS, "nobody took over");
                return;
            }
        }
        if onward.is_away() {
            tokio::time::sleep(Duration::from_millis(RELIEVED_MS)).await;
        }
    }

    /// Makes log and state tidy on disk. Not needed for safety; it makes the next start shorter.
    async fn close(&self) {
        let (done, closed) = bounded(2);
        // The threads are gone only when the process ends.
        let _ = self.handles.apply_jobs.send(ApplyJob::Close(done.clone()));
        let _ = self.handles.log_jobs.send(LogJob::Close(done));
        let limit = Duration::from_millis(DRAIN_MS);
        let waited = tokio::task::spawn_blocking(move || {
            closed
                .recv_timeout(limit)
                .and_then(|()| closed.recv_timeout(limit))
        });
        if !matches!(waited.await, Ok(Ok(()))) {
            tracing::warn!("log and state were not closed in time");
        }
    }
}

/// A random identity of this run of the process.
fn run_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
