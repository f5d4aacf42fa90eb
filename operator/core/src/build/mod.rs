//! The Kubernetes objects of a cluster, as pure functions of a [`ValidatedCluster`]: one file a kind.
//!
//! Every object is whole: applied by server-side apply, it says everything the operator wants of it.
//! Nothing here talks to an API server, decides what should exist now, or reads a clock.

pub mod endpoint_slice;
pub mod limits;
pub mod meta;
pub mod network_policy;
pub mod pki;
pub mod pod;
pub mod pod_disruption_budget;
pub mod rotation;
pub mod secret;
pub mod service;
pub mod view;
pub mod volume_claim;
