//! The API server: what it stores, what becomes of it by itself, and the watches that tell of it, late.
//! What is asked of it, and its answers, stand in `calls`; what its watches bring in `news`.

mod calls;
mod news;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use standby_api::{DataLoss, StandbyCluster, StandbyViewSpec};
use standby_core::{Epoch, View};
use standby_operator_core::observe::Container;

use crate::kube::LocalPod;
use crate::operator::CacheUpdate;
use crate::profile::Profile;
use crate::time::Time;
use crate::world::World;

use calls::Pending;
pub use calls::{Ask, Call, Purpose, Recording, Response};

/// A pod object.
#[derive(Clone, Debug, Default)]
pub struct Pod {
    /// Its identity.
    pub uid: String,
    /// Where it was put.
    pub host: Option<usize>,
    /// Its address.
    pub ip: Option<u32>,
    /// Being deleted since.
    pub deleting: Option<Time>,
    /// The label of its role.
    pub role: Option<String>,
    /// Its container.
    pub container: Container,
    /// Its phase is final.
    pub over: bool,
    /// What it was built from.
    pub built_from: Option<String>,
}

/// A volume claim.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// Its identity.
    pub uid: String,
    /// Its volume's number, once it is bound.
    pub volume: Option<usize>,
    /// The only host it can be used on.
    pub host: Option<usize>,
    /// Being deleted.
    pub deleting: bool,
    /// Goes with the cluster.
    pub owned: bool,
    /// The size it asks for.
    pub bytes: u64,
}

/// A host's object.
#[derive(Clone, Debug)]
pub struct HostObject {
    /// It is there.
    pub exists: bool,
    /// It is ready.
    pub ready: bool,
    /// People keep new pods away from it.
    pub cordoned: bool,
}

/// The recorded view's object.
#[derive(Clone, Debug)]
pub struct ViewObject {
    /// What it says.
    pub spec: StandbyViewSpec,
    /// Its resourceVersion.
    pub version: u64,
}

/// Where the read-write Service leads: pod and address.
pub type Target = Option<(String, u32)>;

/// Everything the API server stores.
#[derive(Clone, Debug)]
pub struct Objects {
    /// The last resourceVersion.
    pub version: u64,
    /// The cluster's resource.
    pub cluster: Rc<StandbyCluster>,
    /// The recorded view.
    pub view: Option<ViewObject>,
    /// The election's lease: holder and version.
    pub lease: Option<(String, u64)>,
    /// Pods by name.
    pub pods: Rc<BTreeMap<String, Pod>>,
    /// Claims by name.
    pub claims: Rc<BTreeMap<String, Claim>>,
    /// Hosts.
    pub hosts: Rc<Vec<HostObject>>,
    /// The read-write slice.
    pub slice: Option<(Target, u64)>,
}

/// Every loss that was ever consented to. It stands beside the view and in the status of the cluster's
/// resource: what is lost of the one is in the other.
pub type Losses = Vec<DataLoss>;

impl Objects {
    /// The version of the read-write slice.
    #[must_use]
    pub fn slice_version(&self) -> Option<u64> {
        self.slice.as_ref().map(|(_, version)| *version)
    }
}

/// The server.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent faults")]
pub struct Api {
    /// It runs.
    pub up: bool,
    /// While it does not: it lets callers wait rather than refuse them.
    pub hung: bool,
    /// It takes up to so much longer.
    pub slow: Time,
    /// Watches bring nothing.
    pub watches_stuck: bool,
    /// What a cache in front of the store still shows to whoever lists while watches bring nothing.
    stale: Option<[CacheUpdate; 6]>,
    /// When it ended last: no answer to an earlier call arrives any more.
    ended: Time,
    /// What it stores.
    pub objects: Objects,
    /// The view that was recorded last in each epoch, and when.
    pub views: BTreeMap<Epoch, (View, Time)>,
    /// Views in whose epoch, once the store was put back, another was recorded.
    pub given_up: Vec<View>,
    /// Every loss that was ever consented to.
    pub losses: Losses,
    /// The cluster was let go of.
    pub released: bool,
    /// An earlier state of the store.
    pub backup: Option<Objects>,
    calls: BTreeMap<u64, Pending>,
    next_call: u64,
    next_uid: u64,
    news: u64,
    told: Option<Objects>,
}

fn resource(profile: &Profile) -> StandbyCluster {
    let durability = if profile.available {
        "Available"
    } else {
        "Strict"
    };
    let mode = if profile.manual {
        "Manual"
    } else {
        "Automatic"
    };
    let object = serde_json::json!({
        "apiVersion": "standby.dev/v1alpha1",
        "kind": "StandbyCluster",
        "metadata": {"name": "db", "namespace": "apps", "uid": profile.cluster_id, "generation": 1},
        "spec": {
            "interface": "Etcd",
            "instances": profile.instances,
            "durability": durability,
            "failover": {"mode": mode},
            "storage": {"size": "1Gi"},
            "hibernated": profile.sleeps_first,
        },
    });
    serde_json::from_value(object).expect("the resource of the simulation is one")
}

impl Api {
    /// A server with a cluster's resource and hosts.
    #[must_use]
    pub fn new(profile: &Profile) -> Self {
        let host = HostObject {
            exists: true,
            ready: true,
            cordoned: false,
        };
        Self {
            up: true,
            hung: false,
            slow: 0,
            watches_stuck: false,
            stale: None,
            ended: 0,
            objects: Objects {
                version: 1,
                cluster: Rc::new(resource(profile)),
                view: None,
                lease: None,
                pods: Rc::default(),
                claims: Rc::default(),
                hosts: Rc::new(vec![host; profile.hosts]),
                slice: None,
            },
            views: BTreeMap::new(),
            given_up: Vec::new(),
            losses: Losses::new(),
            released: false,
            backup: None,
            calls: BTreeMap::new(),
            next_call: 0,
            next_uid: 0,
            news: 0,
            told: None,
        }
    }

    /// The view that was recorded last, also when the store was put back since.
    #[must_use]
    pub fn newest(&self) -> Option<&View> {
        self.views.last_key_value().map(|(_, (view, _))| view)
    }

    /// Who made a call that has not been answered.
    #[must_use]
    pub fn caller(&self, id: u64) -> Option<usize> {
        self.calls.get(&id).map(|call| call.which)
    }

    /// The recorded view.
    #[must_use]
    pub fn recorded(&self) -> Option<View> {
        let object = self.objects.view.as_ref()?;
        Some(View::try_from(&object.spec).expect("the rules let only views in"))
    }

    fn bump(&mut self) -> u64 {
        self.objects.version += 1;
        self.objects.version
    }

    fn uid(&mut self, kind: &str) -> String {
        self.next_uid += 1;
        format!("{kind}-{}", self.next_uid)
    }

    fn pods(&mut self) -> &mut BTreeMap<String, Pod> {
        Rc::make_mut(&mut self.objects.pods)
    }

    fn claims(&mut self) -> &mut BTreeMap<String, Claim> {
        Rc::make_mut(&mut self.objects.claims)
    }

    /// Pods without a host.
    #[must_use]
    pub fn unscheduled(&self) -> Vec<String> {
        let waits = |pod: &Pod| pod.host.is_none() && pod.deleting.is_none();
        let pods = self.objects.pods.iter();
        pods.filter(|(_, pod)| waits(pod))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Whether pods may be put on a host.
    #[must_use]
    pub fn host_ready(&self, host: usize) -> bool {
        let object = &self.objects.hosts[host];
        object.exists && object.ready && !object.cordoned
    }

    /// How many pods a host has.
    #[must_use]
    pub fn pods_on(&self, host: usize) -> usize {
        self.objects
            .pods
            .values()
            .filter(|pod| pod.host == Some(host))
            .count()
    }

    /// Gives a pod a host.
    pub fn bind_pod(&mut self, name: &str, host: usize) {
        if let Some(pod) = self.pods().get_mut(name) {
            pod.host = Some(host);
        }
    }

    /// Gives a claim a volume.
    pub fn bind_claim(&mut self, name: &str, uid: &str, volume: usize, host: Option<usize>) {
        if let Some(claim) = self.claims().get_mut(name).filter(|claim| claim.uid == uid) {
            claim.volume = Some(volume);
            claim.host = host;
        }
    }

    /// Takes in what a kubelet says of a pod. Whether that changed anything.
    pub fn pod_status(&mut self, uid: &str, local: &LocalPod) -> bool {
        let Some(known) = self
            .objects
            .pods
            .get(&local.name)
            .filter(|pod| pod.uid == uid)
        else {
            return false;
        };
        let id = |serial: u32| format!("{uid}-{serial}");
        let mut container = Container::default();
        if let Some((serial, why)) = &local.ended {
            container.terminated = BTreeSet::from([id(*serial)]);
            if local.proc.is_none() {
                container.ended = true;
                container.ended_why.clone_from(why);
            }
        }
        if local.proc.is_some() {
            container.running = Some(id(local.serial));
        }
        if known.container == container && known.ip == Some(local.ip) {
            return false;
        }
        let name = local.name.clone();
        let pod = self.pods().get_mut(&name).expect("looked up above");
        pod.container = container;
        pod.ip = Some(local.ip);
        true
    }

    /// Takes a pod's object away.
    pub fn remove_pod(&mut self, name: &str, uid: &str) {
        if self
            .objects
            .pods
            .get(name)
            .is_some_and(|pod| pod.uid == uid)
        {
            self.pods().remove(name);
        }
    }

    /// Takes in what the control plane thinks of a host. Whether that changed anything.
    pub fn host_status(&mut self, host: usize, ready: bool, exists: bool) -> bool {
        let known = &self.objects.hosts[host];
        if known.ready == ready && known.exists == exists {
            return false;
        }
        let object = &mut Rc::make_mut(&mut self.objects.hosts)[host];
        object.ready = ready;
        object.exists = exists;
        true
    }

    /// Deletes the pods of a host that has long been away. Whether there were any.
    pub fn evict(&mut self, host: usize, now: Time) -> bool {
        let stays = |pod: &&Pod| pod.host == Some(host) && pod.deleting.is_none();
        if !self.objects.pods.values().any(|pod| stays(&pod)) {
            return false;
        }
        for pod in self.pods().values_mut() {
            if pod.host == Some(host) && pod.deleting.is_none() {
                pod.deleting = Some(now);
            }
        }
        true
    }

    /// Puts the view, the lease and the slice back to an earlier state, as a restored backup does.
    pub fn restore(&mut self, backup: &Objects, lost: bool, versions_too: bool) {
        self.objects.view = if lost { None } else { backup.view.clone() };
        self.objects.lease.clone_from(&backup.lease);
        self.objects.slice.clone_from(&backup.slice);
        if versions_too {
            self.objects.version = backup.version;
        } else {
            self.objects.version += 1_000;
        }
    }

    /// Claims that were deleted and have no pod any more.
    fn finished_claims(&mut self) -> Vec<usize> {
        let pods = &self.objects.pods;
        let over: Vec<String> = self
            .objects
            .claims
            .iter()
            .filter(|(name, claim)| claim.deleting && !pods.contains_key(*name))
            .map(|(name, _)| name.clone())
            .collect();
        let mut volumes = Vec::new();
        for name in over {
            let claim = self.claims().remove(&name).expect("just listed");
            volumes.extend(claim.volume);
        }
        volumes
    }
}

impl World {
    /// The server ends: calls that are under way are carried out or not, and their answers are lost.
    pub fn api_restarts(&mut self) {
        self.api.ended = self.now;
    }

    /// A volume is gone for good.
    pub fn destroy_volume(&mut self, at: usize) {
        let volume = &mut self.volumes[at];
        volume.gone = true;
        self.report.volumes_lost += 1;
        let node = volume.node.clone();
        self.note(|| format!("the volume of {node} is gone"));
        self.history.retired.insert(node);
    }
}
