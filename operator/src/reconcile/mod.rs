//! Reconcile = dereference → validate → plan → apply → status, one file a step. The hot path of a
//! failover (views, orders to nodes, the read-write address) runs in the actor itself; everything
//! slower runs beside it, so that no report ever waits for it.

pub mod announce;
pub mod apply;
pub mod dereference;
pub mod pki;
pub mod record;
pub mod release;
pub mod status;

#[cfg(test)]
mod tests;

use crate::api::ApiError;
use standby_operator_core::build::pki::PkiError;

/// A step that failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The API.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The recorded view cannot be read.
    #[error("StandbyView {name}: {source}")]
    View {
        /// Its name.
        name: String,
        /// Why not.
        source: standby_api::SpecError,
    },
    /// What stands beside the recorded view of past losses cannot be read.
    #[error("StandbyView {name}: annotation standby.dev/data-loss: {source}")]
    Losses {
        /// Its name.
        name: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// Something else was recorded meanwhile: plan anew.
    #[error("the recorded view changed meanwhile")]
    Superseded,
    /// A view that no rule allows: a defect of the planner, caught before it was written.
    #[error("refused to record a view: {0}")]
    Rule(#[from] standby_core::ViewError),
}
