//! Machines and their kubelets, the scheduler, the node controller: as much of Kubernetes as carries
//! pods, each late in its own way.

use std::collections::BTreeMap;

use standby_core::NodeId;

use crate::disk::Volume;
use crate::net::End;
use crate::profile::Profile;
use crate::rng::Rng;
use crate::time::{Clock, MS, SECOND, Time};
use crate::world::{Event, Place, ProcRef, Process, World};

/// A host that the control plane has not heard of for so long is not ready.
const NOT_READY_AFTER: Time = 40 * SECOND;
/// Pods of a host that has not been ready for so long are deleted.
const EVICT_AFTER: Time = 300 * SECOND;
/// How often the control plane looks at its hosts.
const HOST_CHECK_EVERY: Time = 5 * SECOND;
/// A pod that is told to end gets so long.
const GRACE: Time = 30 * SECOND;
/// How long a node that leads waits to be relieved when it is told to end.
const HAND_OVER: Time = 10 * SECOND;
/// A container that ran for so long has no back-off.
const BACK_OFF_FORGOTTEN: Time = 60 * SECOND;

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

    /// A process ends; its host lives. The kubelet notices and starts another container.
    pub fn process_ends(&mut self, proc: ProcRef, why: &str) {
        let Some(host) = self.proc(proc).map(|process| process.host) else {
            return;
        };
        self.close_all_of(End::Node(proc));
        self.reset_clients(proc);
        let Some(uid) = self.take_process(proc, why) else {
            return;
        };
        let back_off = self.profile.back_off;
        let Some(pod) = self.hosts.all[host].pods.get_mut(&uid) else {
            return;
        };
        if self.now - pod.started >= BACK_OFF_FORGOTTEN {
            pod.failures = 0;
        }
        pod.failures += 1;
        let pause = if pod.failures <= 1 {
            300 * MS
        } else {
            (SECOND << (pod.failures - 1).min(8)).min(back_off)
        };
        let pause = pause + self.rng.below(700 * MS);
        self.plan_container(host, &uid, pause);
        let after = self.rng.between(10 * MS, 1_000 * MS);
        self.wake_kubelet(host, after);
    }

    /// Takes a process out of the world: what its disk had under way is lost.
    fn take_process(&mut self, proc: ProcRef, why: &str) -> Option<String> {
        self.proc(proc)?;
        let process = self.procs[proc.slot].take()?;
        self.note(|| format!("{} run {} ends: {why}", process.node.name, proc.run));
        self.volumes[process.volume].crash(&mut self.rng);
        self.report.process_ends += 1;
        let pod = self.hosts.all[process.host]
            .pods
            .get_mut(&process.pod_uid)?;
        pod.proc = None;
        pod.ended = Some((pod.serial, why.to_owned()));
        Some(process.pod_uid)
    }

    /// Power fails on a host.
    pub fn host_dies(&mut self, host: usize) {
        if !self.hosts.all[host].up {
            return;
        }
        self.note(|| format!("host {host} dies"));
        self.hosts.all[host].up = false;
        self.net.dark[host] = true;
        let here: Vec<ProcRef> = self
            .running()
            .filter(|(_, process)| process.host == host)
            .map(|(proc, _)| proc)
            .collect();
        for proc in here {
            self.take_process(proc, "its host died");
        }
        for which in 0..self.operators.len() {
            if self.operators[which].host == host {
                self.operator_dies(which, None);
            }
        }
    }

    /// Power returns.
    pub fn host_returns(&mut self, host: usize) {
        if self.hosts.all[host].up || self.hosts.all[host].lost {
            return;
        }
        self.note(|| format!("host {host} returns"));
        let there = &mut self.hosts.all[host];
        there.up = true;
        there.planned = false;
        self.net.dark[host] = false;
        let uids: Vec<String> = there.pods.keys().cloned().collect();
        for uid in uids {
            let pod = self.hosts.all[host]
                .pods
                .get_mut(&uid)
                .expect("just listed");
            pod.starting = false;
            pod.failures = 0;
            let after = self.rng.between(500 * MS, 4 * SECOND);
            self.plan_container(host, &uid, after);
        }
        self.wake_kubelet(host, SECOND);
        for which in 0..self.operators.len() {
            if self.operators[which].host == host && !self.operators[which].up {
                self.schedule(2 * SECOND, Event::OperatorStarts(which));
            }
        }
    }

    /// The node controller: who is ready, whose pods are evicted, whose pods are collected.
    pub(crate) fn host_check(&mut self) {
        self.schedule(HOST_CHECK_EVERY, Event::HostCheck);
        if !self.api.up {
            return;
        }
        let mut changed = false;
        for host in 0..self.hosts.all.len() {
            if self.hears_api(host) {
                self.hosts.all[host].heard = self.now;
            }
            let silent = self.now - self.hosts.all[host].heard;
            let lost = self.hosts.all[host].lost;
            changed |= self.api.host_status(host, silent < NOT_READY_AFTER, !lost);
            if silent >= EVICT_AFTER {
                changed |= self.api.evict(host, self.now);
            }
        }
        if changed {
            self.objects_changed();
        }
        self.schedule_pods();
    }

    /// The scheduler: gives pods hosts.
    pub(crate) fn schedule_pods(&mut self) {
        if !self.api.up {
            return;
        }
        let mut placed = false;
        for name in self.api.unscheduled() {
            let bound = self
                .api
                .objects
                .claims
                .get(&name)
                .and_then(|claim| claim.host);
            let fit = |host: usize, api: &crate::api::Api| {
                api.host_ready(host) && bound.is_none_or(|only| only == host)
            };
            let mut best: Option<(usize, usize)> = None;
            for host in 0..self.hosts.all.len() {
                if !fit(host, &self.api) {
                    continue;
                }
                let here = self.api.pods_on(host);
                if best.is_none_or(|(least, _)| here < least) {
                    best = Some((here, host));
                }
            }
            if let Some((_, host)) = best {
                self.api.bind_pod(&name, host);
                placed = true;
            }
        }
        if placed {
            self.objects_changed();
        }
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
