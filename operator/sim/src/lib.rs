//! A deterministic simulation of the whole system: nodes that run the real replication core and the
//! real etcd state machine, two operators that run the real planner and the real leader election, an
//! API server with the real rules of views, kubelets, hosts, links, disks, clocks and clients. One
//! thread, one seed; the same seed always gives the same run.
//!
//! A run has storms of faults, in which the [`invariants`] are checked at every step and every answer
//! to a client against the [`history`], and after each storm the cluster must heal by itself.
//!
//! Nothing here is part of the product, and nothing here decides anything the cores decide. See
//! `docs/simulation.md`.

#![forbid(unsafe_code)]
#![allow(
    clippy::missing_panics_doc,
    reason = "a simulation tells of a broken rule by a panic, wherever it is found"
)]

mod acts;
pub mod api;
pub mod clients;
pub mod disk;
pub mod faults;
pub mod history;
pub mod invariants;
pub mod kube;
pub mod net;
pub mod operator;
mod people;
pub mod profile;
pub mod queue;
pub mod report;
pub mod rng;
mod run;
pub mod time;
pub mod watchers;
pub mod world;

pub use acts::Act;
pub use report::Report;
pub use run::{Run, catches, run, run_many};
