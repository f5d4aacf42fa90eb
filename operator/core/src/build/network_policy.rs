//! Who may reach a cluster's pods, port by port.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use standby_api::{NetworkSource, names};

use super::{limits, meta};
use crate::validate::ValidatedCluster;

/// The policy, unless the cluster wants none. Clients come from everywhere by default: mutual TLS
/// already says who they are.
#[must_use]
pub fn network_policy(cluster: &ValidatedCluster) -> Option<NetworkPolicy> {
    let sources = cluster.network_policy.as_ref()?;
    let nodes = NetworkPolicyPeer {
        pod_selector: Some(meta::selector(&cluster.name)),
        ..NetworkPolicyPeer::default()
    };
    // After a planned move nodes pass requests on to each other's client port.
    let clients = sources.iter().map(source).chain([nodes.clone()]);
    let clients = (!sources.is_empty()).then(|| clients.collect());
    let everywhere_in_kubernetes = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        ..NetworkPolicyPeer::default()
    };
    Some(NetworkPolicy {
        metadata: meta::owned(cluster, cluster.name.clone(), meta::labels(cluster)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(meta::selector(&cluster.name)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![
                allow(limits::PORT_CLIENT, clients),
                allow(limits::PORT_PEER, Some(vec![nodes])),
                allow(limits::PORT_CONTROL, Some(vec![operator(cluster)])),
                allow(limits::PORT_PROBE, Some(vec![everywhere_in_kubernetes])),
            ]),
            egress: None,
        }),
    })
}

fn allow(port: u16, from: Option<Vec<NetworkPolicyPeer>>) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from,
        ports: Some(vec![NetworkPolicyPort {
            port: Some(IntOrString::Int(port.into())),
            protocol: Some("TCP".to_owned()),
            end_port: None,
        }]),
    }
}

fn matching(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels),
        ..LabelSelector::default()
    }
}

fn operator(cluster: &ValidatedCluster) -> NetworkPolicyPeer {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    NetworkPolicyPeer {
        namespace_selector: Some(matching(BTreeMap::from([pair(
            "kubernetes.io/metadata.name",
            &cluster.operator_namespace,
        )]))),
        pod_selector: Some(matching(BTreeMap::from([
            pair("app.kubernetes.io/name", names::APP_NAME),
            pair("app.kubernetes.io/component", names::COMPONENT_OPERATOR),
        ]))),
        ip_block: None,
    }
}

fn source(source: &NetworkSource) -> NetworkPolicyPeer {
    let some =
        |labels: &BTreeMap<String, String>| (!labels.is_empty()).then(|| matching(labels.clone()));
    NetworkPolicyPeer {
        namespace_selector: some(&source.namespace_labels),
        // A peer without any selector is refused; an empty one selects every pod of the namespace.
        pod_selector: Some(some(&source.pod_labels).unwrap_or_default()),
        ip_block: None,
    }
}
