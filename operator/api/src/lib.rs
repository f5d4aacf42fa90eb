//! The custom resources of Standby: `StandbyCluster`, which people write, and `StandbyView`, which
//! only the operator writes.
//!
//! This crate holds types, their schemas and the CEL rules by which the API server itself refuses
//! what is wrong; [`crds`] turns them into the files under `crds/`. It never talks to an API server.

#![forbid(unsafe_code)]

pub mod cluster;
pub mod crds;
pub mod names;
pub mod placement;
mod schemas;
pub mod status;
pub mod view;

pub use cluster::{
    Client, Deletion, Detection, Durability, EtcdOptions, Failover, FailoverLimit, FailoverMode,
    ImagePullPolicy, Interface, Maintenance, MaintenanceWindow, NetworkPolicyOptions,
    NetworkSource, PodMetadata, Preference, Resources, ServiceOptions, StandbyCluster,
    StandbyClusterSpec, Storage, Tls,
};
pub use crds::crds;
pub use placement::{Placement, Spread, SpreadPolicy};
pub use status::{
    DataLoss, FailoverStatus, FailoverSteps, NextStep, NodeRole, NodeStatus, OptionStatus,
    OrderOutcome, OrderStatus, StandbyClusterStatus,
};
pub use view::{
    ChangeError, Consent, ConsentKind, SpecError, StandbyView, StandbyViewSpec, check_change,
};
