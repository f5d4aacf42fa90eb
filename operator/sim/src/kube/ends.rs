//! Ends: of a process, of a host's power; and what the kubelet begins anew.

use crate::disk::Health;
use crate::net::End;
use crate::time::{MS, SECOND, Time};
use crate::world::{Event, ProcRef, World};

/// A container that ran for so long has no back-off.
const BACK_OFF_FORGOTTEN: Time = 60 * SECOND;

impl World {
    /// A process ends; its host lives. The kubelet notices and starts another container.
    pub fn process_ends(&mut self, proc: ProcRef, why: &str) {
        let Some(host) = self.proc(proc).map(|process| process.host) else {
            return;
        };
        self.close_all_of(End::Node(proc));
        self.reset_clients(proc);
        // What the engine has written the host keeps, whatever of it that is.
        if self.rng.permille(500) {
            self.state_is_kept(proc);
        }
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

    /// The state of a process that ends while its host stays is there at the next start, as far as its log
    /// is: nobody has to apply it again.
    pub(crate) fn state_is_kept(&mut self, proc: ProcRef) {
        let Some(process) = self.proc(proc) else {
            return;
        };
        let (at, position) = (process.volume, process.applied());
        let durable = &self.volumes[at].durable;
        if process.replica.takes_in_snapshot()
            || self.volumes[at].health == Health::Hung
            || durable.log.epoch_at(position.index) != Some(position.epoch)
        {
            return;
        }
        let engine = process.engine.content();
        let durable = &mut self.volumes[at].durable;
        durable.engine = engine;
        durable.applied = position;
    }

    /// Takes a process out of the world: what its disk had under way is lost.
    fn take_process(&mut self, proc: ProcRef, why: &str) -> Option<String> {
        self.proc(proc)?;
        let process = self.procs[proc.slot].take()?;
        self.note(|| format!("{} run {} ends: {why}", process.node.name, proc.run));
        if self.volumes[process.volume].crash(&mut self.rng) {
            self.report.fault("torn write");
        }
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
}
