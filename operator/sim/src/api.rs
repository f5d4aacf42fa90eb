//! The API server: objects, compare-and-swap, the rules of views, watches that lag, and everything it
//! may suffer: an outage, answers that get lost, writes that arrive after their caller gave up, its
//! store put back to an earlier state.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use standby_api::{StandbyCluster, StandbyViewSpec, view::check_change};
use standby_core::{Epoch, View};
use standby_operator_core::observe::Container;

use crate::invariants;
use crate::kube::LocalPod;
use crate::operator::CacheUpdate;
use crate::profile::Profile;
use crate::time::{MS, Time};
use crate::world::{Event, World};

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

/// Something asked of the API server.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Read the view live.
    ReadView,
    /// Record a view over the version that was read; none: it is created.
    WriteView(Option<u64>, Box<StandbyViewSpec>),
    /// Read the lease.
    ReadLease,
    /// Write the lease over the version that was read.
    WriteLease(Option<u64>, String),
    /// Apply a claim.
    CreateClaim(String, bool, u64),
    /// Ask for a larger volume.
    GrowClaim(String, u64),
    /// Let a claim go with the cluster, or outlive it.
    OwnClaim(String, bool),
    /// Create a pod.
    CreatePod(String, String),
    /// Delete exactly this pod.
    DeletePod(String, String, bool),
    /// Delete exactly this claim.
    DeleteClaim(String, String),
    /// Write a pod's role.
    LabelPod(String, String),
    /// Let go of the cluster and its view.
    Release,
    /// Write the read-write slice, over a version if one is known.
    WriteSlice(Target, Option<u64>),
}

/// What a caller wants an answer for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Election: a look.
    Look,
    /// Election: a write, sent at this time on the caller's clock.
    Elect(standby_core::Micros),
    /// The live view, before planning.
    Prepare,
    /// The live view, before recording.
    Compare,
    /// Recording.
    Record,
    /// The live view, after something else was recorded.
    Again,
    /// The read-write slice.
    Announce,
    /// The live view, before a claim is deleted.
    Spare,
    /// Work beside.
    Work,
}

/// A call on its way.
#[derive(Clone, Debug)]
pub struct Call {
    /// The operator.
    pub which: usize,
    /// Its run.
    pub run: u64,
    /// What for.
    pub purpose: Purpose,
    /// What.
    pub ask: Ask,
}

/// An answer.
#[derive(Clone, Debug)]
pub enum Response {
    /// The view.
    View(Option<(View, u64)>),
    /// The lease.
    Lease(Option<(String, u64)>),
    /// Done, with the new version.
    Written(u64),
    /// The version differs, or the object is there, or it is another.
    Conflict,
    /// There is no such object.
    NotFound,
    /// A rule forbids it.
    Invalid(String),
    /// The server refuses to serve.
    Unavailable,
    /// No answer in time.
    Timeout,
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
    /// What it stores.
    pub objects: Objects,
    /// Every view that was ever recorded, and when.
    pub views: BTreeMap<Epoch, (View, Time)>,
    /// The cluster was let go of.
    pub released: bool,
    /// An earlier state of the store.
    pub backup: Option<Objects>,
    calls: BTreeMap<u64, (usize, u64, Purpose)>,
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
        self.calls.get(&id).map(|(which, ..)| *which)
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
    /// Calls the API server; gives up after `limit`.
    pub fn call(&mut self, which: usize, purpose: Purpose, ask: Ask, limit: Time) {
        self.api.next_call += 1;
        let id = self.api.next_call;
        let (run, host) = (self.operators[which].run, self.operators[which].host);
        self.api.calls.insert(id, (which, run, purpose));
        self.schedule(limit, Event::ApiTimeout(id));
        let site = self.api_site();
        if self.net.cuts(host, site) || self.net.loses(host, site, &mut self.rng) {
            return;
        }
        let slow = self.api.slow;
        let late = if slow > 0 { self.rng.below(slow) } else { 0 };
        let after = self.net.latency(host, site, &mut self.rng) + late;
        let call = Call {
            which,
            run,
            purpose,
            ask,
        };
        self.schedule(after, Event::ApiArrives(id, Box::new(call)));
    }

    /// A call arrives, whether anybody still waits for it or not.
    pub(crate) fn api_arrives(&mut self, id: u64, call: Call) {
        let response = if self.api.up {
            self.execute(call.which, call.ask)
        } else if self.api.hung {
            return;
        } else {
            Response::Unavailable
        };
        let (host, site) = (self.operators[call.which].host, self.api_site());
        if self.net.cuts(site, host) || self.net.loses(site, host, &mut self.rng) {
            return;
        }
        let work = self.rng.between(MS, 6 * MS);
        let after = work + self.net.latency(site, host, &mut self.rng);
        self.schedule(after, Event::ApiAnswers(id, Box::new(response)));
    }

    /// An answer, or the end of patience, reaches the caller.
    pub(crate) fn api_answers(&mut self, id: u64, response: Response) {
        let Some((which, run, purpose)) = self.api.calls.remove(&id) else {
            return;
        };
        if self.operators[which].up && self.operators[which].run == run {
            self.answered_operator(which, purpose, response);
        }
    }

    fn execute(&mut self, which: usize, ask: Ask) -> Response {
        let response = match ask {
            Ask::ReadView => {
                let object = self.api.objects.view.as_ref().map(|object| object.version);
                return Response::View(self.api.recorded().zip(object));
            }
            Ask::ReadLease => return Response::Lease(self.api.objects.lease.clone()),
            Ask::WriteView(over, spec) => self.write_view(which, over, &spec),
            Ask::WriteLease(over, holder) => {
                if self.api.objects.lease.as_ref().map(|(_, version)| *version) != over {
                    return Response::Conflict;
                }
                let version = self.api.bump();
                self.api.objects.lease = Some((holder, version));
                return Response::Written(version);
            }
            Ask::WriteSlice(target, over) => return self.write_slice(target, over),
            Ask::CreateClaim(..) | Ask::GrowClaim(..) | Ask::OwnClaim(..) => self.change_claim(ask),
            Ask::CreatePod(name, built_from) => {
                if self.api.objects.pods.contains_key(&name) {
                    return Response::Conflict;
                }
                let uid = self.api.uid("pod");
                let pod = Pod {
                    uid,
                    built_from: Some(built_from),
                    ..Pod::default()
                };
                self.api.pods().insert(name, pod);
                let after = self.rng.between(10 * MS, 200 * MS);
                self.schedule(after, Event::Schedule);
                Response::Written(self.api.bump())
            }
            Ask::Release => {
                self.api.objects.view = None;
                self.api.released = true;
                Response::Written(self.api.bump())
            }
            Ask::DeletePod(name, uid, force) => self.delete_pod(&name, &uid, force),
            Ask::DeleteClaim(name, uid) => self.delete_claim(&name, &uid),
            Ask::LabelPod(name, role) => match self.api.pods().get_mut(&name) {
                None => Response::NotFound,
                Some(pod) => {
                    pod.role = Some(role);
                    Response::Written(self.api.bump())
                }
            },
        };
        self.objects_changed();
        response
    }

    fn change_claim(&mut self, ask: Ask) -> Response {
        match ask {
            Ask::CreateClaim(name, owned, bytes) => {
                if !self.api.objects.claims.contains_key(&name) {
                    let uid = self.api.uid("claim");
                    let claim = Claim {
                        uid,
                        owned,
                        bytes,
                        ..Claim::default()
                    };
                    self.api.claims().insert(name, claim);
                }
                Response::Written(self.api.bump())
            }
            Ask::GrowClaim(name, bytes) => match self.api.claims().get_mut(&name) {
                None => Response::NotFound,
                Some(claim) => {
                    claim.bytes = bytes;
                    Response::Written(self.api.bump())
                }
            },
            Ask::OwnClaim(name, own) => match self.api.claims().get_mut(&name) {
                None => Response::NotFound,
                Some(claim) => {
                    claim.owned = own;
                    Response::Written(self.api.bump())
                }
            },
            _ => Response::NotFound,
        }
    }

    /// Somebody asks with kubectl.
    pub fn by_hand(&mut self, ask: Ask) {
        let _ = self.execute(usize::MAX, ask);
    }

    fn write_view(&mut self, which: usize, over: Option<u64>, spec: &StandbyViewSpec) -> Response {
        let known = self.api.objects.view.as_ref();
        if known.map(|object| object.version) != over {
            return Response::Conflict;
        }
        if let Err(error) = check_change(known.map(|object| &object.spec), spec) {
            return Response::Invalid(error.to_string());
        }
        let view = View::try_from(spec).expect("check_change read it");
        let consent = spec.consent.as_ref().map(|consent| consent.kind);
        invariants::views_are_safe::check(self, which, &view, consent);
        self.note(|| format!("operator {which} records {view}"));
        self.report.views += 1;
        let before = self.api.recorded();
        if before.is_none_or(|before| before.primary != view.primary) {
            self.report.promotions += 1;
        }
        let version = self.api.bump();
        self.api.objects.view = Some(ViewObject {
            spec: spec.clone(),
            version,
        });
        let now = self.now;
        self.api.views.insert(view.epoch, (view, now));
        invariants::complete_has_everything::check(self);
        Response::Written(version)
    }

    fn write_slice(&mut self, target: Target, over: Option<u64>) -> Response {
        let known = self.api.objects.slice.as_ref().map(|(_, version)| *version);
        if over.is_some() && over != known {
            return Response::Conflict;
        }
        self.note(|| format!("the read-write slice is {target:?}"));
        let version = self.api.bump();
        self.api.objects.slice = Some((target, version));
        let after = self.rng.between(10 * MS, 60 * MS);
        self.schedule(after, Event::ServiceChanged);
        Response::Written(version)
    }

    fn delete_pod(&mut self, name: &str, uid: &str, force: bool) -> Response {
        match self.api.objects.pods.get(name) {
            None => return Response::NotFound,
            Some(pod) if pod.uid != uid => return Response::Conflict,
            Some(_) => {}
        }
        let now = self.now;
        let unplaced = self.api.objects.pods[name].host.is_none();
        if force || unplaced {
            self.api.pods().remove(name);
        } else if let Some(pod) = self.api.pods().get_mut(name) {
            pod.deleting.get_or_insert(now);
        }
        self.pods_changed();
        Response::Written(self.api.bump())
    }

    /// Deletes a claim; its volume goes once no pod uses it.
    pub fn delete_claim(&mut self, name: &str, uid: &str) -> Response {
        match self.api.objects.claims.get(name) {
            None => return Response::NotFound,
            Some(claim) if claim.uid != uid => return Response::Conflict,
            Some(_) => {}
        }
        if let Some(claim) = self.api.claims().get_mut(name) {
            claim.deleting = true;
        }
        Response::Written(self.api.bump())
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

    /// Objects changed: kubelets look, and caches hear of it, late.
    pub fn objects_changed(&mut self) {
        for volume in self.api.finished_claims() {
            self.destroy_volume(volume);
        }
        let pods_moved = self
            .api
            .told
            .as_ref()
            .is_none_or(|told| !Rc::ptr_eq(&told.pods, &self.api.objects.pods));
        if pods_moved {
            self.pods_changed();
        }
        let updates = self.api.updates();
        for update in updates {
            for which in 0..self.operators.len() {
                let run = self.operators[which].run;
                let lag = self.rng.between(MS, self.profile.watch_lag);
                self.schedule(lag, Event::Cache(which, run, Box::new(update.clone())));
            }
        }
    }
}

impl Api {
    /// What changed since watchers were told last.
    fn updates(&mut self) -> Vec<CacheUpdate> {
        let now = &self.objects;
        let told = self.told.as_ref();
        let mut updates = Vec::new();
        self.news += 1;
        let news = self.news;
        if told.is_none_or(|told| !Rc::ptr_eq(&told.pods, &now.pods)) {
            updates.push(CacheUpdate::Pods(news, now.pods.clone()));
        }
        if told.is_none_or(|told| !Rc::ptr_eq(&told.claims, &now.claims)) {
            updates.push(CacheUpdate::Claims(news, now.claims.clone()));
        }
        if told.is_none_or(|told| !Rc::ptr_eq(&told.hosts, &now.hosts)) {
            updates.push(CacheUpdate::Hosts(news, now.hosts.clone()));
        }
        if told.is_none_or(|told| !Rc::ptr_eq(&told.cluster, &now.cluster)) {
            updates.push(CacheUpdate::Cluster(news, now.cluster.clone()));
        }
        let epoch = |objects: &Objects| objects.view.as_ref().map(|view| view.spec.epoch);
        if told.is_none_or(|told| epoch(told) != epoch(now)) {
            updates.push(CacheUpdate::View(news, epoch(now)));
        }
        self.told = Some(self.objects.clone());
        updates
    }

    /// Everything, for a cache that begins.
    #[must_use]
    pub fn everything(&self) -> [CacheUpdate; 5] {
        let (now, news) = (&self.objects, self.news);
        let epoch = now.view.as_ref().map(|view| view.spec.epoch);
        [
            CacheUpdate::Pods(news, now.pods.clone()),
            CacheUpdate::Claims(news, now.claims.clone()),
            CacheUpdate::Hosts(news, now.hosts.clone()),
            CacheUpdate::Cluster(news, now.cluster.clone()),
            CacheUpdate::View(news, epoch),
        ]
    }
}
