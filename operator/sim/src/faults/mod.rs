//! What goes wrong, and for how long. Often one thing follows another within moments, so that faults
//! meet transitions that are under way.

mod ambush;
mod draw;
mod volumes;

pub use ambush::Strike;
use standby_operator_core::plan::Phase;

use crate::disk::Health;
use crate::profile::Profile;
use crate::time::{SECOND, Time};
use crate::world::{Event, ProcRef, World};

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
    /// Something happens in the middle of a transition.
    Strikes(Strike),
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
    /// The state in which the next faults strike.
    pub ambush: Option<Phase>,
    /// Storms so far.
    pub storms: u32,
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
            storms: 0,
            ambush: profile.disturbed_beginning.then_some(Phase::FirstView),
        }
    }
}

impl World {
    /// Faults begin.
    pub fn storm_begins(&mut self) {
        self.faults.active = true;
        self.faults.storms += 1;
        let after = self.rng.below(self.faults.every);
        self.schedule(after, Event::DrawFault);
        self.lie_in_wait();
    }

    /// Everything that can be put right is.
    pub fn storm_ends(&mut self) {
        self.note(|| "the faults end".into());
        self.faults.active = false;
        self.faults.ambush = None;
        self.calm();
    }

    /// Every link, host, disk and process works, and the API server serves.
    pub(crate) fn calm(&mut self) {
        self.net.heal();
        for host in 0..self.hosts.all.len() {
            self.host_returns(host);
        }
        self.api.up = true;
        self.api.hung = false;
        self.api.slow = 0;
        self.watches_flow();
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
        self.wake_up();
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
            Fault::WatchesFlow => self.watches_flow(),
            Fault::DiskHeals(volume) => self.disk_heals(volume),
            Fault::Strikes(strike) => self.strike(strike),
        }
    }

    pub(super) fn disk_heals(&mut self, at: usize) {
        let volume = &mut self.volumes[at];
        volume.health = Health::Good;
        volume.full = false;
        volume.fails = false;
        volume.tears = false;
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

    /// A process that is synchronous in it.
    #[must_use]
    pub fn standby(&self) -> Option<ProcRef> {
        let view = self.api.newest()?;
        self.running()
            .find(|(_, process)| view.synchronous.contains(&process.node))
            .map(|(proc, _)| proc)
    }

    /// The operator that believes to lead and runs.
    #[must_use]
    pub fn leading_operator(&self) -> Option<usize> {
        let leads = |operator: &crate::operator::Operator| operator.up && operator.leading;
        self.operators.iter().position(leads)
    }

    /// Notes a fault.
    pub fn tell_fault(&mut self, kind: &str) {
        self.note(|| format!("fault: {kind}"));
        self.report.fault(kind);
    }
}
