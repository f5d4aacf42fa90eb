//! What the operator sees of the simulated Kubernetes and its nodes.

use std::collections::{BTreeMap, BTreeSet};

use standby_core::{ClusterId, Epoch, Index, Micros, NodeId, Position, View};

use super::{Claim, Host, Pod, Process, Sim};
use crate::detect::Loss;
use crate::observe::{
    ClaimFacts, Container, HostFacts, LinkState, NodeFacts, NodeReport, NodeRole, Observation,
    Peer, PodFacts, PrimaryLink, Recorded, Stream,
};
use crate::plan::fixtures;

impl Sim {
    pub(super) fn observe(&self) -> Observation {
        let mut nodes: BTreeMap<String, NodeFacts> = BTreeMap::new();
        for (name, claim) in &self.claims {
            nodes.entry(name.clone()).or_default().claim = Some(self.claim_facts(claim));
        }
        for (name, pod) in &self.pods {
            let facts = nodes.entry(name.clone()).or_default();
            facts.host = pod
                .host
                .as_ref()
                .map_or(HostFacts::Unknown, |host| host_facts(self.hosts[host]));
            facts.pod = Some(self.pod_facts(name, pod));
            facts.stream = match (self.process(name), &pod.host) {
                (Some(_), _) => Stream::Alive,
                (None, Some(_)) => Stream::Lost(Loss::Refused),
                (None, None) => Stream::None,
            };
            facts.report = self
                .process(name)
                .map(|process| self.report(name, pod, process));
        }
        let mut cluster = self.cluster.clone();
        cluster.upkeep.room = self.free_host().is_some();
        Observation {
            cluster,
            recorded: self
                .recorded
                .clone()
                .map_or(Recorded::Absent, Recorded::View),
            nodes,
            losses: Vec::new(),
            wall: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    fn claim_facts(&self, claim: &Claim) -> ClaimFacts {
        let volume = claim
            .volume
            .as_ref()
            .and_then(|volume| self.volumes.get(volume));
        let bound = volume.and_then(|volume| volume.host.clone());
        ClaimFacts {
            uid: claim.uid.clone(),
            deleting: claim.deleting,
            owned: claim.owned,
            home: bound
                .as_ref()
                .map_or(HostFacts::Unknown, |host| host_facts(self.hosts[host])),
            bound_to_host: bound,
            lost: claim.lost,
            requested_bytes: claim.bytes,
            expandable: Some(true),
            grows_when_mounted: false,
        }
    }

    fn pod_facts(&self, name: &str, pod: &Pod) -> PodFacts {
        let runs = self.process(name).is_some();
        PodFacts {
            uid: pod.uid.clone(),
            ip: pod.host.as_ref().map(|_| format!("10.0.{}", pod.uid)),
            host: pod.host.clone(),
            container: self.container(pod),
            deleting_since: pod.deleting,
            ready: runs && self.follows_or_leads(name),
            built_from: Some(pod.built_from.clone()),
            cordoned: pod
                .host
                .as_ref()
                .is_some_and(|h| self.hosts[h] == Host::Cordoned),
            since: pod.since,
            waits: if self.broken.contains(&pod.built_from) {
                "ImagePullBackOff".into()
            } else {
                String::new()
            },
            ..PodFacts::default()
        }
    }

    /// As the kubelet last said: one that is away says nothing of the end of its containers.
    fn container(&self, pod: &Pod) -> Container {
        let (Some(host), Some(run)) = (&pod.host, pod.last_run) else {
            return Container::default();
        };
        let id = format!("c-{run}");
        let away = matches!(self.hosts[host], Host::Away(_) | Host::Gone(_));
        if away || pod.process.is_some() {
            return Container {
                running: Some(id),
                ..Container::default()
            };
        }
        Container {
            terminated: [id].into(),
            ended: true,
            ended_why: "Error, exit code 137".into(),
            ..Container::default()
        }
    }

    fn report(&self, name: &str, pod: &Pod, process: &Process) -> NodeReport {
        let node = self.id(name).expect("a process has a volume");
        let disk = self.disk(name).expect("a process has a volume");
        let view = disk.adopted.as_ref();
        let role = self.role(name);
        let serves = role == NodeRole::Primary && view.is_some_and(View::can_acknowledge);
        let link = view
            .filter(|_| role == NodeRole::Follower)
            .map(|view| PrimaryLink {
                state: if self.linked(&view.primary, &node) {
                    LinkState::Up
                } else {
                    LinkState::Refused
                },
                ..PrimaryLink::default()
            });
        let leads = matches!(role, NodeRole::Primary | NodeRole::SteppedDown);
        NodeReport {
            pod_uid: pod.uid.clone(),
            cluster_id: ClusterId(disk.cluster.clone()),
            run: format!("run-{}", process.run),
            role,
            last: Position::new(Epoch(1), Index(disk.has)),
            durable: Index(disk.has),
            serving: serves,
            drained: role == NodeRole::SteppedDown
                && view.is_some_and(|v| v.synchronous.iter().all(|n| self.linked(&node, n))),
            wants_handover: pod.deleting.is_some() && role == NodeRole::Primary,
            peers: if leads { self.peers(&node) } else { Vec::new() },
            link,
            ..fixtures::report(1, view)
        }
        .of(node)
    }

    fn peers(&self, primary: &NodeId) -> Vec<Peer> {
        let process = self.process(&primary.name).expect("it leads");
        let waited = self.waits_for(primary);
        self.claims
            .keys()
            .filter_map(|name| self.id(name))
            .filter(|node| node != primary)
            .map(|node| Peer {
                silent: self
                    .unheard
                    .get(&node.name)
                    .map_or(Micros(0), |at| self.now.since(*at)),
                phi: if self.unheard.contains_key(&node.name) {
                    40.0
                } else {
                    0.0
                },
                connected: self.linked(primary, &node),
                awaited: waited.contains(&node),
                complete: process.completed.contains(&node),
                node,
                ..fixtures::peer(1)
            })
            .collect()
    }

    pub(super) fn waits_for(&self, primary: &NodeId) -> BTreeSet<NodeId> {
        let process = self.process(&primary.name).expect("it leads");
        let view = self
            .disk(&primary.name)
            .and_then(|disk| disk.adopted.as_ref());
        let view = view.expect("it leads");
        view.synchronous.union(&process.awaited).cloned().collect()
    }
}

impl NodeReport {
    fn of(self, node: NodeId) -> Self {
        Self { node, ..self }
    }
}

fn host_facts(host: Host) -> HostFacts {
    match host {
        Host::Ready | Host::Cordoned => HostFacts::Ready,
        Host::Away(since) => HostFacts::NotReady(since),
        Host::Gone(since) => HostFacts::Gone(since),
    }
}
