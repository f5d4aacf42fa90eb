//! What a protocol that clients speak (etcd, ZEO) must offer to replication, and what replication
//! offers to it. Free of both: replication knows entries and bytes, a protocol knows outcomes.
//!
//! This crate never implements either side.

mod machine;
mod replication;

pub use machine::{MachineError, SnapshotChunk, SnapshotSource, StateMachine};
pub use replication::{
    MemberInfo, Refusal, Replication, ReplicationFuture, Role, RoleInfo, StatusInfo,
};
