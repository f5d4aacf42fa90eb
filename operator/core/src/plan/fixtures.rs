//! Observations for tests: a cluster of three, healthy unless a test changes it.
#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    reason = "helpers of tests, named for what they do"
)]

use std::collections::BTreeMap;

use jiff::Timestamp;
use standby_core::{ClusterId, Epoch, Index, Micros, NodeId, Position, View};

use crate::detect::{Loss, Thresholds};
use crate::observe::{
    ClaimFacts, ClusterFacts, Container, HostFacts, LinkState, NodeFacts, NodeReport, NodeRole,
    Observation, Peer, PodFacts, PrimaryLink, Recorded, Stream, Upkeep,
};
use crate::orders::Orders;
use crate::policy::Policy;

/// What pods are built from.
pub const TEMPLATE: &str = "1-aa";

pub fn id(serial: u32) -> NodeId {
    NodeId::new(format!("db-{serial}"), format!("{serial:016x}"))
}

pub fn cluster_id() -> ClusterId {
    ClusterId("c0ffee".into())
}

pub fn facts() -> ClusterFacts {
    ClusterFacts {
        name: "db".into(),
        namespace: "shop".into(),
        id: cluster_id(),
        generation: 1,
        wanted: vec!["db-1".into(), "db-2".into(), "db-3".into()],
        deleting: false,
        retain_volumes: false,
        may_go_alone: false,
        automatic: true,
        thresholds: Thresholds::default(),
        replace_after: Micros::from_millis(60_000),
        write_stuck: Micros::from_millis(3_000),
        orders: Orders::default(),
        policy: Policy::default(),
        hibernated: false,
        upkeep: Upkeep {
            built_from: TEMPLATE.into(),
            room: true,
            ..Upkeep::default()
        },
    }
}

pub fn pod(serial: u32) -> PodFacts {
    PodFacts {
        uid: format!("pod-{serial}"),
        ip: Some(format!("10.0.0.{serial}")),
        host: Some(format!("host-{serial}")),
        zone: Some(format!("zone-{serial}")),
        container: Container {
            running: Some(format!("c-{serial}")),
            ..Container::default()
        },
        ready: true,
        built_from: Some(TEMPLATE.into()),
        ..PodFacts::default()
    }
}

pub fn claim(serial: u32) -> ClaimFacts {
    ClaimFacts {
        uid: format!("claim-{serial}"),
        owned: true,
        ..ClaimFacts::default()
    }
}

pub fn report(serial: u32, view: Option<&View>) -> NodeReport {
    NodeReport {
        at: Micros(0),
        pod_uid: format!("pod-{serial}"),
        node: id(serial),
        cluster_id: cluster_id(),
        run: "run-1".into(),
        role: NodeRole::Unassigned,
        view: view.cloned(),
        last: Position::new(Epoch(1), Index(10)),
        durable: Index(10),
        commit: Index(10),
        applied: Index(10),
        serving: false,
        drained: false,
        wants_handover: false,
        peers: Vec::new(),
        link: None,
        stall: None,
        doubt: String::new(),
        doubts_primary: false,
        wants_switchover_to: None,
        disk_total_bytes: 1 << 30,
        disk_free_bytes: 1 << 29,
        disk_full: false,
        version: "0.1.0".into(),
    }
}

pub fn peer(serial: u32) -> Peer {
    Peer {
        node: id(serial),
        connected: true,
        durable: Index(10),
        silent: Micros(0),
        phi: 0.0,
        awaited: false,
        complete: false,
        in_snapshot: false,
    }
}

pub fn up() -> PrimaryLink {
    PrimaryLink {
        state: LinkState::Up,
        ..PrimaryLink::default()
    }
}

/// `db-1` primary with `db-2` in epoch 2, everybody fine.
pub fn healthy_view() -> View {
    View::first(cluster_id(), id(1)).with_synchronous([id(2)].into())
}

pub fn observed(view: Option<View>) -> Observation {
    let mut nodes = BTreeMap::new();
    for serial in 1..=3 {
        let mut report = report(serial, view.as_ref());
        match &view {
            Some(view) if view.primary == id(serial) => {
                report.role = NodeRole::Primary;
                report.serving = view.can_acknowledge();
                report.peers = (1..=3)
                    .filter(|other| *other != serial)
                    .map(|other| Peer {
                        awaited: view.synchronous.contains(&id(other)),
                        complete: view.synchronous.contains(&id(other)),
                        ..peer(other)
                    })
                    .collect();
            }
            Some(_) => {
                report.role = NodeRole::Follower;
                report.link = Some(up());
            }
            None => {}
        }
        let role = view.as_ref().map(|view| {
            if view.primary == id(serial) {
                "primary"
            } else if view.synchronous.contains(&id(serial)) {
                "synchronous"
            } else {
                "replica"
            }
        });
        nodes.insert(
            format!("db-{serial}"),
            NodeFacts {
                pod: Some(PodFacts {
                    role_label: role.map(Into::into),
                    ..pod(serial)
                }),
                claim: Some(claim(serial)),
                host: HostFacts::Ready,
                stream: Stream::Alive,
                report: Some(report),
            },
        );
    }
    let recorded = view.map_or(Recorded::Absent, Recorded::View);
    Observation {
        cluster: facts(),
        wall: Timestamp::UNIX_EPOCH,
        losses: Vec::new(),
        recorded,
        nodes,
    }
}

impl Observation {
    /// A person sets one annotation, and no other.
    pub fn order(&mut self, annotation: &str, value: &str) {
        self.cluster.orders = Orders::read(&[(annotation.to_owned(), value.to_owned())].into());
    }

    pub fn facts(&mut self, serial: u32) -> &mut NodeFacts {
        self.nodes
            .get_mut(&format!("db-{serial}"))
            .expect("a node of the fixture")
    }

    pub fn said(&mut self, serial: u32) -> &mut NodeReport {
        self.facts(serial)
            .report
            .as_mut()
            .expect("a report of the fixture")
    }

    pub fn pod_of(&mut self, serial: u32) -> &mut PodFacts {
        self.facts(serial)
            .pod
            .as_mut()
            .expect("a pod of the fixture")
    }

    pub fn lose(&mut self, serial: u32) {
        self.facts(serial).stream = Stream::Lost(Loss::Refused);
    }

    pub fn link(&mut self, serial: u32, state: LinkState) {
        self.said(serial).link = Some(PrimaryLink {
            state,
            ..PrimaryLink::default()
        });
    }
}
