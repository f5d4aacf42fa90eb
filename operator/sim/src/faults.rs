//! What goes wrong, and for how long. Often one thing follows another within moments, so that faults
//! meet transitions that are under way.

use standby_core::replica::RoleKind;

use crate::disk::Health;
use crate::profile::Profile;
use crate::time::{MS, SECOND, Time};
use crate::world::{Event, ProcRef, World};

/// Operators act on what they saw, for so long. A second volume is lost only after that.
const BETWEEN_VOLUMES: Time = 2 * SECOND;

/// Something that is put right, or goes on, at a planned time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Power returns to a host.
    HostReturns(usize),
    /// Links between two sites are as they should be.
    LinkHeals(usize, usize),
    /// A site reaches all others again.
    SiteHeals(usize),
    /// The API server serves again.
    ApiServes,
    /// The API server is quick again.
    ApiQuick,
    /// Watches bring news again.
    WatchesFlow,
    /// A volume works well again.
    DiskHeals(usize),
}

/// Faults in force.
#[derive(Debug)]
pub struct Faults {
    /// New ones are drawn.
    pub active: bool,
    every: Time,
    /// When a volume was last lost.
    pub volume_at: Time,
    /// No fault may meet what was begun, until then.
    pub calm_until: Time,
}

impl Faults {
    /// None yet.
    #[must_use]
    pub fn new(profile: &Profile) -> Self {
        Self {
            active: false,
            every: profile.fault_every,
            volume_at: 0,
            calm_until: 0,
        }
    }
}

impl World {
    /// Faults begin.
    pub fn storm_begins(&mut self) {
        self.faults.active = true;
        let after = self.rng.below(self.faults.every);
        self.schedule(after, Event::DrawFault);
    }

    /// Everything that can be put right is.
    pub fn storm_ends(&mut self) {
        self.note(|| "the faults end".into());
        self.faults.active = false;
        self.calm();
    }

    fn calm(&mut self) {
        self.net.heal();
        for host in 0..self.hosts.all.len() {
            self.host_returns(host);
        }
        self.api.up = true;
        self.api.hung = false;
        self.api.slow = 0;
        self.api.watches_stuck = false;
        for volume in 0..self.volumes.len() {
            self.disk_heals(volume);
        }
        let now = self.now;
        for operator in &mut self.operators {
            operator.paused_until = operator.paused_until.min(now);
        }
        for process in self.procs.iter_mut().flatten() {
            process.paused_until = process.paused_until.min(now);
        }
        for which in 0..self.operators.len() {
            if !self.operators[which].up {
                self.schedule(SECOND, Event::OperatorStarts(which));
            }
        }
    }

    /// Something is put right.
    pub(crate) fn fault(&mut self, fault: Fault) {
        self.note(|| format!("{fault:?}"));
        match fault {
            Fault::HostReturns(host) => self.host_returns(host),
            Fault::LinkHeals(one, other) => {
                for (from, to) in [(one, other), (other, one)] {
                    self.net.set_cut(from, to, false);
                    self.net.set_loss(from, to, 0);
                    self.net.set_slow(from, to, 0);
                }
            }
            Fault::SiteHeals(site) => {
                for other in 0..=self.client_site() {
                    self.net.set_cut(site, other, false);
                    self.net.set_cut(other, site, false);
                }
            }
            Fault::ApiServes => {
                self.api.up = true;
                self.api.hung = false;
            }
            Fault::ApiQuick => self.api.slow = 0,
            Fault::WatchesFlow => self.api.watches_stuck = false,
            Fault::DiskHeals(volume) => self.disk_heals(volume),
        }
    }

    fn disk_heals(&mut self, at: usize) {
        let volume = &mut self.volumes[at];
        volume.health = Health::Good;
        volume.full = false;
        volume.fails = false;
        let user = self
            .running()
            .find(|(_, process)| process.volume == at)
            .map(|(proc, _)| proc);
        if let Some(proc) = user {
            self.disk_begins(proc);
        }
    }

    /// The process that leads in the recorded view.
    #[must_use]
    pub fn leader(&self) -> Option<ProcRef> {
        let view = self.api.newest()?;
        self.running()
            .find(|(_, process)| process.node == view.primary)
            .map(|(proc, _)| proc)
    }

    fn standby(&mut self) -> Option<ProcRef> {
        let view = self.api.newest()?;
        self.running()
            .find(|(_, process)| view.synchronous.contains(&process.node))
            .map(|(proc, _)| proc)
    }

    /// A process: often the one where it hurts.
    fn victim(&mut self) -> Option<ProcRef> {
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

    fn host_of(&self, proc: Option<ProcRef>) -> Option<usize> {
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
                self.tell_fault("pause");
                let span = self.rng.between(100 * MS, 6 * SECOND);
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
            _ => {
                let Some(host) = self.host_of(Some(proc)) else {
                    return;
                };
                self.tell_fault("host dies");
                self.host_dies(host);
                let span = self.span();
                self.schedule(span, Event::Fault(Fault::HostReturns(host)));
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
        match self.rng.below(10) {
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
            _ => {
                self.tell_fault("watches stuck");
                self.api.watches_stuck = true;
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
                self.tell_fault("operator pause");
                let span = self.rng.between(200 * MS, 10 * SECOND);
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
        match self.rng.below(10) {
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
            _ => {
                self.tell_fault("disk full");
                self.volumes[at].full = true;
            }
        }
        self.schedule(span, Event::Fault(Fault::DiskHeals(at)));
    }

    /// Whether this volume may be lost now: of those that hold everything one must stay.
    fn may_lose(&self, at: usize) -> bool {
        let Some(view) = self.api.newest() else {
            return false;
        };
        if self.now < self.faults.volume_at + BETWEEN_VOLUMES {
            return false;
        }
        if !view.complete.contains(&self.volumes[at].node) {
            return true;
        }
        let sound = |node: &standby_core::NodeId| {
            let mut volumes = self.volumes.iter();
            volumes.any(|volume| volume.node == *node && volume.sound())
        };
        // Whoever may go on alone promises nothing when the only complete volume is lost.
        let others = view.complete.iter().filter(|node| sound(node)).count();
        !self.profile.available && others >= 2
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
            4..5 => {
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

    fn delete_pod_object(&mut self, name: &str, uid: &str) {
        if self.api.up {
            self.people_delete_pod(name, uid);
        }
    }

    /// The disk under a node is replaced by an empty one.
    fn lose_volume(&mut self, proc: ProcRef, at: usize, name: &str) {
        self.note(|| format!("the volume of {name} is lost"));
        self.report.volumes_lost += 1;
        self.process_ends(proc, "its volume is gone");
        self.renew_volume(at);
    }

    /// Volumes are copied, put back to an earlier copy, or damaged.
    fn fault_of_a_volume(&mut self) {
        match self.rng.below(10) {
            0..3 => {
                for volume in &mut self.volumes {
                    if volume.sound() {
                        volume.backup = Some(Box::new(volume.durable.clone()));
                    }
                }
            }
            3..7 => self.roll_back(),
            _ => self.damage(),
        }
    }

    /// The volume of a synchronous node is put back to an earlier state, while its primary lives, who
    /// remembers what it acknowledged (V11).
    fn roll_back(&mut self) {
        let (Some(standby), Some(leader)) = (self.standby(), self.leader()) else {
            return;
        };
        let (Some(process), Some(primary)) = (self.proc(standby), self.proc(leader)) else {
            return;
        };
        let at = process.volume;
        let volume = &self.volumes[at];
        let behind = volume
            .backup
            .as_ref()
            .is_some_and(|backup| backup.log.last().index < primary.replica.commit());
        let able = primary.replica.serves() && primary.paused_until <= self.now;
        if !(behind && able && volume.sound() && self.may_lose(at)) {
            return;
        }
        self.tell_fault("volume rolled back");
        self.faults.volume_at = self.now;
        self.faults.calm_until = self.now + 8 * SECOND;
        self.calm();
        self.process_ends(standby, "its volume is put back");
        let volume = &mut self.volumes[at];
        if let Some(backup) = volume.backup.take() {
            volume.durable = *backup;
            volume.spoiled = true;
        }
        self.start_soon(at);
    }

    /// Sectors of the log turn out to be damaged at the next start.
    fn damage(&mut self) {
        let Some(proc) = self.victim() else { return };
        let Some(at) = self.proc(proc).map(|process| process.volume) else {
            return;
        };
        if !self.may_lose(at) || !self.volumes[at].sound() {
            return;
        }
        let kind = if self.rng.permille(500) {
            "bit flip"
        } else {
            "misdirected write"
        };
        self.tell_fault(kind);
        self.faults.volume_at = self.now;
        self.process_ends(proc, "its log is damaged");
        let volume = &mut self.volumes[at];
        let len = volume.durable.log.entries.len();
        if len == 0 {
            return;
        }
        let keep = self.rng.index(len);
        volume.durable.log.entries.truncate(keep);
        let last = volume.durable.log.last();
        if volume.durable.applied.index > last.index {
            // What the state shows was committed; the log goes on behind it.
            volume.durable.log.base = volume.durable.applied;
            volume.durable.log.entries.clear();
        }
        volume.spoiled = true;
        volume.damage = Some(format!("{kind} in entry {}", keep + 1));
    }

    /// The API server's store is put back to an earlier state, or the view object is lost (V10). The
    /// nodes must be reachable: which view they live by can only be learnt from them.
    fn restore_the_api(&mut self) {
        let copy = self.api.backup.is_none() || self.rng.permille(400);
        if copy {
            self.api.backup = Some(self.api.objects.clone());
            return;
        }
        let whole = self.api.newest().is_some_and(|view| {
            view.complete.iter().all(|node| {
                let mut running = self.running();
                running.any(|(_, process)| process.node == *node)
            })
        });
        if !whole || self.running().count() < self.wanted() || self.api.objects.view.is_none() {
            return;
        }
        let Some(backup) = self.api.backup.take() else {
            return;
        };
        let lost = backup.view.is_none() || self.rng.permille(200);
        let versions_too = self.rng.permille(500);
        self.tell_fault(if lost {
            "view object lost"
        } else {
            "API server restored"
        });
        self.faults.calm_until = self.now + 15 * SECOND;
        self.calm();
        self.api.restore(&backup, lost, versions_too);
        self.objects_changed();
    }

    /// A volume that was put back has since been given everything again.
    pub fn look_at_spoiled(&mut self) {
        let Some(position) = self.history.acknowledged else {
            return;
        };
        for volume in &mut self.volumes {
            let log = &volume.durable.log;
            let whole = log.epoch_at(position.index) == Some(position.epoch);
            if volume.spoiled && volume.damage.is_none() && whole {
                volume.spoiled = false;
            }
        }
    }

    /// Notes a fault.
    pub fn tell_fault(&mut self, kind: &str) {
        self.note(|| format!("fault: {kind}"));
        self.report.fault(kind);
    }

    /// Whether a node believes to lead.
    #[must_use]
    pub fn believes_to_lead(&self, proc: ProcRef) -> bool {
        self.proc(proc)
            .is_some_and(|process| process.replica.role_kind() == RoleKind::Primary)
    }
}
