//! The state table of failover, establishing and switchover: every state a cluster can be in, what
//! leads out of it, and for whom it waits. The state is derived from the recorded view and the
//! reports at every look, never kept, so that another operator goes on from wherever this one
//! stopped.

use std::fmt;

/// Where a cluster stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The recorded view could not be read yet.
    ViewUnknown,
    /// No view, and not every node has said that its volume never had one.
    AwaitingNodes,
    /// No view, and every volume is new: the first one is recorded now.
    FirstView,
    /// Nodes have adopted more than is recorded, and all of them report: continued above the highest.
    Recovering,
    /// Nodes have adopted more than is recorded, and somebody cannot be asked (V10).
    RecoveryBlocked,
    /// The primary has not adopted its view yet.
    Adopting,
    /// The view has no synchronous node: one is being established (V4).
    Establishing,
    /// Writes are acknowledged by two.
    Healthy,
    /// Writes are acknowledged by one (V7).
    Alone,
    /// A synchronous node has failed or is leaving: a replacement is being established.
    ReplacingSynchronous,
    /// The primary waits in vain for a node it was promised: only a new epoch ends that.
    EndingPromise,
    /// A planned move is wanted, and its target is being made synchronous first.
    PreparingHandover,
    /// The primary is being relieved (V8).
    HandingOver,
    /// The primary has stepped down because it is fenced, and nobody can take over.
    GaveUp,
    /// Only the operator has lost the primary.
    Suspected,
    /// The primary has failed, and this operator has just taken over: nodes are given a moment to tell
    /// of a later view than the recorded one (V10).
    Confirming,
    /// The primary seems to have failed once more after too many failovers on suspicion: the suspicion has
    /// to last longer.
    HeldBack,
    /// The primary has failed and a complete node is reachable: promoted now.
    FailingOver,
    /// The primary has failed and no complete node can be reached.
    FailoverBlocked,
    /// The primary has failed, and the pods of nodes that have everything are starting.
    Starting,
    /// The primary has failed; `failover.mode: Manual` waits for a person.
    AwaitingPerson,
    /// The cluster is to sleep: its pods are being ended.
    Hibernating,
    /// The cluster sleeps: no pods, volumes and view are kept.
    Hibernated,
    /// The cluster is being deleted.
    Deleting,
}

const ESTABLISHED: (&str, Phase) = (
    "a node is complete and recorded as synchronous",
    Phase::Adopting,
);
const WENT_ALONE: (&str, Phase) = (
    "durability: Available, and nobody completes, or one copy is all that is asked for",
    Phase::Adopting,
);

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 24] = [
        Self::ViewUnknown,
        Self::AwaitingNodes,
        Self::FirstView,
        Self::Recovering,
        Self::RecoveryBlocked,
        Self::Adopting,
        Self::Establishing,
        Self::Healthy,
        Self::Alone,
        Self::ReplacingSynchronous,
        Self::EndingPromise,
        Self::PreparingHandover,
        Self::HandingOver,
        Self::GaveUp,
        Self::Suspected,
        Self::Confirming,
        Self::HeldBack,
        Self::FailingOver,
        Self::FailoverBlocked,
        Self::Starting,
        Self::AwaitingPerson,
        Self::Hibernating,
        Self::Hibernated,
        Self::Deleting,
    ];

    /// What leads out, towards [`Phase::Healthy`] or the end: the event, and the phase it leads to.
    /// A fault leads from any phase to one that its judgement names, and is not listed.
    #[must_use]
    #[allow(clippy::too_many_lines, reason = "one table")]
    pub fn exits(self) -> &'static [(&'static str, Self)] {
        match self {
            Self::ViewUnknown => &[
                ("the API answers: no view", Self::AwaitingNodes),
                ("the API answers: a view", Self::Adopting),
            ],
            Self::AwaitingNodes => &[
                ("every node reports a new volume", Self::FirstView),
                ("a node reports a view", Self::RecoveryBlocked),
            ],
            Self::FirstView | Self::Recovering => &[("the view is recorded", Self::Adopting)],
            Self::RecoveryBlocked => &[
                ("the missing nodes report", Self::Recovering),
                ("a person consents to going on without", Self::Recovering),
            ],
            Self::Adopting => &[
                (
                    "the primary of a view without synchronous nodes is in its role",
                    Self::Establishing,
                ),
                (
                    "the primary of a view with synchronous nodes is in its role",
                    Self::Healthy,
                ),
                ("the primary of an alone view is in its role", Self::Alone),
                ("the primary fails", Self::FailingOver),
            ],
            Self::Establishing => &[ESTABLISHED, WENT_ALONE],
            Self::Healthy => &[("the synchronous node leaves", Self::ReplacingSynchronous)],
            Self::Alone => &[ESTABLISHED],
            Self::ReplacingSynchronous => &[
                ("a replacement is complete and recorded", Self::Adopting),
                ("the node returns", Self::Healthy),
                WENT_ALONE,
            ],
            Self::EndingPromise => &[("the same nodes are recorded anew", Self::Adopting)],
            Self::PreparingHandover => &[
                ("the target is complete and recorded", Self::Adopting),
                ("the target does not keep up", Self::EndingPromise),
                ("the move is wanted no more", Self::Healthy),
            ],
            Self::HandingOver => &[
                (
                    "it has drained, or the limit has passed: promoted",
                    Self::Adopting,
                ),
                ("nobody can take over after the step-down", Self::GaveUp),
                (
                    "the synchronous node fails before the step-down",
                    Self::ReplacingSynchronous,
                ),
            ],
            Self::GaveUp => &[
                ("a complete node is reachable", Self::HandingOver),
                ("a complete node is unfenced", Self::HandingOver),
                ("a person accepts the loss of data", Self::FailingOver),
            ],
            Self::Suspected => &[
                ("the stream returns", Self::Healthy),
                ("the synchronous node confirms the loss", Self::FailingOver),
            ],
            Self::Confirming => &[
                ("every node was heard that may be", Self::FailingOver),
                ("the limit has passed", Self::FailingOver),
                ("a node tells of a later view", Self::Recovering),
            ],
            Self::HeldBack => &[
                ("the suspicion has lasted", Self::FailingOver),
                ("the end of the primary is proven", Self::FailingOver),
                ("the primary is heard again", Self::Healthy),
            ],
            Self::FailingOver => &[("the promotion is recorded", Self::Adopting)],
            Self::Starting => &[
                ("a complete node reports", Self::FailingOver),
                ("the limit has passed", Self::FailoverBlocked),
            ],
            Self::FailoverBlocked => &[
                ("a complete node is reachable", Self::FailingOver),
                ("a person accepts the loss of data", Self::FailingOver),
            ],
            Self::AwaitingPerson => &[
                ("a person orders the promotion", Self::FailingOver),
                ("a person accepts the loss of data", Self::FailingOver),
                ("the primary restarts", Self::FailingOver),
                ("the primary returns", Self::Healthy),
            ],
            Self::Hibernating => &[
                ("every pod has ended", Self::Hibernated),
                ("spec.hibernated is false again", Self::Starting),
            ],
            Self::Hibernated => &[
                ("spec.hibernated is false again", Self::Starting),
                ("it slept before it had a view", Self::AwaitingNodes),
            ],
            Self::Deleting => &[],
        }
    }

    /// Whether a person has to act, or a node has to come back, before anything goes on.
    #[must_use]
    pub fn is_stalled(self) -> bool {
        matches!(
            self,
            Self::RecoveryBlocked | Self::FailoverBlocked | Self::AwaitingPerson | Self::GaveUp
        )
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_phase_but_the_end_leads_to_healthy() {
        for phase in Phase::ALL {
            if phase == Phase::Deleting {
                continue;
            }
            let mut reached = BTreeSet::from([phase]);
            let mut edge = vec![phase];
            while let Some(at) = edge.pop() {
                for (_, next) in at.exits() {
                    if reached.insert(*next) {
                        edge.push(*next);
                    }
                }
            }
            assert!(!phase.exits().is_empty(), "{phase} has no exit");
            assert!(
                reached.contains(&Phase::Healthy),
                "{phase} never leads to Healthy"
            );
        }
    }

    #[test]
    fn no_phase_is_unreachable() {
        let mut reached: BTreeSet<Phase> = BTreeSet::from([Phase::ViewUnknown, Phase::Deleting]);
        // Faults, which are not in the table.
        reached.extend([
            Phase::Suspected,
            Phase::Confirming,
            Phase::HeldBack,
            Phase::FailoverBlocked,
            Phase::AwaitingPerson,
            Phase::HandingOver,
            Phase::EndingPromise,
            // A wish, which is not in the table either.
            Phase::PreparingHandover,
            // What a person asks for.
            Phase::Hibernating,
        ]);
        for phase in Phase::ALL {
            reached.extend(phase.exits().iter().map(|(_, next)| *next));
        }
        assert_eq!(reached, BTreeSet::from(Phase::ALL));
    }
}
