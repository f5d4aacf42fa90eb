//! Linearizable reads: answered under a lease, or after a round trip to those who grant it (V5).

use crate::ids::Micros;

use super::{Fault, Output, ReadTicket, Replica, Role};

impl Replica {
    /// Until when linearizable reads may be answered without asking anybody, at the commit index; zero
    /// when they may not (V5).
    #[must_use]
    pub fn read_lease(&self) -> Micros {
        let none = Micros(0);
        let (Role::Primary(primary), Some(view)) = (&self.role, &self.view) else {
            return none;
        };
        if primary.stepped_down
            || self.storing.is_some()
            || self.is_conflicted()
            || !view.can_acknowledge()
            || primary.serving_since.is_none()
        {
            return none;
        }
        let granted = |node| primary.leases.get(node).copied().unwrap_or(none);
        let granters = if self.has(Fault::LeaseBySynchronousOnly) {
            &view.synchronous
        } else {
            &primary.wait_for
        };
        granters
            .iter()
            .map(granted)
            .min()
            .unwrap_or(Micros(u64::MAX))
    }

    pub(super) fn on_read(&mut self, ticket: ReadTicket) {
        let lease = self.read_lease();
        let now = self.now;
        match &mut self.role {
            Role::Primary(primary) if !primary.stepped_down => {
                if now >= lease {
                    // Ask at once rather than at the next heartbeat.
                    primary.heartbeat_due = primary.heartbeat_due.min(now);
                }
                primary.reads.insert(ticket);
            }
            _ => self.outputs.push(Output::ReadRefused(ticket)),
        }
    }

    pub(super) fn answer_reads(&mut self) {
        if self.now >= self.read_lease() {
            return;
        }
        let commit = self.commit;
        let Role::Primary(primary) = &mut self.role else {
            return;
        };
        let ready = std::mem::take(&mut primary.reads);
        self.outputs.extend(
            ready
                .into_iter()
                .map(|ticket| Output::ReadReady(ticket, commit)),
        );
    }
}
