//! The world: what happens, in order, and who it happens to.

mod control;
mod event;
mod following;
mod process;
mod serve;
mod shell;
mod storage;
mod streams;

pub use event::{Event, NodeEvent, Order, Packet, Push};
pub use process::{Place, Process, Stream};

use standby_core::replica::Mutant;

use crate::api::{Api, Response};
use crate::clients::Clients;
use crate::disk::Volume;
use crate::faults::Faults;
use crate::history::History;
use crate::kube::Hosts;
use crate::net::{End, Network};
use crate::operator::Operator;
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
    /// An act is played: people do only what stands in it.
    pub acting: bool,
    /// Figures.
    pub report: Report,
    /// Print every event.
    pub verbose: bool,
    recent: std::collections::VecDeque<String>,
    /// What happened to those who were stopped, in order.
    asleep: Vec<Event>,
    /// When somebody wakes.
    wakes: std::collections::BTreeSet<Time>,
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
            net: Network::new(profile.hosts, profile.distance),
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
            acting: false,
            report: Report::new(seed),
            verbose: false,
            recent: std::collections::VecDeque::new(),
            asleep: Vec::new(),
            wakes: std::collections::BTreeSet::new(),
            rng,
            profile,
        };
        world.history.model.drift_ppm = world.profile.most_drift_ppm();
        let drift = if world.profile.wild_clocks {
            "clocks beyond the bound"
        } else {
            "clocks within the bound"
        };
        world.report.fault(drift);
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
            .mark(at ^ sequence.rotate_left(32) ^ event.kind());
        // What waited for somebody who wakes now comes first.
        if self.wakes.first().is_some_and(|wake| *wake <= at) {
            self.wake_up();
            self.schedule(0, event);
            return;
        }
        if let Some(until) = self.asleep_until(&event) {
            self.asleep.push(event);
            if until < Time::MAX && self.wakes.insert(until) {
                self.schedule_at(until, Event::Wakes);
            }
            return;
        }
        self.happen(event);
    }

    /// Somebody may have woken: everything that waited for that comes now, in order, or waits on.
    pub fn wake_up(&mut self) {
        while self.wakes.first().is_some_and(|wake| *wake <= self.now) {
            self.wakes.pop_first();
        }
        for event in std::mem::take(&mut self.asleep) {
            self.schedule(0, event);
        }
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
            Event::Wakes => self.wake_up(),
        }
    }
}
