//! The slices of endpoints: the read-write one in one update, the moment a view is recorded; the read ones
//! with the slower work.

use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use standby_api::NodeRole;
use standby_operator_core::build::endpoint_slice::{self, Family, Target};
use standby_operator_core::build::service::Access;
use standby_operator_core::observe::{LinkState, NodeRole as Reported, Observation};
use standby_operator_core::validate::ValidatedCluster;

use crate::api::{ApiError, HOT, USUAL, apply};
use crate::context::Context;

/// Whom the read-write Service leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The primary; none: nobody.
    pub primary: Option<Target>,
    /// The family of addresses the slice is of.
    pub family: Family,
}

/// The target for a pod's address; none when it has no address, or none that can be read.
#[must_use]
pub fn target(observation: &Observation, name: &str) -> Option<Target> {
    let facts = observation.node(name)?;
    let pod = facts.pod.as_ref()?;
    let address: IpAddr = pod.ip.as_ref()?.parse().ok()?;
    let view = observation.view();
    let role = match view {
        Some(view) if view.primary.name == name => NodeRole::Primary,
        Some(view) if view.synchronous.iter().any(|node| node.name == name) => {
            NodeRole::Synchronous
        }
        _ => NodeRole::Replica,
    };
    let follows = |report: &standby_operator_core::observe::NodeReport| match report.role {
        Reported::Primary => report.serving,
        // A follower that has lost its primary still answers serializable reads.
        Reported::Follower => {
            report.doubt.is_empty()
                && report
                    .link
                    .is_some_and(|link| link.state != LinkState::Unknown)
        }
        _ => false,
    };
    Some(Target {
        pod: name.to_owned(),
        address,
        host: pod.host.clone(),
        zone: pod.zone.clone(),
        role,
        readable: facts.live().is_some_and(follows) && !observation.cluster.orders.fences(name),
    })
}

/// The family of the cluster's addresses.
#[must_use]
pub fn family(observation: &Observation) -> Family {
    observation
        .nodes
        .keys()
        .find_map(|name| target(observation, name))
        .map(|target| endpoint_slice::family(target.address))
        .unwrap_or_default()
}

/// Writes the read-write slice, and returns its new version. With the `version` this operator wrote
/// last, it is written only over that: a write that arrives late, ours or that of an operator that
/// leads no more, must not put an old address back.
pub async fn read_write(
    context: &Context,
    cluster: &ValidatedCluster,
    announced: &Announced,
    version: Option<String>,
) -> Result<Option<String>, ApiError> {
    let mut slice =
        endpoint_slice::read_write(cluster, announced.family, announced.primary.as_ref());
    slice.metadata.resource_version = version;
    let written = apply(&context.client, &slice, HOT).await?;
    Ok(written.metadata.resource_version)
}

/// The slices of the read Services.
#[must_use]
pub fn read_slices(cluster: &ValidatedCluster, observation: &Observation) -> Vec<EndpointSlice> {
    let targets: Vec<Target> = observation
        .nodes
        .keys()
        .filter_map(|name| target(observation, name))
        .collect();
    let family = family(observation);
    [Access::ReadOnly, Access::Read]
        .into_iter()
        .map(|access| endpoint_slice::read(cluster, access, family, &targets))
        .collect()
}

/// Writes the slices of the read Services.
pub async fn read(context: &Context, slices: &[EndpointSlice]) -> Result<(), ApiError> {
    for slice in slices {
        apply(&context.client, slice, USUAL).await?;
    }
    Ok(())
}
