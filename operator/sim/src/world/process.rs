//! One run of a node's process: the real core, the real state machine, and what its shell keeps.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use standby_core::replica::{Doubt, Mutant, ReadTicket, Replica, Start, Timing};
use standby_core::{ClusterId, Entry, Epoch, Index, Message, NodeId, Position};
use standby_etcd::lessor::Lessor;
use standby_etcd::state::{EtcdState, ReadView};
use standby_etcd::watch::WatchHub;
use standby_interface::StateMachine;
use standby_store::engine::MemoryEngine;

use crate::clients::{Asker, Request};
use crate::disk::{Log, Volume};
use crate::net::ConnId;
use crate::time::{Clock, Time};
use crate::watchers::Served;

/// Entries in one message to a follower.
const BATCH_ENTRIES: usize = 64;

/// What a stream wants was given up by the log meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released;

/// A follower's stream.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The epoch of its messages.
    pub epoch: Epoch,
    /// Where the next message goes on.
    pub previous: Position,
    /// How far it may go.
    pub upto: Index,
    /// What to tell as committed.
    pub commit: Index,
    /// What was told as committed.
    pub told: Index,
    /// The commit index is about to be told by itself.
    pub notice: bool,
}

/// A process, while it runs.
pub struct Process {
    /// Never used twice.
    pub run: u64,
    /// Who it is.
    pub node: NodeId,
    /// The pod object it runs in.
    pub pod_uid: String,
    /// Its address.
    pub ip: u32,
    /// Where it runs.
    pub host: usize,
    /// Its volume.
    pub volume: usize,
    /// Its host's clock.
    pub clock: Clock,
    /// The core.
    pub replica: Replica,
    /// The log as written, durable or not.
    pub log: Log,
    /// The state machine.
    pub state: EtcdState,
    /// What is read of it.
    pub view: ReadView,
    /// Under the state machine.
    pub engine: Arc<MemoryEngine>,
    /// Leases' times.
    pub lessor: Lessor,
    /// Every watch here.
    pub hub: WatchHub,
    /// The streams it serves.
    pub watches: Vec<Served>,
    /// What may be applied.
    pub commit: Index,
    /// Streams to followers.
    pub streams: BTreeMap<ConnId, Stream>,
    /// Followers that wait for a snapshot, and how new it must be.
    pub snapshots_owed: BTreeMap<ConnId, Index>,
    /// The primary to follow.
    pub follow: Option<NodeId>,
    /// The connection to it.
    pub outgoing: Option<ConnId>,
    /// A dial is under way or planned.
    pub dialing: bool,
    /// The pause before the next dial.
    pub redial: Time,
    /// Where peers are, as told.
    pub peers: Vec<(String, u32)>,
    /// Commands that wait for their turn.
    pub waiting: VecDeque<(Bytes, Asker)>,
    /// The ends of groups on their way to the disk.
    pub under_way: VecDeque<Index>,
    /// Who waits for which entry.
    pub pending: BTreeMap<Index, Asker>,
    /// Reads that wait for proof.
    pub reads: BTreeMap<ReadTicket, Request>,
    /// The next read's number.
    pub tickets: u64,
    /// Operators' sessions.
    pub controls: Vec<ConnId>,
    /// What was last reported by itself.
    pub digest: u64,
    /// The earliest time of the next such report.
    pub digest_due: Time,
    /// A report is planned.
    pub digest_owed: bool,
    /// When the core's deadline is planned.
    pub tick_at: Time,
    /// Does nothing (SIGSTOP) until then.
    pub paused_until: Time,
    /// It was told to end, and asks for a switchover until then.
    pub ending: Option<Time>,
    /// The primary is out of reach since.
    pub lonely_since: Option<Time>,
    /// Whom to ask next for a view.
    pub ask_next: usize,
    /// A checkpoint is under way.
    pub checkpointing: bool,
}

/// Where a process starts.
pub struct Place {
    /// Never used twice.
    pub run: u64,
    /// The pod object.
    pub pod_uid: String,
    /// Its address.
    pub ip: u32,
    /// The host.
    pub host: usize,
    /// The volume's number.
    pub volume: usize,
    /// The host's clock.
    pub clock: Clock,
}

impl Process {
    /// Starts on what the volume holds.
    #[must_use]
    pub fn start(
        place: Place,
        volume: &Volume,
        cluster_id: &str,
        now: Time,
        mutant: Option<Mutant>,
    ) -> Self {
        let durable = &volume.durable;
        let start = Start {
            cluster_id: ClusterId(cluster_id.to_owned()),
            node: volume.node.clone(),
            view: durable.view.clone(),
            log: durable.log.outline(),
            applied: durable.applied.index,
            doubt: volume.damage.clone().map(|what| Doubt::DamagedLog { what }),
            timing: Timing::default(),
        };
        let mut replica = Replica::new(start, place.clock.at(now));
        if let Some(mutant) = mutant {
            replica.mutate(mutant);
        }
        let engine = Arc::new(MemoryEngine::with_content(durable.engine.clone()));
        let mut state = EtcdState::open(engine.clone()).expect("an engine in memory does not fail");
        let hub = WatchHub::new(state.view().current_revision());
        state.set_event_sink(Arc::new(hub.clone()));
        Self {
            run: place.run,
            node: volume.node.clone(),
            pod_uid: place.pod_uid,
            ip: place.ip,
            host: place.host,
            volume: place.volume,
            clock: place.clock,
            replica,
            log: durable.log.clone(),
            view: state.view(),
            state,
            engine,
            lessor: Lessor::default(),
            hub,
            watches: Vec::new(),
            commit: durable.applied.index,
            streams: BTreeMap::new(),
            snapshots_owed: BTreeMap::new(),
            follow: None,
            outgoing: None,
            dialing: false,
            redial: 0,
            peers: durable.peers.clone(),
            waiting: VecDeque::new(),
            under_way: VecDeque::new(),
            pending: BTreeMap::new(),
            reads: BTreeMap::new(),
            tickets: 0,
            controls: Vec::new(),
            digest: 0,
            digest_due: 0,
            digest_owed: false,
            tick_at: Time::MAX,
            paused_until: 0,
            ending: None,
            lonely_since: None,
            ask_next: 0,
            checkpointing: false,
        }
    }

    /// How far the state is applied.
    #[must_use]
    pub fn applied(&self) -> Position {
        self.state.applied()
    }

    /// Entries that are committed and not applied.
    #[must_use]
    pub fn to_apply(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut index = self.applied().index.next();
        while index <= self.commit {
            let Some(entry) = self.log.entry(index) else {
                break;
            };
            entries.push(entry.clone());
            index = index.next();
        }
        entries
    }

    /// The next message of a stream; an error when what it wants was given up meanwhile.
    pub fn next_batch(&mut self, session: ConnId) -> Result<Option<Message>, Released> {
        let Some(stream) = self.streams.get(&session) else {
            return Ok(None);
        };
        if stream.previous.index >= stream.upto {
            return Ok(None);
        }
        let mut entries = Vec::new();
        let mut index = stream.previous.index.next();
        while index <= stream.upto && entries.len() < BATCH_ENTRIES {
            entries.push(self.log.entry(index).ok_or(Released)?.clone());
            index = index.next();
        }
        let stream = self.streams.get_mut(&session).expect("looked up above");
        let message = Message::Append {
            epoch: stream.epoch,
            previous: stream.previous,
            commit: stream.commit,
            entries,
        };
        if let Message::Append { entries, .. } = &message
            && let Some(last) = entries.last()
        {
            stream.previous = last.position;
        }
        stream.told = stream.commit;
        Ok(Some(message))
    }
}
