//! The world: what happens, in order, and who it happens to.

mod control;
mod following;
mod process;
mod serve;
mod shell;
mod storage;
mod streams;

pub use process::{Place, Process, Stream};

use std::rc::Rc;

use standby_core::replica::Mutant;
use standby_core::{Epoch, Message, NodeId, Position, View};
use standby_operator_core::observe::NodeReport;

use crate::api::{Api, Call, Response};
use crate::clients::{Clients, Request};
use crate::disk::Volume;
use crate::faults::{Fault, Faults};
use crate::history::History;
use crate::kube::Hosts;
use crate::net::{ConnId, End, Network};
use crate::operator::{CacheUpdate, Operator, OperatorEvent};
use crate::profile::Profile;
use crate::queue::Queue;
use crate::report::Report;
use crate::rng::Rng;
use crate::time::{SECOND, Time};
use crate::watchers::{Watcher, watchers};

/// A run of a node's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcRef {
    /// Where it stands.
    pub slot: usize,
    /// Never used twice.
    pub run: u64,
}

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

/// One simulated world.
pub struct World {
    /// The time.
    pub now: Time,
    /// Chance.
    pub rng: Rng,
    queue: Queue<Event>,
    /// What this seed is about.
    pub profile: Profile,
    /// Links.
    pub net: Network,
    /// Machines and their kubelets.
    pub hosts: Hosts,
    /// Every volume there ever was.
    pub volumes: Vec<Volume>,
    /// Processes.
    pub procs: Vec<Option<Box<Process>>>,
    /// Runs of node processes so far.
    pub runs: u64,
    /// The API server.
    pub api: Api,
    /// The operators.
    pub operators: Vec<Operator>,
    /// Clients.
    pub clients: Clients,
    /// Clients that watch.
    pub watchers: Vec<Watcher>,
    /// What really happened to the data.
    pub history: History,
    /// Faults in force.
    pub faults: Faults,
    /// The rule that every node breaks on purpose.
    pub mutant: Option<Mutant>,
    /// Figures.
    pub report: Report,
    /// Print every event.
    pub verbose: bool,
    recent: std::collections::VecDeque<String>,
}

impl World {
    /// A world in which nothing has happened.
    #[must_use]
    pub fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let mut rng = Rng::new(seed);
        let profile = Profile::draw(seed, &mut rng);
        let hosts = Hosts::new(&profile, &mut rng);
        let operators = (0..2)
            .map(|which| Operator::new(which, which % profile.hosts))
            .collect();
        let mut world = Self {
            now: 0,
            queue: Queue::default(),
            net: Network::new(profile.hosts + 2),
            hosts,
            volumes: Vec::new(),
            procs: Vec::new(),
            runs: 0,
            api: Api::new(&profile),
            operators,
            clients: Clients::new(profile.clients),
            watchers: watchers(),
            history: History::default(),
            faults: Faults::new(&profile),
            mutant,
            report: Report::new(seed),
            verbose: false,
            recent: std::collections::VecDeque::new(),
            rng,
            profile,
        };
        world.history.model.drift_ppm = world.profile.most_drift_ppm();
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.schedule(0, Event::OperatorStarts(0));
        self.schedule(SECOND / 2, Event::OperatorStarts(1));
        for client in 0..self.profile.clients {
            self.schedule(SECOND, Event::Client(client));
        }
        for watcher in 0..self.watchers.len() {
            self.schedule(2 * SECOND, Event::Watcher(watcher));
        }
        self.schedule(5 * SECOND, Event::HostCheck);
    }

    /// The site of the API server.
    #[must_use]
    pub fn api_site(&self) -> usize {
        self.profile.hosts
    }

    /// The site of the clients.
    #[must_use]
    pub fn client_site(&self) -> usize {
        self.profile.hosts + 1
    }

    /// Plans something.
    pub fn schedule(&mut self, after: Time, event: Event) {
        self.queue.push(self.now + after, event);
    }

    /// Plans something for a point in time.
    pub fn schedule_at(&mut self, at: Time, event: Event) {
        self.queue.push(at.max(self.now), event);
    }

    /// Notes a line for whoever looks at a failure.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        const KEPT: usize = 400;
        let line = format!("{:>12.6} {}", crate::time::seconds(self.now), line());
        if self.verbose {
            eprintln!("{line}");
        }
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(line);
    }

    /// Ends the run: a rule was broken.
    ///
    /// # Panics
    /// Always.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "it is the last use of the text"
    )]
    pub fn broken(&self, rule: &str, what: String) -> ! {
        let recent: Vec<&str> = self.recent.iter().map(String::as_str).collect();
        panic!(
            "seed {}: {rule}: {what}\nreplay with: cargo xtask sim --seed {} --runs 1 --verbose\n{}\n{}",
            self.report.seed,
            self.report.seed,
            recent.join("\n"),
            self.describe().join("\n"),
        );
    }

    /// How everything stands.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let mut lines = vec![format!("profile: {:?}", self.profile)];
        for process in self.procs.iter().flatten() {
            let now = process.clock.at(self.now);
            lines.push(format!(
                "{}: {:?}",
                process.node,
                process.replica.status(now)
            ));
        }
        lines.push(format!("recorded: {:?}", self.api.recorded()));
        for (name, pod) in self.api.objects.pods.iter() {
            lines.push(format!("pod {name}: {pod:?}"));
        }
        for (name, claim) in self.api.objects.claims.iter() {
            lines.push(format!("claim {name}: {claim:?}"));
        }
        for operator in &self.operators {
            lines.push(operator.describe());
        }
        lines
    }

    /// The process, if that run still runs.
    #[must_use]
    pub fn proc(&self, proc: ProcRef) -> Option<&Process> {
        let process = self.procs.get(proc.slot)?.as_deref()?;
        (process.run == proc.run).then_some(process)
    }

    /// The process, if that run still runs.
    pub fn proc_mut(&mut self, proc: ProcRef) -> Option<&mut Process> {
        let process = self.procs.get_mut(proc.slot)?.as_deref_mut()?;
        (process.run == proc.run).then_some(process)
    }

    /// Every process that runs.
    pub fn running(&self) -> impl Iterator<Item = (ProcRef, &Process)> {
        self.procs.iter().enumerate().filter_map(|(slot, process)| {
            let process = process.as_deref()?;
            let run = process.run;
            Some((ProcRef { slot, run }, process))
        })
    }

    /// Lets everything happen until `end`.
    pub fn run_until(&mut self, end: Time) {
        while self.queue.next_at().is_some_and(|at| at < end) {
            self.run_one();
        }
        self.now = self.now.max(end);
    }

    /// Lets the next thing happen.
    pub fn run_one(&mut self) {
        let Some((at, sequence, event)) = self.queue.pop() else {
            self.broken("simulation", "nothing is left to happen".into());
        };
        self.now = at;
        self.report.events += 1;
        self.report
            .mark(at ^ sequence.rotate_left(32) ^ kind_of(&event));
        if let Some(until) = self.asleep_until(&event) {
            self.schedule_at(until, event);
            return;
        }
        self.happen(event);
    }

    /// Until when the process is stopped that the event is for.
    fn asleep_until(&self, event: &Event) -> Option<Time> {
        let proc = match event {
            Event::Node(proc, _) | Event::Asked(proc, _) | Event::ViewHeard(proc, _) => *proc,
            Event::Deliver { conn, side, .. } => {
                let conn = self.net.conns.get(conn)?;
                return self.end_asleep(conn.ends[1 - side]);
            }
            Event::Closed { end, .. } => return self.end_asleep(*end),
            Event::Operator { which, .. } => return self.operators[*which].asleep(self.now),
            Event::ApiAnswers(id, _) | Event::ApiTimeout(id) => {
                let caller = self.api.caller(*id)?;
                return self.operators[caller].asleep(self.now);
            }
            _ => return None,
        };
        self.end_asleep(End::Node(proc))
    }

    fn end_asleep(&self, end: End) -> Option<Time> {
        match end {
            End::Node(proc) => {
                let until = self.proc(proc)?.paused_until;
                (until > self.now).then_some(until)
            }
            End::Operator { which, .. } => self.operators[which].asleep(self.now),
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver { conn, side, packet } => self.deliver(conn, side, *packet),
            Event::Retransmit { conn, side } => self.retransmit(conn, side),
            Event::Closed { conn, end } => self.closed(conn, end),
            Event::Node(proc, event) => self.node_event(proc, event),
            Event::ViewHeard(proc, view) => self.view_heard(proc, *view),
            Event::Operator { which, run, event } => self.operator_event(which, run, event),
            Event::OperatorStarts(which) => self.operator_starts(which),
            Event::ApiArrives(id, call) => self.api_arrives(id, *call),
            Event::ApiAnswers(id, response) => self.api_answers(id, *response),
            Event::ApiTimeout(id) => self.api_answers(id, Response::Timeout),
            Event::Cache(which, run, update) => self.cache_update(which, run, *update),
            Event::Kubelet(host) => self.kubelet(host),
            Event::ContainerStarts { host, uid, serial } => {
                self.container_starts(host, &uid, serial);
            }
            Event::PodKilled { host, uid } => self.pod_killed(host, &uid),
            Event::Schedule => self.schedule_pods(),
            Event::HostCheck => self.host_check(),
            Event::ServiceChanged => {
                let slice = self.api.objects.slice.as_ref();
                let target = slice.and_then(|(target, _)| target.as_ref());
                self.clients.service = target.map(|(_, ip)| *ip);
            }
            Event::Client(which) => self.client_acts(which),
            Event::Asked(proc, request) => self.asked(proc, *request),
            Event::Answered(answer) => self.answered(&answer),
            Event::GivesUp(client, op) => self.client_gives_up(client, op),
            Event::Watcher(which) => self.watcher_acts(which),
            Event::Watched(which, stream, item) => self.watched(which, stream, *item),
            Event::Fault(fault) => self.fault(fault),
            Event::DrawFault => self.draw_fault(),
            Event::People => self.people_act(),
        }
    }
}

fn kind_of(event: &Event) -> u64 {
    match event {
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
    }
}
