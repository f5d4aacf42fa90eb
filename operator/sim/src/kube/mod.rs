//! Machines and their kubelets: as much of Kubernetes as carries pods, each late in its own way. The
//! scheduler and the control plane's look at its hosts stand in `plane`.

mod ends;
mod plane;

use std::collections::BTreeMap;

use standby_core::NodeId;

use crate::disk::Volume;
use crate::profile::Profile;
use crate::rng::Rng;
use crate::time::{Clock, MS, SECOND, Time};
use crate::world::{Event, Place, ProcRef, Process, World};

/// A pod that is told to end gets so long.
const GRACE: Time = 30 * SECOND;
/// How long a node that leads waits to be relieved when it is told to end.
const HAND_OVER: Time = 10 * SECOND;
/// A pod as its kubelet knows it.
#[derive(Clone, Debug)]
pub struct LocalPod {
    /// Its name.
    pub name: String,
    /// Its address.
    pub ip: u32,
    /// Its volume, once mounted.
    pub volume: Option<usize>,
    /// The process in its container.
    pub proc: Option<ProcRef>,
    /// How many containers it has had.
    pub serial: u32,
    /// The container that ended last, and why.
    pub ended: Option<(u32, String)>,
    /// When the present container started.
    pub started: Time,
    /// Quick ends in a row.
    pub failures: u32,
    /// It is told to end.
    pub ending: bool,
    /// A start is planned.
    pub starting: bool,
}

/// A machine.
#[derive(Clone, Debug)]
pub struct Host {
    /// It has power.
    pub up: bool,
    /// It never comes back; another takes its place.
    pub lost: bool,
    /// Its zone.
    pub zone: usize,
    /// Its clock.
    pub clock: Clock,
    /// The pods that its kubelet keeps.
    pub pods: BTreeMap<String, LocalPod>,
    /// When the control plane last heard of it.
    pub heard: Time,
    /// A look of the kubelet is planned.
    pub planned: bool,
}

/// All machines.
#[derive(Debug)]
pub struct Hosts {
    /// The machines.
    pub all: Vec<Host>,
    next_ip: u32,
    free_ips: Vec<u32>,
}

impl Hosts {
    /// The machines of a profile.
    #[must_use]
    pub fn new(profile: &Profile, rng: &mut Rng) -> Self {
        let all = (0..profile.hosts)
            .map(|at| Host {
                up: true,
                lost: false,
                zone: at % profile.zones,
                clock: draw_clock(profile, rng),
                pods: BTreeMap::new(),
                heard: 0,
                planned: false,
            })
            .collect();
        Self {
            all,
            next_ip: 10,
            free_ips: Vec::new(),
        }
    }

    /// The host of the pod that has this address now.
    #[must_use]
    pub fn of_address(&self, ip: u32) -> Option<usize> {
        self.all
            .iter()
            .position(|host| host.up && host.pods.values().any(|pod| pod.ip == ip))
    }

    fn address(&mut self, rng: &mut Rng) -> u32 {
        // Addresses are used again, also soon.
        if !self.free_ips.is_empty() && rng.permille(300) {
            let at = rng.index(self.free_ips.len());
            return self.free_ips.swap_remove(at);
        }
        self.next_ip += 1;
        self.next_ip
    }
}

/// A clock as the profile allows it.
pub fn draw_clock(profile: &Profile, rng: &mut Rng) -> Clock {
    let most = profile.most_drift_ppm();
    let ppm = i64::try_from(rng.below(2 * most + 1)).expect("small");
    Clock {
        ppm: ppm - i64::try_from(most).expect("small"),
        base: 3_600 * SECOND + rng.below(1_000 * SECOND),
    }
}

impl World {
    /// Lets a kubelet look soon.
    pub fn wake_kubelet(&mut self, host: usize, after: Time) {
        let there = &mut self.hosts.all[host];
        if there.up && !there.planned {
            there.planned = true;
            self.schedule(after, Event::Kubelet(host));
        }
    }

    /// Every kubelet hears that pods changed.
    pub fn pods_changed(&mut self) {
        for host in 0..self.hosts.all.len() {
            let after = self.rng.between(5 * MS, 150 * MS);
            self.wake_kubelet(host, after);
        }
    }

    fn hears_api(&self, host: usize) -> bool {
        self.hosts.all[host].up && self.api.up && self.net.reaches(host, self.api_site())
    }

    /// A kubelet compares what there should be with what there is, and tells how its pods are.
    pub(crate) fn kubelet(&mut self, host: usize) {
        self.hosts.all[host].planned = false;
        if !self.hosts.all[host].up {
            return;
        }
        if !self.hears_api(host) {
            if !self.hosts.all[host].pods.is_empty() || self.wanted_on(host) {
                self.wake_kubelet(host, SECOND);
            }
            return;
        }
        self.take_in_pods(host);
        self.drop_pods(host);
        self.tell_pods(host);
    }

    fn wanted_on(&self, host: usize) -> bool {
        self.api
            .objects
            .pods
            .values()
            .any(|pod| pod.host == Some(host))
    }

    fn take_in_pods(&mut self, host: usize) {
        let mut new = Vec::new();
        for (name, pod) in self.api.objects.pods.iter() {
            let known = self.hosts.all[host].pods.contains_key(&pod.uid);
            if pod.host == Some(host) && !known && pod.deleting.is_none() && !pod.over {
                new.push((name.clone(), pod.uid.clone()));
            }
        }
        for (name, uid) in new {
            let ip = self.hosts.address(&mut self.rng);
            let pod = LocalPod {
                name,
                ip,
                volume: None,
                proc: None,
                serial: 0,
                ended: None,
                started: self.now,
                failures: 0,
                ending: false,
                starting: false,
            };
            self.hosts.all[host].pods.insert(uid.clone(), pod);
            let after = self.rng.between(100 * MS, 1_500 * MS);
            self.plan_container(host, &uid, after);
        }
    }

    /// A process that ended starts again at once, whatever the back-off.
    pub fn start_soon(&mut self, volume: usize) {
        for host in 0..self.hosts.all.len() {
            let pods = &self.hosts.all[host].pods;
            let found = pods.iter().find(|(_, pod)| pod.volume == Some(volume));
            let Some(uid) = found.map(|(uid, _)| uid.clone()) else {
                continue;
            };
            if let Some(pod) = self.hosts.all[host].pods.get_mut(&uid) {
                pod.failures = 0;
                pod.starting = false;
            }
            self.plan_container(host, &uid, 700 * MS);
        }
    }

    fn plan_container(&mut self, host: usize, uid: &str, after: Time) {
        let Some(pod) = self.hosts.all[host].pods.get_mut(uid) else {
            return;
        };
        if pod.starting || pod.ending {
            return;
        }
        pod.starting = true;
        let serial = pod.serial;
        self.schedule(
            after,
            Event::ContainerStarts {
                host,
                uid: uid.to_owned(),
                serial,
            },
        );
    }

    /// Ends what the API server does not know, or wants to end; forgets what has ended.
    fn drop_pods(&mut self, host: usize) {
        let mut to_end = Vec::new();
        let mut over = Vec::new();
        for (uid, local) in &self.hosts.all[host].pods {
            let object = self
                .api
                .objects
                .pods
                .get(&local.name)
                .filter(|pod| pod.uid == *uid);
            let ends = object.is_none_or(|pod| pod.deleting.is_some());
            if ends && !local.ending {
                to_end.push(uid.clone());
            }
            if ends && local.proc.is_none() && (local.ending || to_end.contains(uid)) {
                over.push((uid.clone(), local.name.clone()));
            }
        }
        // Deleted before this kubelet ever began with them.
        for (name, pod) in self.api.objects.pods.iter() {
            let unknown = !self.hosts.all[host].pods.contains_key(&pod.uid);
            if pod.host == Some(host) && pod.deleting.is_some() && unknown {
                over.push((pod.uid.clone(), name.clone()));
            }
        }
        for uid in to_end {
            self.tell_to_end(host, &uid);
        }
        for (uid, name) in over {
            if let Some(pod) = self.hosts.all[host].pods.remove(&uid) {
                self.hosts.free_ips.push(pod.ip);
            }
            self.api.remove_pod(&name, &uid);
            self.objects_changed();
        }
    }

    fn tell_to_end(&mut self, host: usize, uid: &str) {
        let limit = self.now + HAND_OVER;
        let Some(pod) = self.hosts.all[host].pods.get_mut(uid) else {
            return;
        };
        pod.ending = true;
        let Some(proc) = pod.proc else { return };
        self.schedule(
            GRACE,
            Event::PodKilled {
                host,
                uid: uid.to_owned(),
            },
        );
        if let Some(process) = self.proc_mut(proc) {
            process.ending = Some(limit);
        }
        self.schedule(
            HAND_OVER + MS,
            Event::Node(proc, crate::world::NodeEvent::Exit),
        );
        self.settle(proc, true);
    }

    /// SIGKILL after the grace period.
    pub(crate) fn pod_killed(&mut self, host: usize, uid: &str) {
        let proc = self.hosts.all[host].pods.get(uid).and_then(|pod| pod.proc);
        if let Some(proc) = proc {
            self.process_ends(proc, "its pod was killed");
        }
    }

    /// Reports containers to the API server.
    fn tell_pods(&mut self, host: usize) {
        let mut changed = false;
        for (uid, local) in &self.hosts.all[host].pods {
            changed |= self.api.pod_status(uid, local);
        }
        if changed {
            self.objects_changed();
        }
    }

    /// A container starts, if its volume can be used here.
    pub(crate) fn container_starts(&mut self, host: usize, uid: &str, serial: u32) {
        let there = &self.hosts.all[host];
        let Some(pod) = there.pods.get(uid) else {
            return;
        };
        if !there.up || pod.serial != serial || pod.ending || pod.proc.is_some() {
            if let Some(pod) = self.hosts.all[host].pods.get_mut(uid) {
                pod.starting = false;
            }
            return;
        }
        let name = pod.name.clone();
        let volume = pod.volume.or_else(|| self.volume_for(&name, host));
        let usable = volume.filter(|at| self.usable(*at, host));
        let Some(volume) = usable else {
            // Not attached yet, or another process has it.
            let event = Event::ContainerStarts {
                host,
                uid: uid.to_owned(),
                serial,
            };
            self.schedule(SECOND, event);
            return;
        };
        self.start_process(host, uid, volume);
        let after = self.rng.between(10 * MS, 600 * MS);
        self.wake_kubelet(host, after);
    }

    fn usable(&self, volume: usize, host: usize) -> bool {
        let kept = &self.volumes[volume];
        let here = kept.host.is_none_or(|only| only == host);
        let busy = self.running().any(|(_, process)| process.volume == volume);
        here && !busy && !kept.gone
    }

    /// The volume of the claim, made when it is first used.
    fn volume_for(&mut self, name: &str, host: usize) -> Option<usize> {
        let claim = self.api.objects.claims.get(name)?;
        if let Some(volume) = claim.volume {
            return Some(volume);
        }
        let uid = claim.uid.clone();
        let at = self.volumes.len();
        let bound = self.profile.local_volumes.then_some(host);
        let id = NodeId::new(name, format!("{:016x}", self.rng.draw()));
        self.volumes.push(Volume::new(id, bound));
        self.api.bind_claim(name, &uid, at, bound);
        self.objects_changed();
        Some(at)
    }

    fn start_process(&mut self, host: usize, uid: &str, volume: usize) {
        self.runs += 1;
        let run = self.runs;
        let clock = self.hosts.all[host].clock;
        let cluster_id = self.profile.cluster_id.clone();
        let (now, mutant) = (self.now, self.mutant);
        let pod = self.hosts.all[host]
            .pods
            .get_mut(uid)
            .expect("looked up by the caller");
        pod.starting = false;
        pod.volume = Some(volume);
        pod.serial += 1;
        pod.started = now;
        let place = Place {
            run,
            pod_uid: uid.to_owned(),
            ip: pod.ip,
            host,
            volume,
            clock,
        };
        let process = Process::start(place, &self.volumes[volume], &cluster_id, now, mutant);
        let slot = self
            .procs
            .iter()
            .position(Option::is_none)
            .unwrap_or_else(|| {
                self.procs.push(None);
                self.procs.len() - 1
            });
        self.procs[slot] = Some(Box::new(process));
        let proc = ProcRef { slot, run };
        let pod = self.hosts.all[host]
            .pods
            .get_mut(uid)
            .expect("looked up above");
        pod.proc = Some(proc);
        let name = pod.name.clone();
        self.note(|| format!("{name} starts as run {run} on host {host}"));
        self.process_begins(proc);
    }

    /// The place of a volume that is given up gets an empty one under a new identity.
    pub fn renew_volume(&mut self, at: usize) {
        let id = format!("{:016x}", self.rng.draw());
        let volume = &mut self.volumes[at];
        let node = NodeId::new(volume.node.name.clone(), id);
        let peers = volume.durable.peers.clone();
        let host = volume.host;
        let old = std::mem::replace(volume, Volume::new(node, host));
        volume.durable.peers = peers;
        self.history.retired.insert(old.node);
    }
}
