//! What all parts of the process share.

use std::collections::HashMap;
use std::sync::Arc;

use kube::Client;
use kube::runtime::events::Recorder;
use parking_lot::Mutex;
use standby_operator_core::validate::Settings;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};

use crate::clock::Clock;
use crate::http::Readiness;
use crate::metrics::Metrics;
use crate::stores::Stores;

/// Namespace and name of a `StandbyCluster`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// Whom to wake when something of a cluster changed. A wake-up is a mark, not a message: nothing
/// queues up.
#[derive(Debug, Default)]
pub struct Wakers(Mutex<HashMap<Key, Arc<Notify>>>);

impl Wakers {
    /// The waker of a cluster, made when it is first asked for.
    #[must_use]
    pub fn of(&self, key: &Key) -> Arc<Notify> {
        self.0.lock().entry(key.clone()).or_default().clone()
    }

    /// Forgets a cluster.
    pub fn forget(&self, key: &Key) {
        self.0.lock().remove(key);
    }

    /// Wakes a cluster, if anybody looks after it.
    pub fn wake(&self, key: &Key) {
        if let Some(notify) = self.0.lock().get(key) {
            notify.notify_one();
        }
    }

    /// Wakes every cluster.
    pub fn wake_all(&self) {
        for notify in self.0.lock().values() {
            notify.notify_one();
        }
    }
}

/// What all parts share.
pub struct Context {
    /// The Kubernetes API.
    pub client: Client,
    /// What the operator was started with.
    pub settings: Settings,
    /// The clock.
    pub clock: Clock,
    /// Caches of objects, for facts on which no safety rests.
    pub stores: Stores,
    /// Who looks after which cluster.
    pub wakers: Wakers,
    /// Sends Events.
    pub recorder: Recorder,
    /// Bounds the Events that wait to be sent.
    pub events: Arc<Semaphore>,
    /// Where the streams to the nodes run: a thread of their own, so that no amount of other work makes a
    /// living node look silent.
    pub heartbeats: Handle,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// What keeps this replica from being ready.
    pub readiness: Arc<Readiness>,
}
