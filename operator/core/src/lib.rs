//! What the operator decides, as pure functions: observation in, decision and reason out.
//!
//! - [`observe`]: everything known about one cluster at one moment;
//! - [`judge`]: what that says about the primary, the synchronous nodes and the candidates;
//! - [`orders`], [`policy`]: what people order by annotations, and what they want of moves;
//! - [`plan`]: what to do, and why; the state table of failover, establishing and switchover;
//! - [`memory`]: what is remembered between two looks, none of it needed for safety;
//! - [`status`]: what people see of it;
//! - [`detect`], [`lease`]: failure detection of one stream, leader election;
//! - [`build`], [`validate`]: the Kubernetes objects of a cluster, and its checked specification;
//! - [`words`]: when two sentences say the same.
//!
//! This crate never talks to an API server or a node, never reads a clock and never draws a random
//! number: the time is an argument, on the operator's own monotonic clock.

#![forbid(unsafe_code)]

pub mod build;
pub mod candidate;
pub mod detect;
pub mod facts;
pub mod judge;
pub mod lease;
pub mod limits;
pub mod memory;
pub mod observe;
pub mod orders;
pub mod plan;
pub mod policy;
pub mod status;
pub mod validate;
pub mod words;
