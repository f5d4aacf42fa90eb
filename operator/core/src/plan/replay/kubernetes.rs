//! The simulated Kubernetes, and the nodes in it: what comes of the operator's orders.

use std::collections::BTreeSet;

use standby_core::{Epoch, NodeId};

use super::{Claim, HANDOVER_TURNS, Host, Pod, Process, Sim, TURN, Volume};
use crate::observe::NodeRole;
use crate::plan::Action;

impl Sim {
    pub(super) fn id(&self, name: &str) -> Option<NodeId> {
        let volume = self.claims.get(name)?.volume.clone()?;
        Some(NodeId::new(name, volume))
    }

    /// The node's disk, if a process uses it.
    pub(super) fn disk(&self, name: &str) -> Option<&Volume> {
        self.process(name)?;
        self.volumes.get(self.claims.get(name)?.volume.as_ref()?)
    }

    pub(super) fn process(&self, name: &str) -> Option<&Process> {
        let pod = self.pods.get(name)?;
        let away = pod
            .host
            .as_ref()
            .is_none_or(|host| matches!(self.hosts[host], Host::Away(_) | Host::Gone(_)));
        pod.process.as_ref().filter(|_| !away)
    }

    pub(super) fn role(&self, name: &str) -> NodeRole {
        let (Some(process), Some(disk)) = (self.process(name), self.disk(name)) else {
            return NodeRole::Unassigned;
        };
        match &disk.adopted {
            None => NodeRole::Unassigned,
            Some(view) if Some(&view.primary) != self.id(name).as_ref() => NodeRole::Follower,
            Some(_) if !process.adopted_by_this_run => NodeRole::Restarted,
            Some(_) if process.stepped_down => NodeRole::SteppedDown,
            Some(_) => NodeRole::Primary,
        }
    }

    /// A follower hears its primary: both run, in the same view.
    pub(super) fn linked(&self, primary: &NodeId, follower: &NodeId) -> bool {
        let is = |node: &NodeId| self.id(&node.name).as_ref() == Some(node);
        let (Some(p), Some(f)) = (self.disk(&primary.name), self.disk(&follower.name)) else {
            return false;
        };
        is(primary) && is(follower) && p.adopted.is_some() && p.adopted == f.adopted
    }

    pub(super) fn follows_or_leads(&self, name: &str) -> bool {
        let Some(id) = self.id(name) else {
            return false;
        };
        match self.role(name) {
            NodeRole::Primary => true,
            NodeRole::Follower => self
                .disk(name)
                .and_then(|disk| disk.adopted.as_ref())
                .is_some_and(|view| self.linked(&view.primary, &id)),
            _ => false,
        }
    }

    pub(super) fn push(&mut self, await_nodes: &BTreeSet<NodeId>) {
        let Some(recorded) = self.recorded.clone() else {
            return;
        };
        let names: Vec<String> = self.pods.keys().cloned().collect();
        for name in names {
            let Some(disk) = self.disk(&name) else {
                continue;
            };
            let newer = disk
                .adopted
                .as_ref()
                .is_none_or(|view| view.epoch < recorded.epoch);
            let ours = disk.cluster == recorded.cluster_id.0;
            let disk_view = disk.adopted.clone();
            let volume = self.claims[&name].volume.clone().expect("it runs");
            let id = self.id(&name);
            if newer && ours {
                self.volumes.get_mut(&volume).expect("known").adopted = Some(recorded.clone());
                // What may have been written in an epoch is not written again (V3).
                let comes_from_before = disk_view.is_some_and(|view| {
                    view.primary == recorded.primary && view.epoch.next() == recorded.epoch
                });
                let to_lead = id.as_ref() == Some(&recorded.primary) && recorded.can_acknowledge();
                let process = self.running(&name);
                let leads = process.adopted_by_this_run && comes_from_before;
                process.adopted_by_this_run = leads || !to_lead;
                process.stepped_down = false;
                process.awaited.clear();
                process.completed.clear();
            }
            let adopted = self.volumes[&volume].adopted.as_ref() == Some(&recorded);
            if adopted && id.as_ref() == Some(&recorded.primary) {
                self.running(&name)
                    .awaited
                    .extend(await_nodes.iter().cloned());
            }
        }
    }

    fn running(&mut self, name: &str) -> &mut Process {
        let pod = self.pods.get_mut(name).expect("it runs");
        pod.process.as_mut().expect("it runs")
    }

    pub(super) fn step_down(&mut self, name: &str, epoch: Epoch) {
        let adopted = self.disk(name).and_then(|disk| disk.adopted.as_ref());
        if adopted.is_some_and(|view| view.epoch == epoch) {
            self.running(name).stepped_down = true;
        }
    }

    /// Carries out what is about pods and claims; whether anything changed.
    pub(super) fn apply(&mut self, action: &Action) -> bool {
        let number = self.next_number();
        match action {
            Action::CreateClaim { node } => {
                let claim = Claim {
                    uid: format!("claim-{number}"),
                    owned: !self.cluster.retain_volumes,
                    bytes: self.cluster.upkeep.storage_bytes,
                    ..Claim::default()
                };
                self.claims.entry(node.clone()).or_insert(claim);
            }
            Action::CreatePod { node } => {
                let pod = Pod {
                    uid: format!("{number}.1"),
                    host: None,
                    built_from: self.cluster.upkeep.built_from.clone(),
                    since: self.now,
                    deleting: None,
                    terminating_turns: 0,
                    last_run: None,
                    process: None,
                };
                self.pods.entry(node.clone()).or_insert(pod);
            }
            Action::DeletePod { node, uid, force } => {
                let now = self.now;
                let Some(pod) = self.pods.get_mut(node).filter(|pod| pod.uid == *uid) else {
                    return false;
                };
                pod.deleting.get_or_insert(now);
                if *force {
                    self.pods.remove(node);
                }
            }
            Action::DeleteClaim { node, uid } => {
                if let Some(claim) = self.claims.get_mut(node).filter(|claim| claim.uid == *uid) {
                    claim.deleting = true;
                }
            }
            Action::GrowClaim { node, bytes } => {
                self.claims.get_mut(node).expect("it was seen").bytes = *bytes;
            }
            Action::OwnClaim { node } => {
                self.claims.get_mut(node).expect("it was seen").owned = true;
            }
            Action::RetainClaims { nodes } => {
                let mut changed = false;
                for node in nodes {
                    let claim = self.claims.get_mut(node).expect("it was seen");
                    changed |= std::mem::take(&mut claim.owned);
                }
                return changed;
            }
            Action::LabelPod { .. } | Action::Release => return false,
            hot => unreachable!("{hot} is hot"),
        }
        true
    }

    /// Time passes for kubelets, the scheduler and the nodes; whether pods came or went.
    pub(super) fn live(&mut self) -> bool {
        let ended = self.end_pods();
        let gone: Vec<String> = self
            .claims
            .iter()
            .filter(|(name, claim)| claim.deleting && !self.pods.contains_key(*name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &gone {
            if let Some(volume) = self.claims.remove(name).and_then(|claim| claim.volume) {
                self.volumes.remove(&volume);
            }
        }
        let started = self.start_pods();
        self.write();
        ended || started || !gone.is_empty()
    }

    fn end_pods(&mut self) -> bool {
        let names: Vec<String> = self.pods.keys().cloned().collect();
        let mut changed = false;
        for name in names {
            let leads = matches!(self.role(&name), NodeRole::Primary | NodeRole::SteppedDown);
            let away = self.pods[&name]
                .host
                .as_ref()
                .is_some_and(|host| matches!(self.hosts[host], Host::Away(_) | Host::Gone(_)));
            let pod = self.pods.get_mut(&name).expect("just listed");
            if pod.deleting.is_none() || away {
                continue;
            }
            pod.terminating_turns += 1;
            changed = true;
            // A primary waits for its successor.
            if !leads || pod.terminating_turns > HANDOVER_TURNS {
                self.pods.remove(&name);
            }
        }
        changed
    }

    fn start_pods(&mut self) -> bool {
        let names: Vec<String> = self.pods.keys().cloned().collect();
        let mut changed = false;
        for name in names {
            let pod = &self.pods[&name];
            let startable = pod.deleting.is_none()
                && pod.process.is_none()
                && !self.broken.contains(&pod.built_from);
            let claim = self.claims.get(&name).filter(|c| !c.deleting && !c.lost);
            let (true, Some(claim)) = (startable, claim) else {
                continue;
            };
            let home = claim
                .volume
                .as_ref()
                .and_then(|v| self.volumes[v].host.clone());
            let host = match (pod.host.clone(), home) {
                (Some(host), _) => Some(host),
                (None, Some(home)) => (self.hosts[&home] == Host::Ready).then_some(home),
                (None, None) => self.free_host(),
            };
            let Some(host) = host else { continue };
            if matches!(self.hosts[&host], Host::Away(_) | Host::Gone(_)) {
                continue;
            }
            self.start(&name, host);
            changed = true;
        }
        changed
    }

    fn start(&mut self, name: &str, host: String) {
        let number = self.next_number();
        let cluster = self.cluster.id.0.clone();
        let local = self.local_volumes.then(|| host.clone());
        let claim = self.claims.get_mut(name).expect("it has a claim");
        let volume = claim
            .volume
            .get_or_insert_with(|| format!("{number:016x}"))
            .clone();
        self.volumes.entry(volume).or_insert(Volume {
            cluster,
            host: local,
            ..Volume::default()
        });
        let pod = self.pods.get_mut(name).expect("it was listed");
        pod.host = Some(host);
        pod.last_run = Some(number);
        pod.process = Some(Process {
            run: number,
            adopted_by_this_run: false,
            stepped_down: false,
            awaited: BTreeSet::new(),
            completed: BTreeSet::new(),
        });
    }

    /// The first ready host without a pod of the cluster.
    pub(super) fn free_host(&self) -> Option<String> {
        let used = |host: &String| {
            self.pods
                .values()
                .any(|pod| pod.host.as_ref() == Some(host))
        };
        self.hosts
            .iter()
            .find(|(name, host)| **host == Host::Ready && !used(name))
            .map(|(name, _)| name.clone())
    }

    /// Every primary that may acknowledges a write, if all it waits for take it; followers catch up.
    fn write(&mut self) {
        let mut went = false;
        let names: Vec<String> = self.pods.keys().cloned().collect();
        for name in names {
            if self.role(&name) != NodeRole::Primary {
                continue;
            }
            let primary = self.id(&name).expect("it leads");
            let view = self
                .disk(&name)
                .and_then(|disk| disk.adopted.clone())
                .expect("it leads");
            let waited = self.waits_for(&primary);
            let has = self.disk(&name).expect("it leads").has;
            let followers: Vec<NodeId> = self
                .claims
                .keys()
                .filter_map(|name| self.id(name))
                .filter(|node| self.linked(&primary, node))
                .collect();
            let acknowledges =
                |node: &NodeId| followers.contains(node) && !self.unheard.contains_key(&node.name);
            let complete: Vec<NodeId> =
                waited.iter().filter(|n| acknowledges(n)).cloned().collect();
            let all = complete.len() == waited.len();
            let next = if view.can_acknowledge() && all {
                assert_eq!(
                    has, self.acknowledged,
                    "{name} acknowledges without having everything:\n{}",
                    self.text
                );
                went = true;
                self.acknowledged += 1;
                self.acknowledged
            } else {
                has
            };
            for node in followers.iter().chain([&primary]) {
                let has = &mut self.volumes.get_mut(&node.volume.0).expect("it runs").has;
                *has = next;
            }
            let process = self.running(&name);
            process.completed.extend(complete);
        }
        if went {
            self.writes.0 += 1;
        } else {
            self.writes.1 += 1;
        }
    }

    /// The volumes that hold every acknowledged write.
    pub(super) fn copies(&self) -> usize {
        self.volumes
            .values()
            .filter(|volume| volume.has == self.acknowledged && volume.adopted.is_some())
            .count()
    }

    pub(super) fn pass(&mut self, millis: u64) {
        self.now = self
            .now
            .plus(standby_core::Micros::from_millis(millis))
            .plus(TURN);
    }
}
