//! The Services of a cluster. None has a selector: the operator writes their endpoints itself, in the
//! very moment a view is recorded.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{limits, meta};
use crate::validate::ValidatedCluster;

/// The name of the client port in `Service`s and `EndpointSlice`s; the two must agree.
pub const PORT_NAME_CLIENT: &str = "client";

/// Which nodes a Service leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// The primary, and nothing else.
    ReadWrite,
    /// Read replicas; the synchronous standby only when asked.
    ReadOnly,
    /// Every node that can be read.
    Read,
}

impl Access {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ReadWrite, Self::ReadOnly, Self::Read];

    /// What the Service's name ends with.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::ReadWrite => "rw",
            Self::ReadOnly => "ro",
            Self::Read => "r",
        }
    }
}

/// The name of a cluster's Service.
#[must_use]
pub fn name(cluster: &str, access: Access) -> String {
    format!("{cluster}-{}", access.suffix())
}

/// A cluster's Service.
#[must_use]
pub fn service(cluster: &ValidatedCluster, access: Access) -> Service {
    Service {
        metadata: meta::owned(cluster, name(&cluster.name, access), meta::labels(cluster)),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            ports: Some(vec![ServicePort {
                name: Some(PORT_NAME_CLIENT.to_owned()),
                port: limits::PORT_CLIENT.into(),
                target_port: Some(IntOrString::Int(limits::PORT_CLIENT.into())),
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
