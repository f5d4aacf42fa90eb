//! etcd v3 over Standby's replicated log: the state machine, and the services that clients call.
//!
//! This crate never knows how entries are replicated: it sees [`standby_interface::Replication`].

#![forbid(unsafe_code)]

pub mod command;
pub mod error;
pub mod health;
pub mod http;
pub mod lessor;
pub mod limits;
pub mod pb;
pub mod server;
pub mod services;
pub mod state;
pub mod watch;
