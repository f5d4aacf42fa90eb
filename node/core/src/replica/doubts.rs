//! Reasons not to take part fully: which of them is reported, and what ends each.

use super::{Doubt, Fault, Replica};

impl Replica {
    pub(super) fn bars_primacy(&self) -> bool {
        !self.has(Fault::DamagedMayLead) && self.doubt.as_ref().is_some_and(Doubt::bars_primacy)
    }

    /// Whether two different views of the stored epoch were told (V10): then nothing is acknowledged,
    /// committed or granted in it. A later view ends that.
    pub(super) fn is_conflicted(&self) -> bool {
        self.conflict.is_some() && self.conflict == self.view.as_ref().map(|view| view.epoch)
    }

    /// The gravest doubt there is.
    pub(super) fn reported_doubt(&self) -> Option<Doubt> {
        let conflict = self.conflict.filter(|_| self.is_conflicted());
        let conflict = conflict.map(|epoch| Doubt::ConflictingView { epoch });
        let barring = self.doubt.clone().filter(Doubt::bars_primacy);
        barring
            .or(conflict)
            .or_else(|| self.doubt_of_standing())
            .or_else(|| self.doubt.clone())
    }

    /// Its own cluster's view was told, or nobody came with another one for long: whoever did was
    /// mistaken.
    pub(super) fn forgive_foreigner(&mut self) {
        if matches!(self.doubt, Some(Doubt::ForeignView { .. })) {
            self.doubt = None;
        }
    }

    /// Takes up a doubt. One that bars primacy is never covered by a lesser one: it ends only with the
    /// volume.
    pub(super) fn raise_doubt(&mut self, doubt: Doubt) {
        let stands = self.doubt.as_ref().is_some_and(Doubt::bars_primacy);
        if !stands {
            self.doubt = Some(doubt);
            self.doubted_at = self.now;
        }
    }

    /// What was said of one primary does not hold of the next.
    pub(super) fn forgive_primary(&mut self) {
        if matches!(self.doubt, Some(Doubt::PrimaryLacksCommitted { .. })) {
            self.doubt = None;
        }
    }
}
