//! Leader election, as `operator/src/election.rs` carries it out.

use standby_operator_core::lease::{LeaseTimes, Verdict, evaluate};

use super::{Actor, OperatorEvent};
use crate::api::{Ask, Purpose, Response};
use crate::time::{MS, SECOND, Time};
use crate::world::World;

/// One read or write of the lease.
const CALL: Time = 900 * MS;

impl World {
    pub(super) fn election_turn(&mut self, which: usize) {
        if self.operators[which].election.renewed.is_none() {
            self.call(which, Purpose::Look, Ask::ReadLease, CALL);
        } else {
            self.elect(which);
        }
    }

    /// Decides, and writes where that is due.
    fn elect(&mut self, which: usize) {
        let now = self.operator_now(which);
        let operator = &self.operators[which];
        match evaluate(
            &operator.election,
            &operator.name,
            &LeaseTimes::default(),
            now,
        ) {
            Verdict::Lost => self.leadership_lost(which),
            Verdict::Lead { wait } | Verdict::Follow { wait } => {
                self.operator_later(which, wait.0, OperatorEvent::Election);
            }
            Verdict::Acquire | Verdict::Renew => {
                let over = operator.lease_version;
                let ask = Ask::WriteLease(over, operator.name.clone());
                self.call(which, Purpose::Elect(now), ask, CALL);
            }
        }
    }

    fn leadership_lost(&mut self, which: usize) {
        self.report.leaders_lost += 1;
        let again = self.rng.between(SECOND, 3 * SECOND);
        self.operator_dies(which, Some(again));
    }

    pub(super) fn election_answered(&mut self, which: usize, purpose: Purpose, answer: Response) {
        let now = self.operator_now(which);
        let times = LeaseTimes::default();
        let operator = &mut self.operators[which];
        let name = operator.name.clone();
        match (purpose, answer) {
            (Purpose::Look, Response::Lease(lease)) => {
                operator.lease_version = lease.as_ref().map(|(_, version)| *version);
                if let Some((holder, version)) = lease {
                    operator.election.saw(&holder, &version.to_string(), now);
                }
                return self.elect(which);
            }
            (Purpose::Elect(sent), Response::Written(version)) => {
                operator
                    .election
                    .wrote(&name, &version.to_string(), sent, now);
                operator.lease_version = Some(version);
                if !operator.leading {
                    operator.leading = true;
                    operator.actor = Some(Box::new(Actor::new()));
                    self.note(|| format!("operator {which} leads"));
                    self.report.leaders += 1;
                    self.wake(which);
                }
            }
            // Somebody else, or our own write whose answer was lost.
            (Purpose::Elect(_), Response::Conflict) if operator.election.renewed.is_some() => {
                self.call(which, Purpose::Look, Ask::ReadLease, CALL);
                return;
            }
            _ => {}
        }
        let operator = &self.operators[which];
        match evaluate(&operator.election, &name, &times, self.operator_now(which)) {
            Verdict::Lost => self.leadership_lost(which),
            Verdict::Lead { wait } => self.operator_later(which, wait.0, OperatorEvent::Election),
            _ => self.operator_later(which, times.retry_every.0, OperatorEvent::Election),
        }
    }
}
