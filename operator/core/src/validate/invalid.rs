//! What can be wrong with a resource, in the words of its fields.

use standby_api::names;

use crate::policy::WindowError;

/// One thing that is wrong with a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The API server always sets it.
    #[error("{field} is missing: the resource did not come from an API server")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A name that pods or Services cannot be named after.
    #[error(
        "metadata.name must start with a letter, hold only a-z, 0-9 and -, and have at most \
         {max} characters, was {given:?}",
        max = names::CLUSTER_NAME_LENGTH_MAX
    )]
    Name {
        /// The name.
        given: String,
    },
    /// A number out of its range.
    #[error("{field} must be between {min} and {max}, was {given}")]
    Range {
        /// The field.
        field: &'static str,
        /// The least.
        min: i64,
        /// The most.
        max: i64,
        /// What was given.
        given: i64,
    },
    /// One copy cannot be strict.
    #[error("spec.instances: 1 needs spec.durability: Available, was Strict")]
    SingleStrict,
    /// A size that is none, or too small.
    #[error("spec.storage.size must be a quantity of at least 1Gi, such as 10Gi, was {given:?}")]
    Size {
        /// What was given.
        given: String,
    },
    /// A quota that does not fit the volume.
    #[error(
        "spec.etcd.quotaBackendBytes must be less than spec.storage.size ({size}), was {given}"
    )]
    Quota {
        /// The size of the volume.
        size: String,
        /// What was given.
        given: i64,
    },
    /// Thresholds that contradict each other.
    #[error(
        "spec.failover.detection.silenceMinMs must be at least {min} and at most {max}, was {given}"
    )]
    Silence {
        /// Twice the heartbeat's interval.
        min: i64,
        /// The longest silence.
        max: i64,
        /// What was given.
        given: i64,
    },
    /// A maintenance window that cannot be understood.
    #[error("spec.maintenance.windows[{at}].{problem}")]
    Window {
        /// Which, from 0.
        at: usize,
        /// What is wrong.
        problem: WindowError,
    },
    /// A key that is the operator's own.
    #[error(
        "{field}: {key:?} is set by the operator: choose a key outside standby.dev and app.kubernetes.io"
    )]
    Reserved {
        /// The field.
        field: &'static str,
        /// The key.
        key: String,
    },
    /// More asked for than allowed.
    #[error("spec.resources: requests.{name} ({request}) must be at most limits.{name} ({limit})")]
    Resources {
        /// The resource.
        name: String,
        /// What was asked for.
        request: String,
        /// What is allowed.
        limit: String,
    },
}

/// Everything that is wrong with a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct InvalidCluster(pub Vec<Invalid>);
