//! The slices of endpoints: the read-write one in one update, the moment a view is recorded; the read ones
//! with the slower work.

use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use standby_api::NodeRole;
use standby_operator_core::build::endpoint_slice::{self, Family, Target};
use standby_operator_core::build::service::Access;
use standby_operator_core::observe::{LinkState, NodeRole as Reported, Observation};
use standby_operator_core::validate::ValidatedCluster;

use crate::api::{ApiError, Lane, USUAL, apply};
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
    lane: Lane,
) -> Result<Option<String>, ApiError> {
    let mut slice =
        endpoint_slice::read_write(cluster, announced.family, announced.primary.as_ref());
    slice.metadata.resource_version = version;
    let written = apply(&context.client, &slice, lane).await?;
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

/// The slices of the read Services.
pub struct Slices {
    /// As they should be.
    pub all: Vec<EndpointSlice>,
    /// Those that differ from what was written last.
    pub changed: Vec<EndpointSlice>,
}

impl Slices {
    /// What has to be written of `all`: everything when it is not known what stands, or when it is time to
    /// write it anew.
    #[must_use]
    pub fn to_write(all: Vec<EndpointSlice>, written: Option<&[EndpointSlice]>) -> Self {
        let written = written.unwrap_or_default();
        let differing = all.iter().filter(|slice| !written.contains(slice));
        Self {
            changed: differing.cloned().collect(),
            all,
        }
    }
}

/// Writes the slices of the read Services.
pub async fn read(context: &Context, slices: &[EndpointSlice]) -> Result<(), ApiError> {
    for slice in slices {
        apply(&context.client, slice, USUAL).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_that_stand_are_written_again_only_when_it_is_time() {
        let slice = |kind: &str| EndpointSlice {
            address_type: kind.to_owned(),
            ..EndpointSlice::default()
        };
        let all = vec![slice("IPv4"), slice("IPv6")];
        let some = Slices::to_write(all.clone(), Some(&all[..1]));
        assert_eq!(some.changed, all[1..]);
        assert_eq!(Slices::to_write(all.clone(), None).changed, all);
    }
}
