//! Faults that lie in wait for a transition: as soon as an operator says that a cluster is in some state,
//! one to three things happen within moments, before it can have gone on.

use standby_api::names;
use standby_operator_core::plan::Phase;

use super::Fault;
use crate::disk::Health;
use crate::time::{MS, SECOND, Time};
use crate::world::{Event, ProcRef, World};

/// The states that are waited for.
const WAITED_FOR: [Phase; 18] = [
    Phase::Adopting,
    Phase::Establishing,
    Phase::ReplacingSynchronous,
    Phase::EndingPromise,
    Phase::PreparingHandover,
    Phase::PreparingHandover,
    Phase::PreparingHandover,
    Phase::PreparingHandover,
    Phase::HandingOver,
    Phase::HandingOver,
    Phase::HandingOver,
    Phase::HandingOver,
    Phase::GaveUp,
    Phase::Suspected,
    Phase::HeldBack,
    Phase::FailingOver,
    Phase::Starting,
    Phase::Hibernating,
];

/// What happens in the middle of a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// Whatever chance brings.
    Any,
    /// The primary's process ends.
    Primary,
    /// A synchronous node's process ends.
    Standby,
    /// The operator that leads ends.
    Operator,
    /// What the leading operator says does not reach the primary; what the primary says is heard.
    OrdersLost,
    /// The primary's process is stopped for a moment.
    PrimaryStops,
    /// The pod of a synchronous node is deleted.
    StandbyLeaves,
    /// The disk of the node that a switchover was ordered to hangs.
    TargetHangs,
    /// The process of that node ends.
    Target,
    /// A node that does not lead ends.
    Node,
    /// The API server refuses to serve for so long.
    ApiRefuses(Time),
    /// People take their order for a switchover back.
    OrderWithdrawn,
    /// People want a cluster that is put to sleep to wake.
    Wake,
}

impl World {
    /// What is waited for next, if anything.
    pub(super) fn lie_in_wait(&mut self) {
        let waits = self.rng.permille(700);
        let at = self.rng.index(WAITED_FOR.len());
        self.faults.ambush = waits.then_some(WAITED_FOR[at]);
    }

    /// An operator came to see the cluster in this state.
    pub fn phase_begins(&mut self, phase: Phase) {
        let waited_for = self.faults.ambush == Some(phase);
        if !waited_for || self.now < self.faults.calm_until {
            return;
        }
        self.faults.ambush = None;
        let strikes = self.strikes(phase);
        self.tell_fault(match strikes.len() {
            1 => "one in a transition",
            2 => "two in a transition",
            _ => "three in a transition",
        });
        for (after, strike) in strikes {
            if after == 0 {
                self.strike(strike);
            } else {
                self.schedule(after, Event::Fault(Fault::Strikes(strike)));
            }
        }
    }

    /// One to three strikes: those that this state is vulnerable to, or whatever chance brings.
    fn strikes(&mut self, phase: Phase) -> Vec<(Time, Strike)> {
        let soon = self.rng.between(MS, 40 * MS);
        let later = soon + self.rng.between(MS, 900 * MS);
        let apt = self.rng.permille(650);
        match phase {
            Phase::PreparingHandover if apt => match self.rng.below(4) {
                0 => vec![(0, Strike::Target)],
                1 => vec![(0, Strike::Target), (soon, Strike::OrderWithdrawn)],
                2 => vec![(0, Strike::OrdersLost), (soon, Strike::OrderWithdrawn)],
                _ => vec![
                    (0, Strike::TargetHangs),
                    (soon, Strike::Operator),
                    (later, Strike::Primary),
                ],
            },
            Phase::HandingOver if apt => match self.rng.below(4) {
                0 => vec![(0, Strike::OrdersLost), (soon, Strike::StandbyLeaves)],
                3 => vec![(0, Strike::PrimaryStops), (MS, Strike::StandbyLeaves)],
                1 => vec![(soon, Strike::Standby), (later, Strike::Operator)],
                _ => vec![
                    (0, Strike::OrdersLost),
                    (soon, Strike::Primary),
                    (later, Strike::Operator),
                ],
            },
            Phase::Hibernating if apt => {
                let wake = self.rng.between(100 * MS, 14 * SECOND);
                match self.rng.below(2) {
                    0 => vec![(wake, Strike::Wake)],
                    _ => vec![(soon, Strike::Any), (wake, Strike::Wake)],
                }
            }
            Phase::FirstView => {
                // The record fails, and when the API server serves again a node is not heard.
                let serves = self.rng.between(150 * MS, 500 * MS);
                vec![
                    (0, Strike::ApiRefuses(serves)),
                    (serves - 20 * MS, Strike::Node),
                ]
            }
            _ => {
                let first = *[
                    Strike::Any,
                    Strike::Primary,
                    Strike::Standby,
                    Strike::Operator,
                ]
                .get(self.rng.index(4))
                .expect("one of four");
                let mut strikes = vec![(soon, first)];
                let more = self.rng.below(3);
                for at in 0..more {
                    let after = later + at * self.rng.between(MS, 700 * MS);
                    strikes.push((after, Strike::Any));
                }
                strikes
            }
        }
    }

    /// Something happens in the middle of a transition.
    pub(super) fn strike(&mut self, strike: Strike) {
        let over = !self.faults.active && self.faults.storms > 0;
        if over || self.now < self.faults.calm_until {
            return;
        }
        self.note(|| format!("in the middle of it: {strike:?}"));
        match strike {
            Strike::Any if self.faults.active => self.fault_of_any_kind(),
            Strike::Any => {}
            Strike::Primary => self.ends_by_strike(self.leader()),
            Strike::Standby => self.ends_by_strike(self.standby()),
            Strike::Node => {
                let leader = self.leader();
                let others = self.running().map(|(proc, _)| proc);
                let other = others.filter(|proc| Some(*proc) != leader).last();
                self.ends_by_strike(other);
            }
            Strike::Operator => {
                if let Some(which) = self.leading_operator() {
                    self.tell_fault("operator crash");
                    let again = self.rng.between(SECOND, 4 * SECOND);
                    self.operator_dies(which, Some(again));
                }
            }
            Strike::OrdersLost => self.orders_are_lost(),
            Strike::PrimaryStops => {
                let until = self.now + self.rng.between(300 * MS, 3 * SECOND);
                let leader = self.leader();
                if let Some(process) = leader.and_then(|proc| self.proc_mut(proc)) {
                    process.paused_until = process.paused_until.max(until);
                    self.tell_fault("pause");
                }
            }
            Strike::StandbyLeaves => self.standby_leaves(),
            Strike::TargetHangs => self.target_hangs(),
            Strike::Target => {
                let target = self.target();
                self.ends_by_strike(target);
            }
            Strike::ApiRefuses(serves) => {
                self.tell_fault("API server refuses");
                self.api.up = false;
                self.schedule(serves, Event::Fault(Fault::ApiServes));
            }
            Strike::OrderWithdrawn => self.withdraw(names::ANNOTATION_SWITCHOVER),
            Strike::Wake => self.sleeps(false),
        }
    }

    fn ends_by_strike(&mut self, proc: Option<ProcRef>) {
        if let Some(proc) = proc {
            self.tell_fault("crash");
            self.process_ends(proc, "it crashed in the middle of a transition");
        }
    }

    fn orders_are_lost(&mut self) {
        let from = self
            .leading_operator()
            .map(|which| self.operators[which].host);
        let (Some(from), Some(to)) = (from, self.host_of(self.leader())) else {
            return;
        };
        if from == to {
            return;
        }
        self.tell_fault("one-way partition");
        self.net.set_cut(from, to, true);
        let span = self.rng.between(SECOND, 8 * SECOND);
        self.schedule(span, Event::Fault(Fault::LinkHeals(from, to)));
    }

    fn standby_leaves(&mut self) {
        let standby = self.standby().and_then(|proc| self.proc(proc));
        let pod = standby.map(|process| (process.node.name.clone(), process.pod_uid.clone()));
        let Some((name, uid)) = pod.filter(|_| self.api.up) else {
            return;
        };
        self.tell_fault("pod deleted");
        self.people_delete_pod(&name, &uid);
    }

    /// The node that a switchover was ordered to.
    fn target(&self) -> Option<ProcRef> {
        let cluster = &self.api.objects.cluster;
        let orders = cluster.metadata.annotations.as_ref()?;
        let order = orders.get(names::ANNOTATION_SWITCHOVER)?;
        let name = order.split('@').next()?;
        let mut running = self.running();
        let found = running.find(|(_, process)| process.node.name == name);
        found.map(|(proc, _)| proc)
    }

    fn target_hangs(&mut self) {
        let target = self.target().and_then(|proc| self.proc(proc));
        let Some(at) = target.map(|process| process.volume) else {
            return;
        };
        self.tell_fault("hung disk");
        self.volumes[at].health = Health::Hung;
        let span = self.rng.between(500 * MS, 8 * SECOND);
        self.schedule(span, Event::Fault(Fault::DiskHeals(at)));
    }
}
