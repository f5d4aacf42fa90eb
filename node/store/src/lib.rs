//! What a node keeps on its volume: the commit log, the adopted view, the volume's identity, and the
//! ordered key-value engine that state machines are kept in.
//!
//! This crate never decides what may be acknowledged (that is `standby-core`) and never knows what a
//! payload means.

#![forbid(unsafe_code)]

pub mod disk;
pub mod engine;
pub mod limits;
pub mod log;
pub mod volume;

pub use disk::{DiskSpace, disk_space};
