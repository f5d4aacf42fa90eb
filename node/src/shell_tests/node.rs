//! One node of a simulated cluster: what `run` puts together, without threads and ports for clients.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use parking_lot::Mutex;
use standby_core::replica::{Replica, Start, Timing};
use standby_core::{ClusterId, NodeId};
use standby_interface::{Role, RoleInfo, StateMachine as _};
use standby_store::log::{Log, LogOptions, LogReader, LogWriter};
use standby_store::volume::{StoredView, Volume};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::machine::{Machine, Store};
use super::network::Network;
use crate::peers::{PeerContext, dialer, listener, views};
use crate::recovery;
use crate::replication::{
    ApplyJob, ApplyThread, Clock, Command, Driver, DriverParts, LogJob, LogThread, NODE_ENDS,
    Proposals, Shared, Tail, jobs,
};

/// How long the disk, or the state, takes for what waits.
const WORK_MS: u64 = 1;
/// Bytes that are applied between checkpoints.
const CHECKPOINT_BYTES: u64 = 16 << 10;
/// Bytes of log that are kept.
const RETAIN_BYTES: u64 = 96 << 10;
/// Bytes of a file of the log.
const SEGMENT_BYTES: u64 = 32 << 10;

/// A place for a node: what outlives its process.
pub struct Seat {
    pub name: String,
    pub dir: PathBuf,
    pub store: Arc<Mutex<Store>>,
    pub network: Network,
    /// Connections that it has open, of either kind.
    pub open: Arc<AtomicUsize>,
    /// The process that runs, if one does.
    pub live: Mutex<Option<Live>>,
    /// What processes said that ended by themselves.
    pub ended: Mutex<Vec<String>>,
}

/// How a running node is spoken to.
#[derive(Clone)]
pub struct Live {
    pub node: NodeId,
    pub driver: UnboundedSender<Command>,
    pub proposals: Arc<Proposals<()>>,
    pub shared: Arc<Shared>,
    pub role: watch::Receiver<RoleInfo>,
}

pub fn cluster_id() -> ClusterId {
    ClusterId("simulated".into())
}

/// Is dropped by a thread of its own: a runtime inside it may not be dropped within another.
struct Apart<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Apart<T> {
    fn get(&mut self) -> &mut T {
        self.0.as_mut().expect("taken only when dropped")
    }
}

impl<T: Send + 'static> Drop for Apart<T> {
    fn drop(&mut self) {
        let inner = self.0.take();
        let dropped = std::thread::spawn(move || drop(inner)).join();
        assert!(dropped.is_ok() || std::thread::panicking());
    }
}

/// Does the log's work, a job at a time; appends that wait go together, as on its thread.
async fn keep_log(
    mut thread: Apart<LogThread>,
    behind: UnboundedSender<LogJob>,
    mut inbox: UnboundedReceiver<LogJob>,
) {
    while let Some(job) = inbox.recv().await {
        tokio::time::sleep(Duration::from_millis(WORK_MS)).await;
        while let Ok(more) = inbox.try_recv() {
            behind.send(more).expect("the thread's own queue");
        }
        let mut next = Some(job);
        while let Some(job) = next {
            thread.get().take(job);
            next = thread.get().jobs.take();
        }
    }
}

/// Does the state's work, a job at a time.
async fn keep_state(
    mut thread: Apart<ApplyThread<Machine>>,
    mut inbox: UnboundedReceiver<ApplyJob<()>>,
) {
    let (mut wanted, mut unsaved) = (Vec::new(), 0);
    while let Some(job) = inbox.recv().await {
        tokio::time::sleep(Duration::from_millis(WORK_MS)).await;
        match job {
            ApplyJob::Snapshot(request) => wanted.push(request),
            job => unsaved += thread.get().take(job),
        }
        thread.get().open_snapshots(&mut wanted);
        if unsaved >= CHECKPOINT_BYTES {
            thread.get().checkpoint();
            unsaved = 0;
        }
    }
}

/// Runs a node until its process would end.
pub async fn run(seat: Arc<Seat>) -> turmoil::Result {
    let mut tasks = start(&seat).await?;
    let mut ends = vec![tasks.join_next().await.expect("there are some")];
    *seat.live.lock() = None;
    // The end of one task may have ended another.
    ends.extend(std::iter::from_fn(|| tasks.try_join_next()));
    // Otherwise connections of this process would live on.
    tasks.shutdown().await;
    let mut panics = ends.into_iter().filter_map(Result::err);
    let said = panics.find_map(said_at_the_end);
    let Some(said) = said.filter(|said| said.starts_with(NODE_ENDS)) else {
        return Err(format!("a task of {} ended by itself", seat.name).into());
    };
    seat.ended.lock().push(said);
    Ok(())
}

fn said_at_the_end(error: JoinError) -> Option<String> {
    let panic = error.try_into_panic().ok()?;
    panic.downcast::<String>().ok().map(|said| *said)
}

/// What a start finds on the volume.
struct Found {
    volume: Volume,
    stored: Option<StoredView>,
    log: LogWriter,
    reader: LogReader,
    machine: Machine,
    replica: Replica,
    clock: Clock,
    node: NodeId,
}

fn open(seat: &Seat) -> turmoil::Result<Found> {
    let mut volume = Volume::open(&seat.dir, &seat.name)?;
    volume.bind(&cluster_id())?;
    let stored = volume.load_view()?;
    let node = NodeId {
        name: seat.name.clone(),
        volume: volume.identity().volume.clone(),
    };
    let options = LogOptions {
        segment_bytes: SEGMENT_BYTES,
        prepare_ahead: false,
        ..LogOptions::default()
    };
    let (mut log, reader, recovered) = Log::open(&volume.log_dir(), options)?;
    let machine = Machine::open(&seat.store);
    let fitted = recovery::fit(&mut log, &recovered, machine.applied())?;
    let clock = Clock::simulated();
    let start = Start {
        cluster_id: cluster_id(),
        node: node.clone(),
        view: stored.as_ref().map(|stored| stored.view.clone()),
        log: fitted.outline,
        applied: machine.applied().index,
        doubt: fitted.doubt,
        timing: Timing::default(),
    };
    let replica = Replica::new(start, clock.now());
    Ok(Found {
        volume,
        stored,
        log,
        reader,
        machine,
        replica,
        clock,
        node,
    })
}

/// What connections to peers are made of.
struct ForPeers {
    context: Arc<PeerContext<()>>,
    follow: watch::Receiver<Option<NodeId>>,
    addresses: dialer::Addresses,
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

/// Begins the work that threads do in a real node.
fn start_threads(found: Found, tasks: &mut JoinSet<()>) -> turmoil::Result<(Live, ForPeers)> {
    let shared = Arc::new(Shared::new(found.machine.applied().index));
    let tail = Arc::new(Tail::new(found.reader.clone()));
    let proposals = Arc::new(Proposals::default());
    let (driver, inbox) = unbounded_channel();
    let (log_jobs, log_inbox) = unbounded_channel();
    let (apply_jobs, apply_inbox) = unbounded_channel();
    let known = found.stored.as_ref();
    let known = known.map(|stored| (stored.peers.clone(), stored.client_url.clone()));
    let (addresses, addresses_out) = watch::channel(known.unwrap_or_default());
    let (role, role_out) = watch::channel(unassigned(&found.replica));
    let (follow, follow_out) = watch::channel(None);
    let (behind, log_queue) = jobs()?;
    let log_thread = LogThread {
        log: found.log,
        volume: found.volume,
        stored: found.stored,
        jobs: log_queue,
        driver: driver.clone(),
        shared: Arc::clone(&shared),
    };
    tasks.spawn_local(keep_log(Apart(Some(log_thread)), behind, log_inbox));
    let apply_thread = ApplyThread {
        machine: found.machine,
        log: found.reader,
        jobs: jobs()?.1,
        driver: driver.clone(),
        log_jobs: log_jobs.clone(),
        shared: Arc::clone(&shared),
        servers: Handle::current(),
    };
    tasks.spawn_local(keep_state(Apart(Some(apply_thread)), apply_inbox));
    let driving = Driver::new(DriverParts {
        replica: found.replica,
        inbox,
        proposals: Arc::clone(&proposals),
        log_jobs,
        apply_jobs: apply_jobs.clone(),
        tail: Arc::clone(&tail),
        shared: Arc::clone(&shared),
        clock: found.clock,
        role,
        view: watch::Sender::new(None),
        follow,
        addresses,
        changed: watch::Sender::new(0),
        retain_bytes: RETAIN_BYTES,
    });
    tasks.spawn_local(driving.sleeping().run());
    let context = Arc::new(PeerContext {
        driver: driver.clone(),
        apply_jobs,
        tail,
        shared: Arc::clone(&shared),
        tls: None,
        sessions: AtomicU64::new(0),
    });
    let live = Live {
        node: found.node,
        driver,
        proposals,
        shared,
        role: role_out,
    };
    let peers = ForPeers {
        context,
        follow: follow_out,
        addresses: addresses_out,
    };
    Ok((live, peers))
}

async fn start(seat: &Seat) -> turmoil::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    let (live, peers) = start_threads(open(seat)?, &mut tasks)?;
    let ForPeers {
        context,
        follow,
        addresses,
    } = peers;
    let asker = views::Asker {
        cluster_id: cluster_id(),
        node: live.node.clone(),
    };
    let network = || seat.network.clone();
    let port = seat.network.listen().await?;
    let shutdown = CancellationToken::new();
    tasks.spawn_local(listener::run(Arc::clone(&context), port, shutdown));
    let (role, known) = (live.role.clone(), addresses.clone());
    let asks = views::run(Arc::clone(&context), network(), asker, role, known);
    tasks.spawn_local(asks);
    tasks.spawn_local(dialer::run(context, network(), follow, addresses));
    *seat.live.lock() = Some(live);
    Ok(tasks)
}
