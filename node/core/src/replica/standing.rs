//! What a run of the process may lead (V3).
//!
//! Primacy belongs to a run. A run that stored a view did not thereby write nothing in its epoch before:
//! an earlier run may have led it, on a volume that was put back since. In a view in which something can
//! be acknowledged that would lose writes, so such a view is led only by whoever came to it from the one
//! before.

use crate::view::View;

use super::{Doubt, Fault, Replica, Role};

/// What this run is to the stored view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// An earlier run stored it.
    Inherited,
    /// This run stored it, and may lead if it is named.
    Own,
    /// This run stored it and is named, but did not lead the epoch before, and writes could be
    /// acknowledged at once: an earlier run may have done that already.
    NotLedBefore,
}

impl Replica {
    /// What this run will be to `next`, which it has just stored.
    pub(super) fn standing_in(&self, next: &View) -> Standing {
        let led = matches!(self.role, Role::Primary(_));
        let comes_from_before = led && self.epoch().next() == next.epoch;
        let risks = next.primary == self.node && next.can_acknowledge();
        if risks && !comes_from_before && !self.has(Fault::LeadUnseenView) {
            Standing::NotLedBefore
        } else {
            Standing::Own
        }
    }

    /// Whether this run may lead the stored view, if that names this node.
    pub(super) fn may_lead(&self) -> bool {
        self.standing == Standing::Own || self.has(Fault::ResumeInSameEpoch)
    }

    /// Why this run does not lead although it has stored the view. A later view ends that.
    pub(super) fn doubt_of_standing(&self) -> Option<Doubt> {
        let view = self.view.as_ref()?;
        (self.standing == Standing::NotLedBefore)
            .then_some(Doubt::NotLedBefore { epoch: view.epoch })
    }
}
