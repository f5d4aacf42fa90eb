//! The replication protocol of Standby, without input or output.
//!
//! Everything that decides whether a write may be acknowledged, a read may be answered or a node
//! may be promoted is in this crate, as pure data and pure functions: [`view`] holds the rules a
//! change of configuration must obey, [`replica`] the state machine that every node runs.
//!
//! This crate never does IO, never reads a clock, never draws a random number and never knows which
//! protocol (etcd, ZEO) clients speak: payloads are opaque bytes.

#![forbid(unsafe_code)]

pub mod detect;
pub mod entry;
pub mod ids;
pub mod log_index;
pub mod message;
pub mod replica;
pub mod view;

pub use entry::{Entry, EntryKind, NewHistory, Position};
pub use ids::{ClusterId, Epoch, Index, Micros, NodeId, ParseNodeIdError, VolumeId};
pub use log_index::{LogIndex, LogOutline};
pub use message::{Hello, Message, RejectReason};
pub use view::{Loss, View, ViewChange, ViewError};
