//! What goes wrong next: drawn by chance, often where it hurts.

use super::Fault;
use crate::api::Ask;
use crate::disk::Health;
use crate::time::{MS, SECOND, Time};
use crate::world::{Event, ProcRef, World};

impl World {
    /// A process: often the one where it hurts.
    pub(super) fn victim(&mut self) -> Option<ProcRef> {
        let leader = self.leader();
        let standby = self.standby();
        let all: Vec<ProcRef> = self.running().map(|(proc, _)| proc).collect();
        if all.is_empty() {
            return None;
        }
        let any = all[self.rng.index(all.len())];
        match self.rng.below(10) {
            0..5 => leader.or(Some(any)),
            5..7 => standby.or(Some(any)),
            _ => Some(any),
        }
    }

    /// Where a process runs.
    pub(super) fn host_of(&self, proc: Option<ProcRef>) -> Option<usize> {
        self.proc(proc?).map(|process| process.host)
    }

    fn site(&mut self) -> usize {
        self.rng.index(self.client_site() + 1)
    }

    /// For how long something lasts: mostly moments, sometimes long.
    fn span(&mut self) -> Time {
        match self.rng.below(10) {
            0..4 => self.rng.between(50 * MS, SECOND),
            4..8 => self.rng.between(SECOND, 8 * SECOND),
            _ => self.rng.between(8 * SECOND, 60 * SECOND),
        }
    }

    /// One fault, and the plan for the next.
    pub(crate) fn draw_fault(&mut self) {
        if !self.faults.active {
            return;
        }
        let soon = self.rng.permille(350);
        let after = if soon {
            self.rng.between(5 * MS, 900 * MS)
        } else {
            let every = self.faults.every;
            self.rng.between(every / 4, every * 2)
        };
        self.schedule(after, Event::DrawFault);
        if self.now < self.faults.calm_until {
            return;
        }
        let anew = if self.faults.ambush.is_none() {
            300
        } else {
            100
        };
        if self.rng.permille(anew) {
            self.lie_in_wait();
        }
        self.fault_of_any_kind();
    }

    pub(super) fn fault_of_any_kind(&mut self) {
        match self.rng.below(100) {
            0..36 => self.fault_of_a_process(),
            36..57 => self.fault_of_a_link(),
            57..70 => self.fault_of_the_api(),
            70..79 => self.fault_of_an_operator(),
            79..88 => self.fault_of_a_disk(),
            88..93 => self.fault_of_objects(),
            93..98 => self.fault_of_a_volume(),
            _ => self.restore_the_api(),
        }
    }

    fn fault_of_a_process(&mut self) {
        let Some(proc) = self.victim() else { return };
        match self.rng.below(20) {
            0..9 => {
                self.tell_fault("crash");
                self.process_ends(proc, "it crashed");
            }
            9..14 => {
                // Now and then longer than every lease and every patience there is.
                let long = self.rng.permille(150);
                self.tell_fault(if long { "long pause" } else { "pause" });
                let span = if long {
                    self.rng.between(10 * SECOND, 40 * SECOND)
                } else {
                    self.rng.between(100 * MS, 6 * SECOND)
                };
                let until = self.now + span;
                if let Some(process) = self.proc_mut(proc) {
                    process.paused_until = process.paused_until.max(until);
                }
            }
            14..16 => {
                self.tell_fault("all crash");
                let all: Vec<ProcRef> = self.running().map(|(proc, _)| proc).collect();
                for proc in all {
                    self.process_ends(proc, "all crash");
                }
            }
            kind => {
                let Some(host) = self.host_of(Some(proc)) else {
                    return;
                };
                let zone = self.hosts.all[host].zone;
                let whole = kind == 19 && self.rng.permille(300);
                self.tell_fault(if whole { "zone dies" } else { "host dies" });
                let span = self.span();
                for at in 0..self.hosts.all.len() {
                    if at == host || (whole && self.hosts.all[at].zone == zone) {
                        self.host_dies(at);
                        self.schedule(span, Event::Fault(Fault::HostReturns(at)));
                    }
                }
            }
        }
    }

    fn fault_of_a_link(&mut self) {
        let victim = self.victim();
        let one = self.host_of(victim).unwrap_or_else(|| self.site());
        let other = self.site();
        if one == other {
            return;
        }
        let span = self.span();
        let heals = match self.rng.below(12) {
            0..2 => {
                self.tell_fault("one-way partition");
                let (from, to) = if self.rng.permille(500) {
                    (one, other)
                } else {
                    (other, one)
                };
                self.net.set_cut(from, to, true);
                Fault::LinkHeals(one, other)
            }
            2..4 => {
                self.tell_fault("link cut");
                self.net.set_cut(one, other, true);
                self.net.set_cut(other, one, true);
                Fault::LinkHeals(one, other)
            }
            4..7 => {
                self.tell_fault("isolated");
                let with_clients = self.rng.permille(400);
                for site in 0..self.client_site() {
                    self.net.set_cut(one, site, true);
                    self.net.set_cut(site, one, true);
                }
                if with_clients {
                    let site = self.client_site();
                    self.net.set_cut(one, site, true);
                    self.net.set_cut(site, one, true);
                }
                Fault::SiteHeals(one)
            }
            7..9 => {
                self.tell_fault("lossy link");
                let loss = u16::try_from(self.rng.between(50, 3_000)).expect("small");
                self.net.set_loss(one, other, loss);
                self.net.set_loss(other, one, loss);
                Fault::LinkHeals(one, other)
            }
            9..11 => {
                self.tell_fault("slow link");
                let slow = self.rng.between(20 * MS, 700 * MS);
                self.net.set_slow(one, other, slow);
                self.net.set_slow(other, one, slow);
                Fault::LinkHeals(one, other)
            }
            _ => {
                self.tell_fault("clients cut off");
                let site = self.client_site();
                self.net.set_cut(one, site, true);
                self.net.set_cut(site, one, true);
                Fault::LinkHeals(one, site)
            }
        };
        self.schedule(span, Event::Fault(heals));
    }

    fn fault_of_the_api(&mut self) {
        let span = self.span();
        match self.rng.below(12) {
            0..3 => {
                self.tell_fault("API server refuses");
                self.api.up = false;
                self.schedule(span, Event::Fault(Fault::ApiServes));
            }
            3..5 => {
                self.tell_fault("API server hangs");
                self.api.up = false;
                self.api.hung = true;
                self.schedule(span, Event::Fault(Fault::ApiServes));
            }
            5..8 => {
                self.tell_fault("API server slow");
                self.api.slow = self.rng.between(50 * MS, 4 * SECOND);
                self.schedule(span, Event::Fault(Fault::ApiQuick));
            }
            8..10 => {
                self.tell_fault("API server restarts");
                self.api.up = false;
                self.api_restarts();
                let span = self.rng.between(300 * MS, 6 * SECOND);
                self.schedule(span, Event::Fault(Fault::ApiServes));
            }
            _ => {
                self.tell_fault("watches stuck");
                self.watches_stick();
                self.schedule(span, Event::Fault(Fault::WatchesFlow));
            }
        }
    }

    fn fault_of_an_operator(&mut self) {
        let leading = self.operators.iter().position(|operator| operator.leading);
        let drawn = self.rng.index(self.operators.len());
        let which = leading.filter(|_| self.rng.permille(700)).unwrap_or(drawn);
        match self.rng.below(10) {
            0..4 => {
                self.tell_fault("operator crash");
                let again = self.rng.between(SECOND, 4 * SECOND);
                self.operator_dies(which, Some(again));
            }
            4..7 => {
                let long = self.rng.permille(150);
                self.tell_fault(if long {
                    "long operator pause"
                } else {
                    "operator pause"
                });
                let most = if long { 60 } else { 10 };
                let span = self.rng.between(200 * MS, most * SECOND);
                self.operators[which].paused_until = self.now + span;
            }
            _ => {
                let leader = self.leader();
                let (Some(there), host) = (self.host_of(leader), self.operators[which].host) else {
                    return;
                };
                if there == host {
                    return;
                }
                self.tell_fault("operator cut from the primary");
                self.net.set_cut(host, there, true);
                self.net.set_cut(there, host, true);
                let span = self.span();
                self.schedule(span, Event::Fault(Fault::LinkHeals(host, there)));
            }
        }
    }

    fn fault_of_a_disk(&mut self) {
        let Some(proc) = self.victim() else { return };
        let Some(at) = self.proc(proc).map(|process| process.volume) else {
            return;
        };
        let span = self.span();
        match self.rng.below(12) {
            0..3 => {
                self.tell_fault("slow disk");
                let most = self.rng.between(10 * MS, 600 * MS);
                self.volumes[at].health = Health::Slow(most);
            }
            3..6 => {
                self.tell_fault("hung disk");
                self.volumes[at].health = Health::Hung;
            }
            6..8 => {
                self.volumes[at].fails = true;
            }
            8..10 => {
                self.volumes[at].tears = true;
            }
            _ => {
                self.tell_fault("disk full");
                self.volumes[at].full = true;
            }
        }
        self.schedule(span, Event::Fault(Fault::DiskHeals(at)));
    }

    fn fault_of_objects(&mut self) {
        let Some(proc) = self.victim() else { return };
        let Some(process) = self.proc(proc) else {
            return;
        };
        let (at, name, uid) = (
            process.volume,
            process.node.name.clone(),
            process.pod_uid.clone(),
        );
        match self.rng.below(10) {
            0..4 => {
                self.tell_fault("pod deleted");
                self.delete_pod_object(&name, &uid);
            }
            4 => self.force_delete(proc, &name, &uid),
            5 => {
                self.tell_fault("all pods deleted");
                let pods: Vec<(String, String)> = self
                    .api
                    .objects
                    .pods
                    .iter()
                    .map(|(name, pod)| (name.clone(), pod.uid.clone()))
                    .collect();
                for (name, uid) in pods {
                    self.delete_pod_object(&name, &uid);
                }
            }
            _ => {
                if !self.may_lose(at) || !self.api.up {
                    return;
                }
                self.tell_fault("volume lost");
                self.faults.volume_at = self.now;
                self.lose_volume(proc, at, &name);
            }
        }
    }

    /// The pod of a host that cannot be reached is removed by force: its process goes on, and nobody
    /// tells it.
    fn force_delete(&mut self, proc: ProcRef, name: &str, uid: &str) {
        let (Some(host), site) = (self.host_of(Some(proc)), self.api_site()) else {
            return;
        };
        if !self.api.up {
            return;
        }
        self.tell_fault("pod removed by force");
        self.net.set_cut(host, site, true);
        self.net.set_cut(site, host, true);
        let span = self.span();
        self.schedule(span, Event::Fault(Fault::LinkHeals(host, site)));
        self.by_hand(Ask::DeletePod(name.to_owned(), uid.to_owned(), true));
    }

    fn delete_pod_object(&mut self, name: &str, uid: &str) {
        if self.api.up {
            self.people_delete_pod(name, uid);
        }
    }
}
