//! The operator's processes: two replicas, leader election, caches, and the leader's actor, as
//! `operator/src` has them. What to do is decided by the real `standby-operator-core`.

mod actor;
mod election;
mod observe;
mod stream;
mod work;

use std::collections::BTreeMap;
use std::rc::Rc;

use standby_api::StandbyCluster;
use standby_core::Micros;
use standby_operator_core::lease::Election;

pub use actor::Actor;

use crate::api::{Claim, HostObject, Pod, Purpose, Response};
use crate::net::End;
use crate::time::{MS, SECOND, Time};
use crate::world::{Event, World};

/// News of the API server for a cache. The first number orders them.
#[derive(Clone, Debug)]
pub enum CacheUpdate {
    /// Pods.
    Pods(u64, Rc<BTreeMap<String, Pod>>),
    /// Claims.
    Claims(u64, Rc<BTreeMap<String, Claim>>),
    /// Hosts.
    Hosts(u64, Rc<Vec<HostObject>>),
    /// The cluster's resource.
    Cluster(u64, Rc<StandbyCluster>),
    /// The epoch of the recorded view.
    View(u64, Option<i64>),
    /// The version of the read-write slice.
    Slice(u64, Option<u64>),
}

/// What an operator's watches brought.
#[derive(Debug, Default)]
pub struct Cache {
    pods: (u64, Rc<BTreeMap<String, Pod>>),
    claims: (u64, Rc<BTreeMap<String, Claim>>),
    hosts: (u64, Rc<Vec<HostObject>>),
    cluster: (u64, Option<Rc<StandbyCluster>>),
    view: (u64, Option<i64>),
    slice: (u64, Option<u64>),
}

impl Cache {
    fn take(&mut self, update: CacheUpdate) -> bool {
        match update {
            CacheUpdate::Pods(news, pods) if news >= self.pods.0 => self.pods = (news, pods),
            CacheUpdate::Claims(news, claims) if news >= self.claims.0 => {
                self.claims = (news, claims);
            }
            CacheUpdate::Hosts(news, hosts) if news >= self.hosts.0 => self.hosts = (news, hosts),
            CacheUpdate::Cluster(news, cluster) if news >= self.cluster.0 => {
                self.cluster = (news, Some(cluster));
            }
            CacheUpdate::View(news, epoch) if news >= self.view.0 => self.view = (news, epoch),
            CacheUpdate::Slice(news, version) if news >= self.slice.0 => {
                self.slice = (news, version);
            }
            _ => return false,
        }
        true
    }
}

/// Something at an operator.
#[derive(Clone, Debug)]
pub enum OperatorEvent {
    /// The caches are asked for.
    List,
    /// A turn of the election.
    Election,
    /// A turn of the actor, if it is still the planned one.
    Turn(u64),
    /// A stream dials its node.
    Dial(String),
    /// The dial succeeds, or not.
    Dialled(String, u64),
    /// A stream asks its node.
    Ping(String, u64),
    /// The next piece of work beside.
    Work,
}

/// One replica.
#[derive(Debug)]
pub struct Operator {
    /// Which of the two.
    pub which: usize,
    /// Its name in the election.
    pub name: String,
    /// Where it runs.
    pub host: usize,
    /// Its process runs.
    pub up: bool,
    /// Counts its processes.
    pub run: u64,
    /// Does nothing until then.
    pub paused_until: Time,
    /// Its caches.
    pub cache: Cache,
    listed: bool,
    election: Election,
    lease_version: Option<u64>,
    /// It believes to lead.
    pub leading: bool,
    /// The leader's work.
    pub actor: Option<Box<Actor>>,
}

impl Operator {
    /// A replica that does not run yet.
    #[must_use]
    pub fn new(which: usize, host: usize) -> Self {
        Self {
            which,
            name: format!("operator-{which}"),
            host,
            up: false,
            run: 0,
            paused_until: 0,
            cache: Cache::default(),
            listed: false,
            election: Election::default(),
            lease_version: None,
            leading: false,
            actor: None,
        }
    }

    /// Until when it is stopped, if it is.
    #[must_use]
    pub fn asleep(&self, now: Time) -> Option<Time> {
        (self.up && self.paused_until > now).then_some(self.paused_until)
    }

    /// One line, or a few.
    #[must_use]
    pub fn describe(&self) -> String {
        let plan = self.actor.as_ref().map(|actor| actor.describe());
        format!(
            "{} up {} leading {}: {}",
            self.name,
            self.up,
            self.leading,
            plan.unwrap_or_default()
        )
    }
}

impl World {
    /// The time on an operator's clock.
    pub fn operator_now(&self, which: usize) -> Micros {
        self.hosts.all[self.operators[which].host]
            .clock
            .at(self.now)
    }

    /// Plans something for an operator's present run.
    pub fn operator_later(&mut self, which: usize, after: Time, event: OperatorEvent) {
        let run = self.operators[which].run;
        self.schedule(after, Event::Operator { which, run, event });
    }

    /// The end of an operator's connections.
    #[must_use]
    pub fn operator_end(&self, which: usize) -> End {
        End::Operator {
            which,
            run: self.operators[which].run,
        }
    }

    pub(crate) fn operator_starts(&mut self, which: usize) {
        let operator = &mut self.operators[which];
        if operator.up || !self.hosts.all[operator.host].up {
            return;
        }
        let fresh = Operator::new(which, operator.host);
        let run = operator.run + 1;
        *operator = Operator {
            up: true,
            run,
            ..fresh
        };
        self.note(|| format!("operator {which} starts"));
        self.operator_later(which, 50 * MS, OperatorEvent::List);
        self.operator_later(which, 60 * MS, OperatorEvent::Election);
    }

    /// An operator's process ends; another starts after so long, if at all.
    pub fn operator_dies(&mut self, which: usize, again: Option<Time>) {
        if !self.operators[which].up {
            return;
        }
        self.note(|| format!("operator {which} ends"));
        let end = self.operator_end(which);
        let host = self.operators[which].host;
        if self.hosts.all[host].up {
            self.close_all_of(end);
        }
        let operator = &mut self.operators[which];
        operator.up = false;
        operator.leading = false;
        operator.actor = None;
        operator.paused_until = 0;
        if let Some(after) = again {
            self.schedule(after, Event::OperatorStarts(which));
        }
    }

    pub(crate) fn operator_event(&mut self, which: usize, run: u64, event: OperatorEvent) {
        if !self.operators[which].up || self.operators[which].run != run {
            return;
        }
        match event {
            OperatorEvent::List => self.list(which),
            OperatorEvent::Election => self.election_turn(which),
            OperatorEvent::Turn(stamp) => self.actor_turn(which, stamp),
            OperatorEvent::Dial(pod) => self.stream_dials(which, &pod),
            OperatorEvent::Dialled(pod, stamp) => self.stream_dialled(which, &pod, stamp),
            OperatorEvent::Ping(pod, stamp) => self.stream_pings(which, &pod, stamp),
            OperatorEvent::Work => self.work_goes_on(which),
        }
    }

    /// Fills the caches anew.
    fn list(&mut self, which: usize) {
        let (host, site) = (self.operators[which].host, self.api_site());
        if !self.api.up || !self.net.reaches(host, site) {
            self.operator_later(which, SECOND, OperatorEvent::List);
            return;
        }
        for update in self.api.listed() {
            self.operators[which].cache.take(update);
        }
        self.operators[which].listed = true;
        self.wake(which);
    }

    /// News for a cache arrive, unless the way is cut: then they come when it is open again.
    pub(crate) fn cache_update(&mut self, which: usize, run: u64, update: CacheUpdate) {
        let operator = &self.operators[which];
        if !operator.up || operator.run != run {
            return;
        }
        let site = self.api_site();
        let stuck = self.api.watches_stuck || !self.api.up || self.net.cuts(site, operator.host);
        if stuck || operator.paused_until > self.now {
            let again = Event::Cache(which, run, Box::new(update));
            self.schedule(500 * MS, again);
            return;
        }
        if self.operators[which].cache.take(update) {
            self.wake(which);
        } else {
            self.report.fault("watch event overtaken");
        }
    }

    /// An answer of the API server.
    pub fn answered_operator(&mut self, which: usize, purpose: Purpose, response: Response) {
        match purpose {
            Purpose::Look | Purpose::Elect(_) => self.election_answered(which, purpose, response),
            Purpose::Prepare | Purpose::Compare | Purpose::Record | Purpose::Again => {
                self.actor_answered(which, purpose, response);
            }
            Purpose::Announce => self.announced(which, &response),
            Purpose::Spare | Purpose::Work => self.work_answered(which, purpose, &response),
        }
    }
}
