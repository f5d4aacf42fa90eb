//! From an operator's caches and streams to an observation, as `operator/src/reconcile/dereference.rs`
//! makes it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use standby_core::Micros;
use standby_operator_core::facts::cluster_facts;
use standby_operator_core::observe::{ClaimFacts, HostFacts, NodeFacts, Observation, PodFacts};

use standby_operator_core::orders::Orders;

use super::Actor;
use crate::world::World;

/// When something was first seen.
#[derive(Debug, Default)]
pub struct FirstSeen(BTreeMap<String, Micros>);

impl FirstSeen {
    fn since(&mut self, what: String, now: Micros) -> Micros {
        *self.0.entry(what).or_insert(now)
    }

    fn over(&mut self, what: &str) {
        self.0.remove(what);
    }
}

impl World {
    /// The wall clock, for maintenance windows.
    fn wall(&self) -> Timestamp {
        let micros = i64::try_from(self.now).expect("a run lasts hours");
        Timestamp::from_microsecond(1_700_000_000_000_000 + micros).expect("a time of this century")
    }

    /// Every node there is or should be, without streams.
    fn nodes(&self, which: usize, actor: &mut Actor, now: Micros) -> BTreeMap<String, NodeFacts> {
        let cache = &self.operators[which].cache;
        let mut nodes: BTreeMap<String, NodeFacts> = BTreeMap::new();
        for (name, claim) in cache.claims.1.iter() {
            let mut home = HostFacts::Unknown;
            if let Some(host) = claim.host {
                home = self.host_facts(which, host, &mut actor.seen, now);
            }
            nodes.entry(name.clone()).or_default().claim = Some(ClaimFacts {
                uid: claim.uid.clone(),
                deleting: claim.deleting,
                owned: claim.owned,
                bound_to_host: claim.host.map(|host| format!("h{host}")),
                home,
                lost: false,
                requested_bytes: claim.bytes,
                expandable: Some(true),
                grows_when_mounted: false,
            });
        }
        for (name, pod) in cache.pods.1.iter() {
            let facts = nodes.entry(name.clone()).or_default();
            facts.host = HostFacts::Unknown;
            if let Some(host) = pod.host {
                facts.host = self.host_facts(which, host, &mut actor.seen, now);
            }
            let zone = |host: usize| format!("z{}", self.hosts.all[host].zone);
            facts.pod = Some(PodFacts {
                ip: pod.ip.map(|ip| format!("10.0.{}.{}", ip / 250, ip % 250)),
                host: pod.host.map(|host| format!("h{host}")),
                zone: pod.host.map(zone),
                over: pod.over,
                container: pod.container.clone(),
                deleting_since: pod
                    .deleting
                    .map(|_| actor.seen.since(format!("deleting/{}", pod.uid), now)),
                ready: pod.container.running.is_some(),
                role_label: pod.role.clone(),
                built_from: pod.built_from.clone(),
                cordoned: pod.host.is_some_and(|host| {
                    let object = cache.hosts.1.get(host);
                    object.is_none_or(|object| object.cordoned || !object.exists)
                }),
                since: actor.seen.since(format!("pod/{}", pod.uid), now),
                waits: String::new(),
                uid: pod.uid.clone(),
            });
        }
        nodes
    }

    fn host_facts(
        &self,
        which: usize,
        host: usize,
        seen: &mut FirstSeen,
        now: Micros,
    ) -> HostFacts {
        let (away, gone) = (format!("away/{host}"), format!("gone/{host}"));
        match self.operators[which].cache.hosts.1.get(host) {
            Some(object) if object.exists && object.ready => {
                seen.over(&away);
                seen.over(&gone);
                HostFacts::Ready
            }
            Some(object) if object.exists => {
                seen.over(&gone);
                HostFacts::NotReady(seen.since(away, now))
            }
            _ => {
                seen.over(&away);
                HostFacts::Gone(seen.since(gone, now))
            }
        }
    }

    /// Whether another host could take a pod.
    fn room(&self, which: usize) -> bool {
        let cache = &self.operators[which].cache;
        let taken = |host: usize| cache.pods.1.values().any(|pod| pod.host == Some(host));
        let able = |(at, host): (usize, &crate::api::HostObject)| {
            host.exists && host.ready && !host.cordoned && !taken(at)
        };
        cache.hosts.1.iter().enumerate().any(able)
    }

    /// One stream to each pod that has an address: another pod object is another stream.
    fn dial_pods(&mut self, which: usize, actor: &mut Actor) {
        let pods = self.operators[which].cache.pods.1.clone();
        let target = |name: &String| {
            let pod = pods.get(name)?;
            Some((pod.uid.clone(), pod.ip?))
        };
        let mut ended = Vec::new();
        actor.streams.retain(|name, stream| {
            let stays = target(name).as_ref() == Some(&stream.target);
            if !stays {
                ended.extend(stream.conn);
            }
            stays
        });
        for conn in ended {
            self.stream_ends(which, Some(conn));
        }
        let ping = actor
            .cluster
            .as_ref()
            .map(|cluster| cluster.detection.heartbeat_interval);
        for name in pods.keys() {
            let (Some(target), Some(ping)) = (target(name), ping) else {
                continue;
            };
            if !actor.streams.contains_key(name) {
                actor.new_streams.push((name.clone(), target, ping));
            }
        }
    }

    /// Everything an operator knows. The actor is taken out of the operator meanwhile.
    pub(super) fn observe(&mut self, which: usize, actor: &mut Actor) -> Option<Observation> {
        let now = self.operator_now(which);
        let cluster = actor.cluster.clone()?;
        let object = actor.object.clone()?;
        let deleting = object.metadata.deletion_timestamp.is_some();
        let orders = object.metadata.annotations.as_ref().map(Orders::read);
        let mut facts = cluster_facts(&cluster, deleting, orders.unwrap_or_default());
        let mut nodes = self.nodes(which, actor, now);
        facts.upkeep.room = self.room(which);
        self.dial_pods(which, actor);
        for (name, facts_of_node) in &mut nodes {
            if let Some(stream) = actor.streams.get(name) {
                facts_of_node.stream = stream.state(now, &facts.thresholds);
                facts_of_node.report.clone_from(&stream.report);
            }
        }
        Some(Observation {
            cluster: facts,
            wall: self.wall(),
            losses: self.api.losses.clone(),
            recorded: actor.recorded.clone(),
            nodes,
        })
    }
}
