//! What the nodes of one simulated cluster know, as a pure value: views, roles, and the end of a log.
//! It follows the rules of views (V1 to V4, V8) as far as the operator can see them.

use std::collections::{BTreeMap, BTreeSet};

use standby_control::v1;
use standby_core::{Epoch, Index, NodeId, Position, View};

use crate::limits::DISK_BYTES;

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    id: NodeId,
    cluster_id: String,
    /// Counts the runs of its process.
    run: u64,
    alive: bool,
    role: v1::Role,
    view: Option<View>,
    awaited: BTreeSet<NodeId>,
    complete: BTreeSet<NodeId>,
    last: Position,
    commit: Index,
}

impl Node {
    /// A node that has just started on an empty volume.
    #[must_use]
    pub fn new(id: NodeId, cluster_id: String) -> Self {
        Self {
            id,
            cluster_id,
            run: 1,
            alive: true,
            role: v1::Role::Unspecified,
            view: None,
            awaited: BTreeSet::new(),
            complete: BTreeSet::new(),
            last: Position::START,
            commit: Index(0),
        }
    }

    fn epoch(&self) -> Epoch {
        self.view.as_ref().map_or(Epoch(0), |view| view.epoch)
    }

    fn adopt(&mut self, view: View, awaited: BTreeSet<NodeId>) {
        if view.epoch > self.epoch() {
            self.complete.clear();
            self.awaited.clone_from(&view.synchronous);
            self.role = v1::Role::Follower;
            if view.primary == self.id {
                self.role = v1::Role::Primary;
                // Each epoch opens with an entry of its own (V6).
                self.last = Position::new(view.epoch, self.last.index.next());
            }
            self.view = Some(view);
        }
        if self.role == v1::Role::Primary {
            // A promise to wait ends only with the epoch (V4).
            self.awaited.extend(awaited);
        }
    }

    fn follows(&self, primary: &Self) -> bool {
        self.alive && self.role == v1::Role::Follower && self.epoch() == primary.epoch()
    }
}

/// All nodes of one cluster, by pod.
#[derive(Clone, Debug, Default)]
pub struct Cluster(BTreeMap<String, Node>);

impl Cluster {
    /// Adds a node; one of that name that was there before is gone.
    pub fn add(&mut self, node: Node) {
        self.0.insert(node.id.name.clone(), node);
        self.settle();
    }

    /// The node's process ends at once, or starts again.
    pub fn set_alive(&mut self, pod: &str, alive: bool) {
        let Some(node) = self.0.get_mut(pod) else {
            return;
        };
        if alive && !node.alive {
            node.run += 1;
            // Primacy, and what was promised, belong to a run (V3).
            if matches!(node.role, v1::Role::Primary | v1::Role::SteppedDown) {
                node.role = v1::Role::Restarted;
            }
            node.awaited.clear();
            node.complete.clear();
        }
        node.alive = alive;
        self.settle();
    }

    /// The node is told a view.
    pub fn push(&mut self, pod: &str, view: View, awaited: BTreeSet<NodeId>) {
        if let Some(node) = self.0.get_mut(pod) {
            node.adopt(view, awaited);
        }
        self.settle();
    }

    /// The node is told to step down (V8).
    pub fn step_down(&mut self, pod: &str, epoch: Epoch) {
        if let Some(node) = self.0.get_mut(pod)
            && node.role == v1::Role::Primary
            && node.epoch() == epoch
        {
            node.role = v1::Role::SteppedDown;
        }
    }

    /// Followers get everything the primary has, and it commits what all whom it waits for have (V1).
    fn settle(&mut self) {
        let Some(mut primary) = self.primary().cloned() else {
            return;
        };
        let followers = self.0.values_mut().filter(|node| node.follows(&primary));
        let mut connected = BTreeSet::new();
        for follower in followers {
            follower.last = primary.last;
            connected.insert(follower.id.clone());
        }
        let caught_up = connected.intersection(&primary.awaited).cloned();
        primary.complete.extend(caught_up);
        if self.serves(&primary) {
            primary.commit = primary.last.index;
            for node in self.0.values_mut().filter(|node| node.follows(&primary)) {
                node.commit = primary.commit;
            }
        }
        self.0.insert(primary.id.name.clone(), primary);
    }

    /// The living primary of the highest epoch.
    fn primary(&self) -> Option<&Node> {
        self.0
            .values()
            .filter(|node| node.alive && node.role == v1::Role::Primary)
            .max_by_key(|node| node.epoch())
    }

    fn serves(&self, primary: &Node) -> bool {
        let Some(view) = &primary.view else {
            return false;
        };
        primary.role == v1::Role::Primary
            && view.can_acknowledge()
            && primary.awaited.iter().all(|awaited| {
                let node = self.0.get(&awaited.name);
                node.is_some_and(|node| node.id == *awaited && node.follows(primary))
            })
    }

    /// What a node reports; none when it is dead.
    #[must_use]
    pub fn report(&self, pod: &str) -> Option<v1::Report> {
        let node = self.0.get(pod).filter(|node| node.alive)?;
        let serving = self.serves(node);
        let primary = node.role == v1::Role::Primary;
        Some(v1::Report {
            node: Some((&node.id).into()),
            cluster_id: node.cluster_id.clone(),
            run: format!("{}-{}", node.id.volume.0, node.run),
            role: node.role.into(),
            view: node.view.as_ref().map(Into::into),
            log_first: 1,
            log_last_index: node.last.index.0,
            log_last_epoch: node.last.epoch.0,
            durable_index: node.last.index.0,
            commit_index: node.commit.0,
            applied_index: node.commit.0,
            serving,
            drained: node.role == v1::Role::SteppedDown,
            peers: if primary {
                self.peers(node)
            } else {
                Vec::new()
            },
            primary_link: self.link(node),
            disk_total_bytes: DISK_BYTES,
            disk_free_bytes: DISK_BYTES,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            view_stored_ago_ms: 1,
            serving_ago_ms: u64::from(serving),
            ..v1::Report::default()
        })
    }

    fn peers(&self, primary: &Node) -> Vec<v1::PeerReport> {
        self.0
            .values()
            .filter(|node| node.follows(primary))
            .map(|node| v1::PeerReport {
                node: Some((&node.id).into()),
                connected: true,
                durable_index: node.last.index.0,
                silent_ms: 0,
                phi_milli: 0,
                awaited: primary.awaited.contains(&node.id),
                complete: primary.complete.contains(&node.id),
                in_snapshot: false,
            })
            .collect()
    }

    fn link(&self, node: &Node) -> Option<v1::PrimaryLink> {
        if node.role != v1::Role::Follower {
            return None;
        }
        let view = node.view.as_ref()?;
        let state = match self.0.get(&view.primary.name) {
            Some(primary) if !primary.alive => v1::LinkState::Refused,
            Some(primary) if node.follows(primary) && primary.role == v1::Role::Primary => {
                v1::LinkState::Up
            }
            Some(_) => v1::LinkState::NotPrimary,
            None => v1::LinkState::Silent,
        };
        Some(v1::PrimaryLink {
            state: state.into(),
            ..v1::PrimaryLink::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use standby_core::ClusterId;

    fn id(name: &str) -> NodeId {
        NodeId::new(name, name)
    }

    fn all(names: &[&str]) -> BTreeSet<NodeId> {
        names.iter().map(|name| id(name)).collect()
    }

    fn three() -> Cluster {
        let mut cluster = Cluster::default();
        for name in ["a", "b", "c"] {
            cluster.add(Node::new(id(name), "x".to_owned()));
        }
        cluster
    }

    fn tell(cluster: &mut Cluster, view: &View, awaited: &[&str]) {
        for name in ["a", "b", "c"] {
            cluster.push(name, view.clone(), all(awaited));
        }
    }

    fn report(cluster: &Cluster, name: &str) -> v1::Report {
        cluster.report(name).expect("it is alive")
    }

    /// `a` leads in epoch 2, and waits for `b`.
    fn serving() -> (Cluster, View) {
        let mut cluster = three();
        let first = View::first(ClusterId("x".into()), id("a"));
        tell(&mut cluster, &first, &["b"]);
        let second = first.with_synchronous(all(&["b"]));
        tell(&mut cluster, &second, &[]);
        (cluster, second)
    }

    #[test]
    fn a_follower_is_complete_only_when_the_primary_waits_for_it() {
        let mut cluster = three();
        let first = View::first(ClusterId("x".into()), id("a"));
        tell(&mut cluster, &first, &["b"]);
        let peers = report(&cluster, "a").peers;
        let complete: Vec<bool> = peers.iter().map(|peer| peer.complete).collect();
        assert_eq!((peers.len(), complete), (2, vec![true, false]));
        assert!(!report(&cluster, "a").serving, "nobody is synchronous yet");
    }

    #[test]
    fn a_primary_serves_until_its_standby_dies() {
        let (mut cluster, _) = serving();
        assert!(report(&cluster, "a").serving);
        assert_eq!(report(&cluster, "c").commit_index, 2);
        cluster.set_alive("b", false);
        assert!(!report(&cluster, "a").serving);
        assert!(cluster.report("b").is_none());
    }

    #[test]
    fn followers_of_a_dead_primary_say_that_it_refuses() {
        let (mut cluster, _) = serving();
        cluster.set_alive("a", false);
        let link = report(&cluster, "b").primary_link.expect("it follows");
        assert_eq!(link.state(), v1::LinkState::Refused);
    }

    #[test]
    fn a_killed_primary_comes_back_without_its_role_and_follows_the_next() {
        let (mut cluster, view) = serving();
        cluster.set_alive("a", false);
        let next = view.promote(id("b"));
        tell(&mut cluster, &next, &["c"]);
        let settled = next.with_synchronous(all(&["c"]));
        cluster.push("b", settled.clone(), BTreeSet::new());
        cluster.push("c", settled.clone(), BTreeSet::new());
        assert!(report(&cluster, "b").serving);
        cluster.set_alive("a", true);
        cluster.push("a", settled, BTreeSet::new());
        assert_eq!(report(&cluster, "a").role(), v1::Role::Follower);
        let last = |name| report(&cluster, name).log_last_index;
        assert_eq!(last("a"), last("b"));
    }

    #[test]
    fn a_restarted_primary_holds_no_role_in_its_old_epoch() {
        let (mut cluster, view) = serving();
        cluster.set_alive("a", false);
        cluster.set_alive("a", true);
        cluster.push("a", view, BTreeSet::new());
        assert_eq!(report(&cluster, "a").role(), v1::Role::Restarted);
    }
}
