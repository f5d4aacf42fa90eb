//! Deliberate faults, to prove that the simulation would notice them (its teeth).
//!
//! Compiled out unless the feature `mutants` is on, which nothing but the simulation asks for: without
//! it [`Replica::has`] is a constant `false`.

use super::Replica;

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// V2: entries of a lower epoch than the stored one are taken and acknowledged.
    AppendOfLowerEpoch,
    /// V5: a new primary serves although leases it granted may still hold.
    ServeBeforeLeaseIsOver,
    /// V1: the primary's own disk is enough.
    AcknowledgeOnOwnDisk,
    /// V3: a restarted primary goes on in its epoch.
    ResumeInSameEpoch,
    /// V3: a node leads a view that can acknowledge as soon as it is told, although this run did not lead
    /// the epoch before.
    LeadUnseenView,
    /// V1: a view with nobody commits.
    CommitInBareView,
    /// V4: a node that was promised to be waited for is not, but may be complete.
    PromiseIgnored,
    /// V4: the commit index is asked for, not the entry that opened the epoch.
    CompleteWithPartOfLog,
    /// V6: an answer to an earlier presentation is acted on.
    AnswerToEarlierHello,
    /// V2: leases are granted while a higher view is being stored.
    GrantWhileStoring,
    /// V5: leases of the view's synchronous nodes are enough, those of promised nodes are not asked.
    LeaseBySynchronousOnly,
    /// V5: the proof that one former primary ended is taken for all before it.
    ProofTakenForAll,
    /// V6: a follower cuts what it knows to be committed.
    CutCommitted,
    /// V5: an acknowledgement is not counted as a grant, so that a lease granted to a primary two
    /// epochs ago is forgotten.
    AcknowledgementGrantsNothing,
    /// V11: a follower's acknowledgements are not remembered.
    AcknowledgedForgotten,
    /// V11: a damaged node may lead.
    DamagedMayLead,
    /// V11: of a node that is complete, only what this run saw acknowledged is remembered.
    CompleteTakenOnTrust,
    /// V10: another view of the stored epoch is passed over.
    ConflictOverlooked,
}

impl Mutant {
    /// Every deliberate fault.
    #[cfg(feature = "mutants")]
    pub const ALL: [Self; 18] = [
        Self::AppendOfLowerEpoch,
        Self::ServeBeforeLeaseIsOver,
        Self::AcknowledgeOnOwnDisk,
        Self::ResumeInSameEpoch,
        Self::LeadUnseenView,
        Self::CommitInBareView,
        Self::PromiseIgnored,
        Self::CompleteWithPartOfLog,
        Self::AnswerToEarlierHello,
        Self::GrantWhileStoring,
        Self::LeaseBySynchronousOnly,
        Self::ProofTakenForAll,
        Self::CutCommitted,
        Self::AcknowledgementGrantsNothing,
        Self::AcknowledgedForgotten,
        Self::DamagedMayLead,
        Self::CompleteTakenOnTrust,
        Self::ConflictOverlooked,
    ];
}

impl Replica {
    /// Whether this node breaks that rule on purpose.
    #[cfg(feature = "mutants")]
    pub(super) fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Whether this node breaks that rule on purpose: never.
    #[cfg(not(feature = "mutants"))]
    #[allow(clippy::unused_self)]
    pub(super) const fn has(&self, _mutant: Mutant) -> bool {
        false
    }

    /// Lets this node break a rule from now on. Only for the simulation's test of its own teeth.
    #[cfg(feature = "mutants")]
    pub fn mutate(&mut self, mutant: Mutant) {
        self.mutant = Some(mutant);
        if mutant == Mutant::ResumeInSameEpoch {
            self.take_role();
        }
    }
}
