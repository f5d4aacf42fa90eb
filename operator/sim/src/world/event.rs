//! What can happen, and what travels between processes.

use std::rc::Rc;

use standby_core::{Epoch, Message, NodeId, Position, View};
use standby_operator_core::observe::NodeReport;

use super::ProcRef;
use crate::api::{Call, Response};
use crate::clients::Request;
use crate::faults::Fault;
use crate::net::{ConnId, End};
use crate::operator::{CacheUpdate, OperatorEvent};
use crate::time::Time;

/// What travels on connections.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "boxed as a whole in every event")]
pub enum Packet {
    /// Between nodes.
    Core(Message),
    /// A snapshot of the state.
    Snapshot {
        /// What it stands for.
        position: Position,
        /// The state, in pieces.
        chunks: Vec<bytes::Bytes>,
    },
    /// From the operator to a node.
    Order(Order),
    /// From a node to the operator; the number of the order it answers, or 0.
    Report(u64, Box<NodeReport>),
    /// The other side ended the connection.
    End,
}

/// What the operator tells every node.
#[derive(Clone, Debug, PartialEq)]
pub struct Push {
    /// The recorded view.
    pub view: Option<View>,
    /// Whom the primary shall wait for.
    pub await_nodes: std::collections::BTreeSet<NodeId>,
    /// The earlier primaries are proven stopped.
    pub previous_stopped: bool,
    /// Where everybody is.
    pub peers: Vec<(String, u32)>,
}

/// One order.
#[derive(Clone, Debug)]
pub enum Order {
    /// Say how you are.
    Ping(u64),
    /// The recorded view.
    Push(u64, Rc<Push>),
    /// Step down in this epoch.
    StepDown(u64, Epoch),
}

/// Something that will happen.
#[derive(Debug)]
pub enum Event {
    /// A packet arrives, sent from `side`.
    Deliver {
        /// The connection.
        conn: ConnId,
        /// Who sent it.
        side: usize,
        /// What.
        packet: Box<Packet>,
    },
    /// A held packet is tried again.
    Retransmit {
        /// The connection.
        conn: ConnId,
        /// Whose packets.
        side: usize,
    },
    /// An end learns that its connection is gone.
    Closed {
        /// The connection.
        conn: ConnId,
        /// Who learns it.
        end: End,
    },
    /// Something at a node.
    Node(ProcRef, NodeEvent),
    /// A peer told a view.
    ViewHeard(ProcRef, Box<View>),
    /// Something at an operator's run.
    Operator {
        /// Which.
        which: usize,
        /// Its run.
        run: u64,
        /// What.
        event: OperatorEvent,
    },
    /// An operator's process starts.
    OperatorStarts(usize),
    /// A call arrives at the API server.
    ApiArrives(u64, Box<Call>),
    /// The answer arrives.
    ApiAnswers(u64, Box<Response>),
    /// The caller gives up.
    ApiTimeout(u64),
    /// News reach an operator's cache.
    Cache(usize, u64, Box<CacheUpdate>),
    /// The kubelet of a host looks at its pods.
    Kubelet(usize),
    /// A container starts.
    ContainerStarts {
        /// The host.
        host: usize,
        /// The pod.
        uid: String,
        /// The container.
        serial: u32,
    },
    /// A pod that is told to end has had its time.
    PodKilled {
        /// The host.
        host: usize,
        /// The pod.
        uid: String,
    },
    /// A pod waits for a host.
    Schedule,
    /// The control plane looks at its hosts.
    HostCheck,
    /// The read-write Service leads elsewhere, as clients' hosts see it.
    ServiceChanged,
    /// A client acts.
    Client(usize),
    /// A request arrives at a node.
    Asked(ProcRef, Box<Request>),
    /// An answer arrives at a client.
    Answered(Box<crate::clients::Answer>),
    /// A client gives up waiting.
    GivesUp(usize, u64),
    /// Something goes wrong, or is put right.
    Fault(Fault),
    /// A watcher acts.
    Watcher(usize),
    /// Something arrives at a watcher, on one of its streams.
    Watched(usize, u64, Box<standby_etcd::watch::Item>),
    /// The next fault is drawn.
    DrawFault,
    /// People change their minds.
    People,
    /// A process that was stopped goes on.
    Wakes,
}

/// Something at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeEvent {
    /// The disk finished a group of jobs.
    DiskDone,
    /// The core's deadline.
    Tick(Time),
    /// Time to dial the primary.
    Dial,
    /// A connection to the primary comes about, or not.
    Dialled(usize),
    /// The commit index has waited long enough for entries to travel with.
    Notice(ConnId),
    /// A report is owed.
    Publish,
    /// Time for a checkpoint.
    Checkpoint,
    /// Leases are looked through.
    Leases,
    /// Others are asked for a later view.
    AskView,
    /// A node that was told to end does so now.
    Exit,
}

impl Event {
    /// A number for the trace: what kind it is, and of whom.
    pub(super) fn kind(&self) -> u64 {
        match self {
            Event::Deliver { conn, .. } => 1 + conn * 64,
            Event::Retransmit { conn, .. } => 2 + conn * 64,
            Event::Closed { conn, .. } => 3 + conn * 64,
            Event::Node(proc, _) => 4 + proc.run * 64,
            Event::ViewHeard(proc, _) => 24 + proc.run * 64,
            Event::Operator { run, .. } => 5 + run * 64,
            Event::OperatorStarts(_) => 6,
            Event::ApiArrives(id, _) => 7 + id * 64,
            Event::ApiAnswers(id, _) => 8 + id * 64,
            Event::ApiTimeout(id) => 9 + id * 64,
            Event::Cache(..) => 10,
            Event::Kubelet(_) => 11,
            Event::ContainerStarts { serial, .. } => 12 + u64::from(*serial) * 64,
            Event::PodKilled { .. } => 13,
            Event::Schedule => 14,
            Event::HostCheck => 15,
            Event::ServiceChanged => 16,
            Event::Client(which) => 17 + (*which as u64) * 64,
            Event::Asked(proc, _) => 18 + proc.run * 64,
            Event::Answered(_) => 19,
            Event::GivesUp(_, op) => 20 + op * 64,
            Event::Fault(_) => 21,
            Event::DrawFault => 22,
            Event::People => 23,
            Event::Watcher(_) => 25,
            Event::Watched(..) => 26,
            Event::Wakes => 27,
        }
    }
}
