//! Failure detection for the operator's streams: the same detector that followers use for their link to
//! the primary. Never decides about a node: [`crate::judge`] weighs several streams.

pub use standby_core::detect::{Detector, Loss, Thresholds};
