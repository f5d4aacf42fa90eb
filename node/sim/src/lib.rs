//! A deterministic simulation of one cluster: nodes that run the real core, disks, a network, the
//! recorded view, operators with stale knowledge, and clients. One thread, one seed; the same seed
//! always gives the same run.
//!
//! A run has a safety phase under faults, in which the [`invariants`] are checked after every step,
//! and then a healing phase without faults, in which the cluster must become writable again.
//!
//! Nothing here is part of the product, and nothing here decides anything the core decides.

#![forbid(unsafe_code)]

mod clients;
mod disk;
mod faults;
pub mod invariants;
mod node;
mod operator;
pub mod scenario;
mod volumes;
mod world;

pub use world::{Report, World, run, run_with};
