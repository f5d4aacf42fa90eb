//! On what a planned view rests: what must be recorded at the moment it is written, and what it says of
//! the consent it took. Nothing here reads or writes.

use standby_api::{Consent, ConsentKind, DataLoss};
use standby_core::View;

use super::Recovery;

/// The longest text of what may be lost: the schema's limit.
const MAY_LOSE_LENGTH_MAX: usize = 1_000;

/// What a view is recorded on top of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Nothing: there must be no view object.
    Nothing,
    /// This recorded view, and no other.
    View(View),
    /// This recorded view, and a person's consent to losing what the promoted node lacks.
    Loss {
        /// The recorded view.
        view: View,
        /// What is kept for ever.
        record: DataLoss,
    },
    /// Nothing, or something older than the nodes have: every node was asked, or a person consented to
    /// going on without (V10).
    Nodes {
        /// What is recorded, if anything.
        recorded: Option<View>,
        /// The proof.
        recovery: Recovery,
        /// What is kept for ever, if it took consent.
        record: Option<DataLoss>,
    },
}

impl Basis {
    /// What may be lost by it, and is kept for ever.
    #[must_use]
    pub fn loss(&self) -> Option<&DataLoss> {
        match self {
            Self::Nothing | Self::View(_) => None,
            Self::Loss { record, .. } => Some(record),
            Self::Nodes { record, .. } => record.as_ref(),
        }
    }

    /// Whether `recorded` is exactly what was planned on.
    #[must_use]
    pub fn is(&self, recorded: Option<&View>) -> bool {
        match self {
            Self::Nothing => recorded.is_none(),
            Self::View(view) | Self::Loss { view, .. } => recorded == Some(view),
            Self::Nodes { recorded: was, .. } => recorded == was.as_ref(),
        }
    }

    /// Whether the API server's store was put back, or lost the view: whatever else was written there
    /// before may be gone or older too.
    #[must_use]
    pub fn is_recovery(&self) -> bool {
        matches!(self, Self::Nodes { .. })
    }

    /// What `next` says of the consent to it, if no rule allows it by itself.
    ///
    /// # Panics
    /// Never: an epoch would have to pass 63 bits.
    #[must_use]
    pub fn consent(&self, next: &View) -> Option<Consent> {
        let (kind, by, why, may_lose) = match self {
            Self::Nothing | Self::View(_) => return None,
            Self::Loss { record, .. } => (
                ConsentKind::AcceptDataLoss,
                record.by.clone(),
                record.why.clone(),
                format!(
                    "what was acknowledged after entry {}, up to entry {}",
                    record.from,
                    record.loses_up_to.unwrap_or_default()
                ),
            ),
            // V10: continuing a lost view names its evidence.
            Self::Nodes {
                recovery,
                record: None,
                ..
            } => (
                ConsentKind::Recovery,
                "standby-operator".into(),
                "the view object was lost or restored, and every node was asked".into(),
                format!("nothing: {}", recovery.evidence),
            ),
            Self::Nodes {
                recovery,
                record: Some(record),
                ..
            } => (
                ConsentKind::Recovery,
                record.by.clone(),
                record.why.clone(),
                format!(
                    "what nodes that could not be asked acknowledged; asked: {}",
                    recovery.evidence
                ),
            ),
        };
        Some(Consent {
            kind,
            epoch: i64::try_from(next.epoch.0).expect("an epoch grows by one a change"),
            by,
            why,
            may_lose: may_lose.chars().take(MAY_LOSE_LENGTH_MAX).collect(),
        })
    }
}
