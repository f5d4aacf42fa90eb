//! The streams of a cluster, and what its nodes are told.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use standby_api::Client;
use standby_control::{CLIENT_PORT, CONTROL_PORT, PEER_PORT, v1};
use standby_core::View;
use standby_operator_core::build::service::{self, Access};
use standby_operator_core::build::view::told_losses;
use standby_operator_core::observe::{NodeFacts, Observation};
use standby_operator_core::plan::{Action, Plan};
use standby_operator_core::validate::ValidatedCluster;

use super::Actor;
use crate::limits::ms;
use crate::stream::{Common, NodeStream, Orders, Target};

impl Actor {
    /// One stream to each pod that has an address: another pod object is another stream.
    pub(super) fn dial(&mut self, cluster: &ValidatedCluster, nodes: &BTreeMap<String, NodeFacts>) {
        self.streams.retain(|name, stream| {
            let target = nodes.get(name).and_then(|facts| target(name, facts));
            target.as_ref() == Some(stream.target())
        });
        for (name, facts) in nodes {
            if self.streams.contains_key(name) {
                continue;
            }
            if let Some(target) = target(name, facts) {
                let common = Common {
                    key: self.key.clone(),
                    clock: self.context.clock,
                    wake: self.wake.clone(),
                    tls: self.tls.subscribe(),
                    ping: ms(cluster.detection.heartbeat_interval.as_millis()),
                    runtime: self.context.heartbeats.clone(),
                };
                self.streams
                    .insert(name.clone(), NodeStream::start(target, common));
            }
        }
    }

    /// Gives every stream what its node shall know. Streams send it only when it changed.
    pub(super) fn order(&self, cluster: &ValidatedCluster, observation: &Observation, plan: &Plan) {
        let push = plan
            .actions
            .iter()
            .find_map(|planned| match &planned.action {
                Action::Push {
                    await_nodes,
                    previous_stopped,
                } => Some(Arc::new(v1::PushView {
                    view: observation.view().map(|view| told(view, observation)),
                    await_nodes: await_nodes.iter().map(Into::into).collect(),
                    previous_primary_stopped: *previous_stopped,
                    peers: peers(cluster, observation),
                    client_url: client_url(cluster),
                })),
                _ => None,
            });
        let step_down = plan
            .actions
            .iter()
            .find_map(|planned| match &planned.action {
                Action::StepDown { node, epoch } => Some((node, *epoch)),
                _ => None,
            });
        let Some(push) = push else { return };
        for (name, stream) in &self.streams {
            let step_down = step_down
                .filter(|(node, _)| *node == name)
                .map(|(_, epoch)| epoch);
            stream.order(Orders {
                push: Some(push.clone()),
                step_down,
            });
        }
    }
}

/// The view as nodes are told it: with what was ever given up.
fn told(view: &View, observation: &Observation) -> v1::View {
    View {
        loss: told_losses(&observation.losses),
        ..view.clone()
    }
    .borrow()
    .into()
}

fn target(name: &str, facts: &NodeFacts) -> Option<Target> {
    let pod = facts.pod.as_ref()?;
    let ip = pod.ip.as_ref()?;
    Some(Target {
        pod: name.to_owned(),
        uid: pod.uid.clone(),
        address: at(ip, CONTROL_PORT),
    })
}

/// host:port, with the brackets that an IPv6 address needs.
fn at(ip: &str, port: u16) -> String {
    if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    }
}

fn scheme(cluster: &ValidatedCluster) -> &'static str {
    match cluster.client_tls {
        Client::Mutual | Client::ServerOnly => "https",
        Client::Disabled => "http",
    }
}

fn peers(cluster: &ValidatedCluster, observation: &Observation) -> Vec<v1::PeerAddress> {
    let scheme = scheme(cluster);
    observation
        .nodes
        .iter()
        .filter_map(|(name, facts)| {
            let ip = facts.pod.as_ref()?.ip.as_ref()?;
            Some(v1::PeerAddress {
                name: name.clone(),
                peer: at(ip, PEER_PORT),
                client_url: format!("{scheme}://{}", at(ip, CLIENT_PORT)),
            })
        })
        .collect()
}

fn client_url(cluster: &ValidatedCluster) -> String {
    let service = service::name(&cluster.name, Access::ReadWrite);
    format!(
        "{}://{service}.{}.svc:{CLIENT_PORT}",
        scheme(cluster),
        cluster.namespace
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_is_put_in_brackets() {
        assert_eq!(at("10.0.0.1", 2381), "10.0.0.1:2381");
        assert_eq!(at("fd00::1", 2381), "[fd00::1]:2381");
    }
}
