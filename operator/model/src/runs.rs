//! The bounds that are explored: the quick ones with every test, the full ones by command.
//!
//! Restarts, lost, late and repeated messages, promises, operators and what they know are never bounded.
//! Bounded are epochs, writes, and how often a volume is lost, the view object is put back and a primary
//! goes alone.

use crate::fault::Fault;
use crate::state::Left;
use crate::steps::Bounds;

const NOTHING: Left = Left {
    writes: 0,
    losses: 0,
    restores: 0,
    alone: 0,
    put_back: 0,
};

const SMALL: Bounds = Bounds {
    name: "",
    nodes: 3,
    epochs: 3,
    left: NOTHING,
    paired: false,
    reads: false,
    blind: false,
};

/// A failover from the first view on: four epochs, a write.
pub const FAILOVER: Bounds = Bounds {
    name: "failover",
    epochs: 4,
    left: Left {
        writes: 1,
        ..NOTHING
    },
    ..SMALL
};

/// Everything that can go wrong, within three epochs.
pub const FAULTS: Bounds = Bounds {
    name: "faults",
    left: Left {
        writes: 1,
        losses: 1,
        restores: 1,
        ..NOTHING
    },
    ..SMALL
};

/// Two failovers of a pair that stands in epoch 2.
pub const AGAIN: Bounds = Bounds {
    name: "again",
    epochs: 4,
    left: Left {
        writes: 1,
        losses: 1,
        ..NOTHING
    },
    paired: true,
    ..SMALL
};

/// A primary's volume is put back while it is down, around a failover of a pair.
pub const PUT_BACK: Bounds = Bounds {
    name: "put back",
    epochs: 4,
    left: Left {
        writes: 1,
        alone: 1,
        put_back: 1,
        ..NOTHING
    },
    paired: true,
    ..SMALL
};

/// Leases and reads around a failover of a pair (V5).
pub const READS: Bounds = Bounds {
    name: "reads",
    epochs: 4,
    left: Left {
        writes: 1,
        ..NOTHING
    },
    paired: true,
    reads: true,
    ..SMALL
};

/// Leases around two failovers: an old primary may hold one that was granted two epochs ago.
pub const OLD_LEASES: Bounds = Bounds {
    name: "old leases",
    epochs: 6,
    left: NOTHING,
    ..READS
};

/// Leases while the synchronous node is replaced and its successor promoted.
pub const MORE_LEASES: Bounds = Bounds {
    name: "more leases",
    epochs: 5,
    left: NOTHING,
    ..READS
};

/// Within two minutes.
pub const QUICK: [Bounds; 5] = [FAILOVER, FAULTS, AGAIN, PUT_BACK, READS];

/// A failover from the first view on, with two writes.
pub const FULL_FAILOVER: Bounds = Bounds {
    name: "full failover",
    left: Left {
        writes: 2,
        ..NOTHING
    },
    ..FAILOVER
};

/// Three epochs from the first view on, with everything that can go wrong and two writes.
pub const FULL_FAULTS: Bounds = Bounds {
    name: "full faults",
    left: Left {
        writes: 2,
        losses: 1,
        restores: 1,
        alone: 1,
        ..NOTHING
    },
    ..SMALL
};

/// A pair in epoch 2, two epochs more, two writes: a volume is lost, and a primary goes alone.
pub const FULL_LOSS: Bounds = Bounds {
    name: "full loss",
    left: Left {
        writes: 2,
        losses: 1,
        alone: 1,
        ..NOTHING
    },
    ..AGAIN
};

/// The same, and the view object is lost or put back.
pub const FULL_RESTORE: Bounds = Bounds {
    name: "full restore",
    left: Left {
        writes: 2,
        restores: 1,
        ..NOTHING
    },
    ..AGAIN
};

/// A volume is lost and the view object is lost or put back, with two writes.
pub const FULL_BOTH: Bounds = Bounds {
    name: "full both",
    left: Left {
        writes: 2,
        losses: 1,
        restores: 1,
        ..NOTHING
    },
    ..AGAIN
};

/// Leases and reads around two changes of the primary.
pub const FULL_READS: Bounds = Bounds {
    name: "full reads",
    epochs: 5,
    ..READS
};

/// By command, in order of their size.
pub const FULL: [Bounds; 6] = [
    FULL_FAILOVER,
    FULL_READS,
    FULL_RESTORE,
    FULL_LOSS,
    FULL_FAULTS,
    FULL_BOTH,
];

/// The bounds within which each deliberate fault must be caught.
#[must_use]
pub fn teeth() -> Vec<(Fault, Bounds)> {
    Fault::ALL
        .into_iter()
        .map(|fault| (fault, bounds_for(fault)))
        .collect()
}

fn bounds_for(fault: Fault) -> Bounds {
    match fault {
        Fault::StartAfresh
        | Fault::ContinueAboveRecorded
        | Fault::ContinueWithoutAsking
        | Fault::NameReused => FAULTS,
        Fault::TrustCachedView => AGAIN,
        Fault::LeadUnseenView => PUT_BACK,
        Fault::AcknowledgementGrantsNothing => OLD_LEASES,
        Fault::LeaseBySynchronousOnly => MORE_LEASES,
        Fault::ServeBeforeLeaseIsOver
        | Fault::RestartForgetsGrants
        | Fault::ProofTakenForAll
        | Fault::PromotedOnSuspicion
        | Fault::GrantWhileStoring
        | Fault::GrantOfLowerEpoch
        | Fault::ReadWithoutLease => READS,
        _ => FAILOVER,
    }
}
