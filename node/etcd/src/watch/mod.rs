//! Watching: the rules as a pure core, and the hub that feeds it applied events and drives streams.
//!
//! Never sees anything that is not committed and applied (V6), and never decides about keys.

mod core;
mod history;
mod hub;
mod metrics;
mod queue;
mod range;
mod stream;

#[cfg(test)]
mod core_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod testing;

pub use self::core::{WatchCore, WatchCounts};
pub use history::{History, HistoryChunk, HistoryError, RevisionEvents, Want};
pub use hub::{WatchHub, WatchStream};
pub use metrics::register_metrics;
pub use queue::{Item, NO_WATCH, Said, Shape, fragments, responses};
pub use range::{EmptyRange, KeyRange, RangeIndex};
pub use stream::{ReadPlan, StreamId};
