//! The generated messages and services. Never edited, never extended with logic.
#![allow(missing_docs, clippy::all, clippy::pedantic)]

/// Keys and events.
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// Users and roles.
pub mod authpb {
    tonic::include_proto!("authpb");
}

/// The six services and their messages.
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// What the log holds.
pub mod commandpb {
    tonic::include_proto!("commandpb");
}

/// What the store holds, and snapshots.
pub mod statepb {
    tonic::include_proto!("statepb");
}
