//! A fleet of simulated storage nodes in one process: each answers the control protocol at an address
//! of its own, adopts the views it is told and dies when it is told. It is there to measure an operator
//! that looks after many clusters, on one machine.
//!
//! It never stores an entry and never serves a client: what a node does between its ports is replaced
//! by the end of a log that every living follower of a cluster shares with its primary.

pub mod command;
pub mod limits;
pub mod model;
pub mod serve;
pub mod wire;
