//! Opens the volume, fits log and state together, and starts the threads that own them. Nothing serves
//! yet.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use standby_core::replica::{Replica, Start, Timing};
use standby_core::{ClusterId, Epoch, NodeId, View};
use standby_etcd::state::{EtcdState, Outcome, REWRITTEN_FROM, ReadView};
use standby_etcd::watch::WatchHub;
use standby_interface::{Role, RoleInfo, StateMachine};
use standby_store::engine::{FjallEngine, FjallOptions};
use standby_store::log::{Log, LogOptions, LogReader, LogWriter, Recovered};
use standby_store::volume::{StoredView, Volume};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use crate::config::Config;
use crate::disk_watch::{self, is_disk_full};
use crate::limits::{DISK_CHECK_MS, DISK_ROOM_WAIT_MS, LOG_RETAIN_BYTES, LOG_RETAIN_DISK_DIVISOR};
use crate::peers::dialer;
use crate::recovery;
use crate::replication::{
    ApplyJob, ApplyThread, Clock, Command, Driver, DriverParts, LogJob, LogThread, Proposals,
    Shared, Tail, jobs,
};

/// A node whose threads run and whose ports do not serve yet.
pub(super) struct Engine {
    pub cluster_id: ClusterId,
    pub node: NodeId,
    pub handles: Handles,
    pub shared: Arc<Shared>,
    pub clock: Clock,
    pub log: LogReader,
    pub tail: Arc<Tail>,
    pub view: ReadView,
    pub hub: WatchHub,
    pub stored_epoch: Epoch,
}

/// The identity that a node has by itself.
const STANDALONE_CLUSTER: &str = "standalone";

/// Refuses a volume whose stored view is older than what its log holds: nothing is ever taken in an epoch before
/// its view is stored (V2).
fn check_stored(stored: Option<&StoredView>, held: Epoch) -> anyhow::Result<()> {
    let known = stored.map_or(Epoch(0), |stored| stored.view.epoch);
    anyhow::ensure!(
        held <= known,
        "--data-dir: the log holds entries of epoch {held}, the stored view is of epoch {known}: the view that \
         was stored last is lost, and with it what this node promised; delete the node's claim and pod, and it is \
         filled anew from another node"
    );
    Ok(())
}

pub(super) fn start(config: &Config, servers: &Handle) -> anyhow::Result<Engine> {
    let mut volume = Volume::open(&config.data_dir, &config.name).context("--data-dir")?;
    disk_watch::check_size(&config.data_dir).context("--data-dir")?;
    let cluster_id = ClusterId(
        config
            .cluster_id
            .clone()
            .unwrap_or_else(|| STANDALONE_CLUSTER.to_owned()),
    );
    volume.bind(&cluster_id).context("--cluster-id")?;
    let stored = volume.load_view()?;
    let node = NodeId {
        name: config.name.clone(),
        volume: volume.identity().volume.clone(),
    };

    let (mut log, reader, recovered) = open_log(config, &volume)?;
    let mut state = open_state(&volume)?;
    let fitted = recovery::fit(&mut log, &recovered, state.applied())?;
    check_stored(stored.as_ref(), fitted.outline.last.epoch)?;
    if let Some(doubt) = &fitted.doubt {
        tracing::error!(%doubt, "this volume must not lead");
    }
    let clock = Clock::start();
    let start = Start {
        cluster_id: cluster_id.clone(),
        node: node.clone(),
        view: stored.as_ref().map(|stored| stored.view.clone()),
        log: fitted.outline,
        applied: state.applied().index,
        doubt: fitted.doubt,
        timing: Timing::default(),
    };
    let replica = Replica::new(start, clock.now());
    let shared = Arc::new(Shared::new(state.applied().index));
    disk_watch::look(&config.data_dir, &shared).context("--data-dir: its free space")?;
    let view = state.view();
    let hub = WatchHub::new(view.current_revision());
    state.set_event_sink(Arc::new(hub.clone()));
    let stored_epoch = replica.epoch();
    let parts = Parts {
        log,
        volume,
        state,
        replica,
        stored,
        reader: reader.clone(),
        retain_bytes: retain_bytes(config, &shared),
    };
    let handles = start_threads(parts, &shared, clock, &config.client_url(), servers)?;
    disk_watch::start(
        config.data_dir.clone(),
        Arc::clone(&shared),
        handles.driver.clone(),
    )?;
    let tail = Arc::clone(&handles.tail);
    Ok(Engine {
        cluster_id,
        node,
        handles,
        shared,
        clock,
        log: reader,
        tail,
        view,
        hub,
        stored_epoch,
    })
}

fn open_log(config: &Config, volume: &Volume) -> anyhow::Result<(LogWriter, LogReader, Recovered)> {
    let dir = volume.log_dir();
    let default = LogOptions::default();
    let options = LogOptions {
        segment_bytes: config.log_segment_bytes.unwrap_or(default.segment_bytes),
        ..default
    };
    let opened = with_room("opening the log", || Log::open(&dir, options))?;
    if let Some(torn) = &opened.2.torn {
        tracing::info!(after = %torn.after, bytes = torn.bytes, "a torn tail of the log was cut");
    }
    Ok(opened)
}

fn open_state(volume: &Volume) -> anyhow::Result<EtcdState> {
    let dir = volume.engine_dir();
    let options = FjallOptions::with_apart(REWRITTEN_FROM);
    let engine = with_room("opening the state", || FjallEngine::open(&dir, &options))?;
    Ok(EtcdState::open(Arc::new(engine))?)
}

/// Does what may find the disk full, again and again while it is: ending the process would only begin
/// it anew, and again, until somebody makes room.
fn with_room<T, E>(doing: &str, mut act: impl FnMut() -> Result<T, E>) -> anyhow::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let mut waited_ms = 0;
    loop {
        match act() {
            Ok(done) => return Ok(done),
            Err(error) if is_disk_full(&error) && waited_ms < DISK_ROOM_WAIT_MS => {
                if waited_ms == 0 {
                    tracing::error!(doing, %error, "the disk is full: the start waits for room");
                }
                std::thread::sleep(Duration::from_millis(DISK_CHECK_MS));
                waited_ms += DISK_CHECK_MS;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Bytes of log to keep for nodes that come back: as asked for, or what a disk of this size can spare.
fn retain_bytes(config: &Config, shared: &Shared) -> u64 {
    let total = shared.disk_total.load(Ordering::Relaxed);
    let affordable = LOG_RETAIN_BYTES.min(total / LOG_RETAIN_DISK_DIVISOR);
    config.log_retain_bytes.unwrap_or(affordable)
}

/// What the threads are made of.
struct Parts {
    log: LogWriter,
    volume: Volume,
    state: EtcdState,
    replica: Replica,
    stored: Option<StoredView>,
    reader: LogReader,
    retain_bytes: u64,
}

/// How the threads are spoken to and listened to.
pub(super) struct Handles {
    pub driver: mpsc::UnboundedSender<Command>,
    /// The driver's thread, for what talks to peers.
    pub driver_thread: Handle,
    pub proposals: Arc<Proposals<Outcome>>,
    pub log_jobs: mpsc::UnboundedSender<LogJob>,
    pub apply_jobs: mpsc::UnboundedSender<ApplyJob<Outcome>>,
    pub role: watch::Receiver<RoleInfo>,
    pub view: watch::Receiver<Option<View>>,
    pub follow: watch::Receiver<Option<NodeId>>,
    pub addresses: dialer::Addresses,
    pub changed: watch::Receiver<u64>,
    pub tail: Arc<Tail>,
}

fn start_threads(
    parts: Parts,
    shared: &Arc<Shared>,
    clock: Clock,
    client_url: &str,
    servers: &Handle,
) -> anyhow::Result<Handles> {
    // Unbounded, since the driver must never wait for the others: what is under way is bounded where
    // it enters, by the limits on waiting commands and on the log's backlog.
    let (driver, inbox) = mpsc::unbounded_channel();
    let (log_jobs, log_inbox) = jobs()?;
    let (apply_jobs, apply_inbox) = jobs()?;
    let tail = Arc::new(Tail::new(parts.reader.clone()));
    let proposals = Arc::new(Proposals::default());
    let known = parts.stored.as_ref();
    let known = known.map(|stored| (stored.peers.clone(), stored.client_url.clone()));
    let (addresses, addresses_out) =
        watch::channel(known.unwrap_or_else(|| (Vec::new(), client_url.to_owned())));
    let (role, role_out) = watch::channel(unassigned(&parts.replica));
    let (view, view_out) = watch::channel(None);
    let (follow, follow_out) = watch::channel(None);
    let (changed, changed_out) = watch::channel(0);

    let log_thread = LogThread {
        log: parts.log,
        volume: parts.volume,
        stored: parts.stored,
        jobs: log_inbox,
        driver: driver.clone(),
        shared: Arc::clone(shared),
    };
    let apply_thread = ApplyThread {
        machine: parts.state,
        log: parts.reader,
        jobs: apply_inbox,
        driver: driver.clone(),
        log_jobs: log_jobs.clone(),
        shared: Arc::clone(shared),
        servers: servers.clone(),
    };
    let driving = Driver::new(DriverParts {
        replica: parts.replica,
        inbox,
        proposals: Arc::clone(&proposals),
        log_jobs: log_jobs.clone(),
        apply_jobs: apply_jobs.clone(),
        tail: Arc::clone(&tail),
        shared: Arc::clone(shared),
        clock,
        role,
        view,
        follow,
        addresses,
        changed,
        retain_bytes: parts.retain_bytes,
    });
    spawn("log", move || log_thread.run())?;
    spawn("apply", move || apply_thread.run())?;
    // One thread for the driver and the peers' connections, and that is more than thrift: between what the driver
    // takes in and what it orders a connection does nothing, so what it passes on (a piece of a snapshot) never
    // overtakes what the core had ordered before (to apply what came earlier).
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the driver's runtime")?;
    let driver_thread = runtime.handle().clone();
    spawn("driver", move || runtime.block_on(driving.run()))?;
    Ok(Handles {
        driver,
        driver_thread,
        proposals,
        log_jobs,
        apply_jobs,
        role: role_out,
        view: view_out,
        follow: follow_out,
        addresses: addresses_out,
        changed: changed_out,
        tail,
    })
}

/// The role before the driver has looked.
fn unassigned(replica: &Replica) -> RoleInfo {
    RoleInfo {
        role: Role::Unassigned,
        epoch: replica.epoch(),
        primary: None,
        primary_alive: false,
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread
        .spawn(work)
        .with_context(|| format!("cannot start the {name} thread"))?;
    Ok(())
}
