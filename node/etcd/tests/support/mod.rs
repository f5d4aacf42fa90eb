//! What tests of the server stand on: replication in one process without a log, and a server over it.
#![allow(dead_code, reason = "each test uses its part")]

mod local_replication;
mod local_server;

pub use local_replication::LocalReplication;
pub use local_server::LocalServer;
