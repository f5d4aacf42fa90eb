//! What clients are refused with. The texts and codes are etcd's: clients match both.

use standby_interface::Refusal;
use tonic::{Code, Status};

/// A refusal as etcd words it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum EtcdError {
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    #[error("etcdserver: key not found")]
    KeyNotFound,
    #[error("etcdserver: value is provided")]
    ValueProvided,
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    #[error("etcdserver: too many operations in txn request")]
    TooManyOps,
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    #[error("etcdserver: invalid sort option")]
    InvalidSortOption,
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    #[error("etcdserver: lease already exists")]
    LeaseExists,
    #[error("etcdserver: too large lease TTL")]
    LeaseTtlTooLarge,
    #[error("etcdserver: request is too large")]
    RequestTooLarge,
    #[error("etcdserver: too many requests")]
    TooManyRequests,
    #[error("etcdserver: no leader")]
    NoLeader,
    #[error("etcdserver: leader changed")]
    LeaderChanged,
    #[error("etcdserver: not leader")]
    NotLeader,
    #[error("etcdserver: bad leader transferee")]
    BadLeaderTransferee,
    #[error("etcdserver: request timed out, leader transfer took too long")]
    TimeoutLeaderTransfer,
    #[error("etcdserver: server stopped")]
    Stopped,
    #[error("etcdserver: request timed out")]
    Timeout,
    /// The state is being replaced by a snapshot: there is nothing to read for the moment.
    #[error("etcdserver: request timed out, waiting for the applied index took too long")]
    NotApplied,
    /// What etcd's learners answer to everything but `Status` and serializable ranges.
    #[error("etcdserver: rpc not supported for learner")]
    NotSupportedForLearner,
    /// Not one of etcd's: the storage under the state failed. The process is about to end.
    #[error("standby: storage failed: {0}")]
    Storage(String),
}

impl EtcdError {
    /// The code that goes with the text.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::EmptyKey
            | Self::KeyNotFound
            | Self::ValueProvided
            | Self::LeaseProvided
            | Self::TooManyOps
            | Self::DuplicateKey
            | Self::InvalidSortOption
            | Self::RequestTooLarge => Code::InvalidArgument,
            Self::Compacted | Self::FutureRevision | Self::LeaseTtlTooLarge => Code::OutOfRange,
            Self::NoSpace | Self::TooManyRequests => Code::ResourceExhausted,
            Self::LeaseNotFound => Code::NotFound,
            Self::LeaseExists
            | Self::NotSupportedForLearner
            | Self::NotLeader
            | Self::BadLeaderTransferee => Code::FailedPrecondition,
            // etcd has no code for this one.
            Self::TimeoutLeaderTransfer => Code::Unknown,
            Self::NoLeader
            | Self::LeaderChanged
            | Self::Stopped
            | Self::Timeout
            | Self::NotApplied => Code::Unavailable,
            Self::Storage(_) => Code::Internal,
        }
    }
}

impl From<EtcdError> for Status {
    fn from(error: EtcdError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<standby_store::engine::EngineError> for EtcdError {
    fn from(error: standby_store::engine::EngineError) -> Self {
        Self::Storage(error.to_string())
    }
}

/// A refusal of replication. An outcome that is not known stays "unavailable", never a definite
/// failure.
impl From<Refusal> for EtcdError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotPrimary => Self::NotSupportedForLearner,
            Refusal::RoleLost => Self::LeaderChanged,
            Refusal::Timeout { .. } => Self::Timeout,
            Refusal::Overloaded => Self::TooManyRequests,
            Refusal::TooLarge { .. } => Self::RequestTooLarge,
            Refusal::DiskFull { .. } => Self::NoSpace,
            Refusal::NotSynchronous { .. } => Self::BadLeaderTransferee,
            Refusal::ShuttingDown => Self::Stopped,
        }
    }
}
