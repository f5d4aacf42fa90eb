//! The node's process: threads, sockets, TLS and wiring around the core, the store and a protocol.
//!
//! Nothing in this crate decides what may be acknowledged or who is primary.

#![forbid(unsafe_code)]

pub mod config;
pub mod control;
pub mod disk_watch;
pub mod limits;
pub mod logging;
pub mod peers;
pub mod probe;
pub mod recovery;
pub mod replication;
pub mod run;
#[cfg(test)]
mod shell_tests;
pub mod tls;
