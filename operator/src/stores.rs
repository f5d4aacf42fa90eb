//! Caches of what the API server holds, filled by watches. Good for facts on which no safety rests;
//! the recorded view is never read from here. Everything is found by its name: a turn of one cluster must
//! not cost more because there are a thousand others.

mod kept;
mod watch;

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{self, Lookup, ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use parking_lot::Mutex;
use standby_api::{StandbyCluster, StandbyView, names};
use standby_core::View;
use standby_operator_core::build::endpoint_slice::{self, Family};
use standby_operator_core::build::service::Access;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::context::Key;
use crate::http::Readiness;
use crate::limits::CHANGES_QUEUED_MAX;
use crate::reconcile::dereference::cordoned;
use crate::remembered::Remembered;

use watch::Watch;

/// What readiness waits for here.
pub const TOPIC: &str = "caches";
/// The label of a host that volumes are bound by.
const LABEL_HOSTNAME: &str = "kubernetes.io/hostname";

/// Something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Of this cluster: its resource, view, a pod, a claim, or where its writers are led to.
    Cluster(Key),
    /// A host.
    Host,
    /// A cache was filled anew: anything may have changed.
    Everything,
}

/// Objects by namespace scope: one store per watched namespace, or one for all.
#[derive(Clone)]
struct Scoped<K>(Vec<Store<K>>)
where
    K: Lookup + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone;

impl<K> Scoped<K>
where
    K: Lookup<DynamicType = ()> + Clone + 'static,
{
    fn all(&self) -> impl Iterator<Item = Arc<K>> {
        self.0.iter().flat_map(Store::state)
    }

    fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let wanted = ObjectRef::new(name).within(namespace);
        self.0.iter().find_map(|store| store.get(&wanted))
    }
}

/// The names of the labelled objects of each cluster. It may name what is gone, never the other way round.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<HashMap<Key, BTreeSet<String>>>>);

impl Names {
    /// The cluster of an object that is there, or has gone.
    fn saw<K: Resource<DynamicType = ()>>(&self, object: &K, gone: bool) -> Option<Key> {
        let key = labelled_with(object)?;
        let mut all = self.0.lock();
        let names = all.entry(key.clone()).or_default();
        if gone {
            names.remove(&object.name_any());
        } else {
            names.insert(object.name_any());
        }
        if names.is_empty() {
            all.remove(&key);
        }
        Some(key)
    }

    fn objects<K>(&self, key: &Key, stored: &Scoped<K>) -> Vec<Arc<K>>
    where
        K: Resource<DynamicType = ()> + Clone + 'static,
    {
        let names = self.0.lock().get(key).cloned().unwrap_or_default();
        names
            .iter()
            .filter_map(|name| stored.get(&key.namespace, name))
            .filter(|object| labelled_with(&**object).as_ref() == Some(key))
            .collect()
    }
}

/// The caches.
pub struct Stores {
    clusters: Scoped<DeserializeGuard<StandbyCluster>>,
    views: Scoped<DeserializeGuard<StandbyView>>,
    pods: Scoped<Pod>,
    claims: Scoped<PersistentVolumeClaim>,
    slices: Scoped<EndpointSlice>,
    hosts: Store<Node>,
    pods_of: Names,
    claims_of: Names,
    remembered: Remembered,
    /// Counts the changes of hosts that matter.
    hosts_changed: Arc<AtomicU64>,
    slices_listed: Arc<AtomicU64>,
    changes: broadcast::Sender<Change>,
}

/// A `StandbyCluster` that cannot be read.
#[derive(Clone, Debug)]
pub struct Unread {
    /// Why not.
    pub error: String,
    /// What every object has.
    pub metadata: ObjectMeta,
}

impl Stores {
    /// Starts the watches. `namespaces` empty: all. `remembered`: views that were seen before.
    #[must_use]
    pub fn start(
        client: &Client,
        namespaces: &[String],
        remembered: Remembered,
        stop: &CancellationToken,
    ) -> Self {
        let (changes, _) = broadcast::channel(CHANGES_QUEUED_MAX);
        let labelled = watcher::Config::default().labels(names::LABEL_CLUSTER);
        let watch = Watch {
            client,
            namespaces,
            stop,
            changes: &changes,
        };
        let (pods_of, claims_of) = (Names::default(), Names::default());
        let (pods, claims) = (pods_of.clone(), claims_of.clone());
        let (of_gone, of_views) = (remembered.clone(), remembered.clone());
        let hosts_changed = Arc::new(AtomicU64::new(0));
        let clusters = watch.scoped(
            &watcher::Config::default(),
            &Arc::default(),
            move |o, gone| {
                if gone {
                    of_gone.forget(&named(o));
                }
                Some(named(o))
            },
        );
        let known = clusters.clone();
        let slices_listed: Arc<AtomicU64> = Arc::default();
        Self {
            views: watch.scoped(
                &watcher::Config::default(),
                &Arc::default(),
                move |o, gone| {
                    let key = named(o);
                    // It goes with its cluster, or was lost.
                    let alone = known.get(&key.namespace, &key.name).is_none();
                    if gone && alone {
                        of_views.forget(&key);
                    } else {
                        remember(&of_views, o);
                    }
                    Some(key)
                },
            ),
            slices: watch.scoped(&labelled, &slices_listed, |slice: &EndpointSlice, _| {
                labelled_with(slice).filter(|key| is_read_write(key, slice))
            }),
            slices_listed,
            clusters,
            pods: watch.scoped(&labelled, &Arc::default(), move |o, gone| pods.saw(o, gone)),
            claims: watch.scoped(&labelled, &Arc::default(), move |o, gone| {
                claims.saw(o, gone)
            }),
            hosts: watch.hosts(hosts_changed.clone()),
            pods_of,
            claims_of,
            remembered,
            hosts_changed,
            changes,
        }
    }

    /// Changes from now on.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Waits until every cache has been filled once, and says meanwhile which is not.
    pub async fn ready(
        &self,
        readiness: &Readiness,
    ) -> Result<(), reflector::store::WriterDropped> {
        async fn all<K>(scoped: &Scoped<K>) -> Result<(), reflector::store::WriterDropped>
        where
            K: Lookup<DynamicType = ()> + Clone + 'static,
        {
            for store in &scoped.0 {
                store.wait_until_ready().await?;
            }
            Ok(())
        }
        let waits = |what: &str| readiness.wait(TOPIC, format!("{what} have not been listed yet"));
        waits("standbyclusters");
        all(&self.clusters).await?;
        waits("standbyviews");
        all(&self.views).await?;
        waits("pods");
        all(&self.pods).await?;
        waits("persistentvolumeclaims");
        all(&self.claims).await?;
        waits("endpointslices");
        all(&self.slices).await?;
        waits("nodes");
        self.hosts.wait_until_ready().await?;
        readiness.ready(TOPIC);
        Ok(())
    }

    /// Every cluster there is, also those whose specification cannot be read.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        self.clusters
            .all()
            .map(|cluster| named(&*cluster))
            .collect()
    }

    /// How many clusters there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.clusters.0.iter().map(Store::len).sum()
    }

    /// A cluster; an error when its specification cannot be read.
    #[must_use]
    pub fn cluster(&self, key: &Key) -> Option<Result<StandbyCluster, Box<Unread>>> {
        let found = self.clusters.get(&key.namespace, &key.name)?;
        Some(match &found.0 {
            Ok(cluster) => Ok(cluster.clone()),
            Err(unread) => Err(Box::new(Unread {
                error: unread.error.clone(),
                metadata: unread.metadata.clone(),
            })),
        })
    }

    /// The epoch of a view in the cache: only good for noticing that somebody else wrote it.
    #[must_use]
    pub fn view_epoch(&self, key: &Key) -> Option<i64> {
        let found = self.views.get(&key.namespace, &key.name)?;
        found.0.as_ref().ok().map(|view| view.spec.epoch)
    }

    /// The highest view that this process has ever seen recorded. What is read live afterwards is not
    /// older, unless the API server's store was put back.
    #[must_use]
    pub fn remembered(&self, key: &Key) -> Option<View> {
        self.remembered.highest(key)
    }

    /// The version of a cluster's read-write slice; none: there is none.
    #[must_use]
    pub fn slice_version(&self, key: &Key, family: Family) -> Option<String> {
        let name = endpoint_slice::name(&key.name, Access::ReadWrite, family);
        let slice = self.slices.get(&key.namespace, &name)?;
        slice.metadata.resource_version.clone()
    }

    /// Changes whenever the slices were listed anew: the watch had broken, as it does when the API server's
    /// store is put back to a backup. Whatever this process wrote before may be gone with it.
    #[must_use]
    pub fn slices_listed(&self) -> u64 {
        self.slices_listed.load(Ordering::Acquire)
    }

    /// Views that are being deleted.
    #[must_use]
    pub fn views_ending(&self) -> Vec<Key> {
        self.views
            .all()
            .filter(|view| view.meta().deletion_timestamp.is_some())
            .map(|view| named(&*view))
            .collect()
    }

    /// The pods of a cluster.
    #[must_use]
    pub fn pods(&self, key: &Key) -> Vec<Arc<Pod>> {
        self.pods_of.objects(key, &self.pods)
    }

    /// The claims of a cluster.
    #[must_use]
    pub fn claims(&self, key: &Key) -> Vec<Arc<PersistentVolumeClaim>> {
        self.claims_of.objects(key, &self.claims)
    }

    /// A host.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<Arc<Node>> {
        self.hosts.get(&ObjectRef::new(name))
    }

    /// The host that volumes call so: by its name, or by the label that they are bound by.
    #[must_use]
    pub fn host_called(&self, name: &str) -> Option<Arc<Node>> {
        self.host(name).or_else(|| {
            self.hosts().find(|host| {
                let label = host.labels().get(LABEL_HOSTNAME);
                label.is_some_and(|label| label == name)
            })
        })
    }

    /// Changes whenever something about a host that matters has.
    #[must_use]
    pub fn hosts_version(&self) -> u64 {
        self.hosts_changed.load(Ordering::Acquire)
    }

    /// Every host.
    pub fn hosts(&self) -> impl Iterator<Item = Arc<Node>> {
        self.hosts.state().into_iter()
    }
}

/// The cluster an object is, or is named like.
fn named<K: Resource<DynamicType = ()>>(object: &K) -> Key {
    Key {
        namespace: ResourceExt::namespace(object).unwrap_or_default(),
        name: object.name_any(),
    }
}

/// A view that cannot be read is nothing to remember: reading it live says what is wrong.
fn remember(views: &Remembered, object: &DeserializeGuard<StandbyView>) {
    let read = object.0.as_ref().ok();
    if let Some(view) = read.and_then(|object| View::try_from(&object.spec).ok()) {
        views.saw(&named(object), view);
    }
}

/// The cluster an object is labelled with.
fn labelled_with<K: Resource<DynamicType = ()>>(object: &K) -> Option<Key> {
    let name = object.labels().get(names::LABEL_CLUSTER)?.clone();
    Some(Key {
        namespace: ResourceExt::namespace(object).unwrap_or_default(),
        name,
    })
}

/// Whether it is where the cluster's writers are led to. Of the others no change has to be noticed.
fn is_read_write(key: &Key, slice: &EndpointSlice) -> bool {
    let name = slice.name_any();
    [Family::V4, Family::V6]
        .into_iter()
        .any(|family| endpoint_slice::name(&key.name, Access::ReadWrite, family) == name)
}

/// What of a host that is there decides whether it takes which pods, as one number.
fn what_matters(host: &Node) -> u64 {
    let going = host.metadata.deletion_timestamp.is_some();
    let mut hasher = DefaultHasher::new();
    (host_ready(host) && !going, cordoned(host)).hash(&mut hasher);
    host.labels().hash(&mut hasher);
    let taints = host.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    for taint in taints.into_iter().flatten() {
        (&taint.key, &taint.value, &taint.effect).hash(&mut hasher);
    }
    hasher.finish()
}

/// Whether the kubelet of a host calls it ready.
#[must_use]
pub fn host_ready(host: &Node) -> bool {
    host.status
        .as_ref()
        .and_then(|status| status.conditions.as_ref())
        .and_then(|conditions| conditions.iter().find(|c| c.type_ == "Ready"))
        .is_none_or(|ready| ready.status == "True")
}
