//! A local multi-node Kubernetes, faults on purpose, writers and a checker: what the tests, the demo
//! and the benchmarks of Standby stand on.
//!
//! It is no part of the product, and the product never depends on it.

pub mod audit;
pub mod bench;
pub mod cluster;
pub mod command;
pub mod demo;
pub mod error;
pub mod etcd;
pub mod failover;
pub mod faults;
pub mod harm;
pub mod images;
pub mod kubernetes;
pub mod limits;
pub mod parts;
pub mod plugin;
pub mod product;
pub mod progress;
pub mod scene;
pub mod soak;
pub mod workload;
