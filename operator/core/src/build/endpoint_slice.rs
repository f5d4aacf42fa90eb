//! Where the Services lead. The slice of the read-write Service has exactly one endpoint, the
//! primary, or none; it is changed in one update that takes the old address out and puts the new one
//! in.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use standby_api::{NodeRole, names};

use super::service::{self, Access, PORT_NAME_CLIENT};
use super::{limits, meta};
use crate::validate::ValidatedCluster;

/// The family of a slice's addresses. A slice cannot change it, so each family has a slice of its
/// own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    #[default]
    V4,
    /// IPv6.
    V6,
}

/// A node that could be led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The pod's name.
    pub pod: String,
    /// The pod's address.
    pub address: IpAddr,
    /// The Kubernetes node it runs on.
    pub host: Option<String>,
    /// That node's zone.
    pub zone: Option<String>,
    /// What the recorded view makes of it.
    pub role: NodeRole,
    /// Whether it can be read: it runs, and follows or is the primary.
    pub readable: bool,
}

/// The family of an address.
#[must_use]
pub fn family(address: IpAddr) -> Family {
    if address.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    }
}

/// The name of a Service's slice.
#[must_use]
pub fn name(cluster: &str, access: Access, family: Family) -> String {
    let service = service::name(cluster, access);
    match family {
        Family::V4 => service,
        Family::V6 => format!("{service}-v6"),
    }
}

/// The slice of the read-write Service: the primary, or nothing (connections are then refused at
/// once). The caller names the primary only while it may be announced; it need not serve yet, since a
/// promoted node holds requests until it may.
///
/// # Panics
///
/// If the target is not the primary: leading writers elsewhere is a defect of the caller.
#[must_use]
pub fn read_write(
    cluster: &ValidatedCluster,
    family_of_slice: Family,
    primary: Option<&Target>,
) -> EndpointSlice {
    assert!(
        primary.is_none_or(|target| target.role == NodeRole::Primary),
        "only the primary is announced for writes"
    );
    slice(
        cluster,
        Access::ReadWrite,
        family_of_slice,
        primary.into_iter(),
    )
}

/// The slice of a Service for reading. `ReadOnly` leads to read replicas, and to the synchronous
/// standby only if the cluster asks for it; without either it leads nowhere, and readers are refused
/// rather than sent to the primary. `Read` leads to every readable node.
///
/// # Panics
///
/// If asked for the read-write Service, which [`read_write`] builds.
#[must_use]
pub fn read(
    cluster: &ValidatedCluster,
    access: Access,
    family_of_slice: Family,
    targets: &[Target],
) -> EndpointSlice {
    assert!(
        access != Access::ReadWrite,
        "the read-write slice has a function of its own"
    );
    let leads = targets.iter().filter(|target| {
        target.readable
            && match target.role {
                NodeRole::Replica => true,
                NodeRole::Synchronous => {
                    access == Access::Read || cluster.read_only_from_synchronous
                }
                NodeRole::Primary => access == Access::Read,
            }
    });
    slice(cluster, access, family_of_slice, leads)
}

fn slice<'a>(
    cluster: &ValidatedCluster,
    access: Access,
    family_of_slice: Family,
    targets: impl Iterator<Item = &'a Target>,
) -> EndpointSlice {
    let mut labels = meta::labels(cluster);
    labels.insert(
        "kubernetes.io/service-name".to_owned(),
        service::name(&cluster.name, access),
    );
    labels.insert(
        "endpointslice.kubernetes.io/managed-by".to_owned(),
        names::MANAGED_BY.to_owned(),
    );
    let mut endpoints: Vec<Endpoint> = targets
        .filter(|target| family(target.address) == family_of_slice)
        .map(|target| endpoint(cluster, target))
        .collect();
    // The same targets in another order are the same slice: no update, no work for kube-proxy.
    endpoints.sort_by(|one, other| one.addresses.cmp(&other.addresses));
    EndpointSlice {
        metadata: meta::owned(
            cluster,
            name(&cluster.name, access, family_of_slice),
            labels,
        ),
        address_type: match family_of_slice {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
        .to_owned(),
        endpoints,
        ports: Some(vec![EndpointPort {
            name: Some(PORT_NAME_CLIENT.to_owned()),
            port: Some(limits::PORT_CLIENT.into()),
            protocol: Some("TCP".to_owned()),
            ..EndpointPort::default()
        }]),
    }
}

fn endpoint(cluster: &ValidatedCluster, target: &Target) -> Endpoint {
    Endpoint {
        addresses: vec![target.address.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(true),
            serving: Some(true),
            terminating: Some(false),
        }),
        node_name: target.host.clone(),
        zone: target.zone.clone(),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            name: Some(target.pod.clone()),
            namespace: Some(cluster.namespace.clone()),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    }
}
