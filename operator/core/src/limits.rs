//! Every threshold and bound the planner uses, with its unit. What users may change stands in the
//! resource's `spec.failover`; this module holds the defaults of the rest and never decides.

pub use standby_core::detect::{PHI_LOST, SILENCE_MAX_MS, SILENCE_MIN_MS};

/// A container is taken for the one that holds a role only after it has been seen running this long
/// after the role was first reported, in milliseconds. Kubernetes reports containers late; this is
/// far longer than it needs.
pub const CONTAINER_SETTLED_MS: u64 = 10_000;
/// A suspicion that changes nothing is told only when it has lasted so long, in milliseconds: after a
/// change of view followers connect anew.
pub const SUSPICION_TOLD_MS: u64 = 1_000;
/// How long a failed primary without a successor keeps its address, in milliseconds. Taking it out
/// costs the next change of the slice up to a second.
pub const BLOCKED_BEFORE_WITHDRAWN_MS: u64 = 1_000;
/// How long a drained report is waited for after a step-down before the synchronous node is promoted
/// without it, in milliseconds.
pub const DRAIN_MAX_MS: u64 = 5_000;
/// `durability: Available`: how long a replacement may take to get everything before the primary goes
/// alone, in milliseconds.
pub const ALONE_AFTER_MS: u64 = 5_000;
/// A follower that is waited for and from which the primary has heard nothing for so long is watched more
/// closely, in milliseconds: it answers a heartbeat ten times a second.
pub const SILENT_PEER_MS: u64 = 500;
/// The most nodes a primary is told to wait for at once. The first that has everything is taken.
pub const AWAIT_NODES_MAX: usize = 3;
/// A node that lags by more entries than this is not waited for while writes are going.
pub const HEAL_LAG_ENTRIES_MAX: u64 = 10_000;
/// How long an operator that has just taken over waits for nodes to speak before it fails over in a view
/// that none of them has confirmed, in milliseconds.
pub const CONFIRM_MAX_MS: u64 = 3_000;
/// The same where a node has confirmed the view, in milliseconds, and at most as long as silence takes to
/// count as loss: a node that was away when later views were adopted confirms an older one that was put
/// back.
pub const CONFIRM_OTHERS_MAX_MS: u64 = 1_000;
/// The most entries beyond those known to exist that a consent to loss may name.
pub const LOSS_BEYOND_KNOWN_MAX: u64 = 1_000_000_000;
/// Entries that nodes which could not be asked may have acknowledged beyond all that is known: a bound for
/// the record of a recovery without them.
pub const RECOVERY_UNKNOWN_ENTRIES: u64 = 1_000_000;
/// How far above the highest known epoch a recovery without everybody goes on, so that nodes which could
/// not be asked are below it.
pub const RECOVERY_EPOCH_MARGIN: u64 = 1_000;
/// The primary is moved to a better place only after the cluster has been healthy for so long, in
/// milliseconds.
pub const PREFERRED_AFTER_MS: u64 = 60_000;
/// An awaited node that has not acknowledged for so long while writes wait breaks the promise, in
/// milliseconds.
pub const AWAITED_STALLED_MS: u64 = 1_500;
/// A pod that is being deleted on a host that does not answer is removed by force after this, in
/// milliseconds.
pub const POD_TERMINATING_MAX_MS: u64 = 60_000;
/// The planner runs at least this often, in milliseconds, even if nothing happens.
pub const REPLAN_MAX_MS: u64 = 15_000;
/// The planner's shortest pause between two looks that only time brings about, in milliseconds.
pub const REPLAN_MIN_MS: u64 = 50;
/// How long a node may take to adopt a view it was told before the status calls it stalled, and before
/// another one that has everything is promoted, in milliseconds.
pub const ADOPT_MAX_MS: u64 = 10_000;
/// A pod that was made in a rolling change and does not work after so long has stopped it, in
/// milliseconds: that is told. Filling a large volume takes longer, and is told too.
pub const ROLL_STUCK_MS: u64 = 300_000;
/// How long new pods of nodes that have everything may take to start before nobody counts on them any
/// more and a person is called, in milliseconds.
pub const STARTING_MAX_MS: u64 = 60_000;
