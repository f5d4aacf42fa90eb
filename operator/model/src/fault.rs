//! Deliberate faults of the model: each breaks one rule in one step, to prove that the exploration would
//! notice (its teeth). Switched on by tests and by the command that counts them, never else.

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// V2: a node takes and acknowledges entries of a lower epoch than it has stored.
    AppendOfLowerEpoch,
    /// V2: a node goes back to a lower view.
    AdoptLowerEpoch,
    /// V2: a node acts in an epoch before it has stored it, and forgets it in a crash.
    AdoptBeforeStored,
    /// V3: a restarted primary goes on in its epoch.
    ResumeInSameEpoch,
    /// V3: a node leads a view that can acknowledge although this run did not lead the epoch before.
    LeadUnseenView,
    /// V1: a view with nobody commits.
    CommitInBareView,
    /// V1: the primary's own disk is enough.
    AcknowledgeOnOwnDisk,
    /// V1: the primary counts what is not on its own disk.
    CommitBeforeOwnDisk,
    /// V1: a follower acknowledges what is not on its disk.
    AcknowledgeBeforeDisk,
    /// V1, V2: acknowledgements of an earlier epoch are counted in this one.
    AcknowledgementOfEarlierEpoch,
    /// V6: a follower keeps its own tail and appends behind it.
    TailKept,
    /// V6: a follower cuts more than what differs.
    CutCommitted,
    /// V4: a node that was promised to be waited for is not, but is reported complete.
    PromiseIgnored,
    /// V4: a promise is taken back within the epoch.
    PromiseTakenBack,
    /// V4: a follower with only a part of the log is reported complete.
    CompleteWithPartOfLog,
    /// V4: an operator records a node that the primary did not report complete.
    RecordUnreported,
    /// V3: an operator decides on a view from its cache.
    TrustCachedView,
    /// V3: the view is written without comparing what it replaces.
    NoCompareAndSwap,
    /// V3: a node outside `complete` is promoted, and nobody checks.
    PromoteIncomplete,
    /// V4: a new primary is recorded with a synchronous node at once.
    NewPrimaryNotBare,
    /// V4: a node enters `complete` in a view that cannot acknowledge.
    CompleteGrowsInBareView,
    /// V7: a primary drops its synchronous node without a view that says so.
    AloneUnrecorded,
    /// V10: a missing view object is taken for a new cluster.
    StartAfresh,
    /// V10: a lost view is continued above what is recorded, not above what nodes have.
    ContinueAboveRecorded,
    /// V10: a lost view is continued above what the first node says that can be asked.
    ContinueWithoutAsking,
    /// An empty volume takes the identity of the one that was lost.
    NameReused,
    /// V5: a new primary serves although leases it granted may still hold.
    ServeBeforeLeaseIsOver,
    /// V5: a restarted node forgets that it may have granted a lease.
    RestartForgetsGrants,
    /// V5: an acknowledgement is not counted as a grant.
    AcknowledgementGrantsNothing,
    /// V5: the proof that one former primary ended is taken for all before it.
    ProofTakenForAll,
    /// V5: the operator says that the old primary ended, and does not know it.
    PromotedOnSuspicion,
    /// V5: leases of the view's synchronous nodes are enough, those of promised nodes are not asked.
    LeaseBySynchronousOnly,
    /// V2, V5: a lease is granted while a higher view is being stored, and not remembered.
    GrantWhileStoring,
    /// V2: a lease is granted for a lower epoch than is stored.
    GrantOfLowerEpoch,
    /// V5: a primary answers reads without any lease.
    ReadWithoutLease,
}

impl Fault {
    /// Every deliberate fault.
    pub const ALL: [Self; 35] = [
        Self::AppendOfLowerEpoch,
        Self::AdoptLowerEpoch,
        Self::AdoptBeforeStored,
        Self::ResumeInSameEpoch,
        Self::LeadUnseenView,
        Self::CommitInBareView,
        Self::AcknowledgeOnOwnDisk,
        Self::CommitBeforeOwnDisk,
        Self::AcknowledgeBeforeDisk,
        Self::AcknowledgementOfEarlierEpoch,
        Self::TailKept,
        Self::CutCommitted,
        Self::PromiseIgnored,
        Self::PromiseTakenBack,
        Self::CompleteWithPartOfLog,
        Self::RecordUnreported,
        Self::TrustCachedView,
        Self::NoCompareAndSwap,
        Self::PromoteIncomplete,
        Self::NewPrimaryNotBare,
        Self::CompleteGrowsInBareView,
        Self::AloneUnrecorded,
        Self::StartAfresh,
        Self::ContinueAboveRecorded,
        Self::ContinueWithoutAsking,
        Self::NameReused,
        Self::ServeBeforeLeaseIsOver,
        Self::RestartForgetsGrants,
        Self::AcknowledgementGrantsNothing,
        Self::ProofTakenForAll,
        Self::PromotedOnSuspicion,
        Self::LeaseBySynchronousOnly,
        Self::GrantWhileStoring,
        Self::GrantOfLowerEpoch,
        Self::ReadWithoutLease,
    ];
}
