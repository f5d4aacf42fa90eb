//! The watches that fill the caches. Never decides what a change means.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{Stream, StreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher::watcher};
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::kept::Kept;
use super::{Change, Scoped, what_matters};
use crate::context::Key;

/// A watch that begins anew with a list after every failure. Going on where it was would be cheaper, but
/// a store that was put back to an earlier backup counts its versions from there again: the API server
/// would say nothing until they have caught up with what was seen before.
fn relisting<K>(
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + 'static,
{
    stream::unfold(None, move |running| {
        let begin = || watcher(api.clone(), config.clone()).boxed();
        let mut events = running.unwrap_or_else(begin);
        async move {
            let event = events.next().await?;
            let goes_on = event.is_ok().then_some(events);
            Some((event, goes_on))
        }
    })
}

/// What matters of each host, as it was seen last.
#[derive(Debug, Default)]
struct KnownHosts {
    hosts: HashMap<String, (u64, u64)>,
    lists: u64,
}

impl KnownHosts {
    /// Whether something that matters has changed.
    fn saw(&mut self, host: &Node, gone: bool) -> bool {
        if gone {
            self.hosts.remove(&host.name_any());
            return true;
        }
        let now = what_matters(host);
        let before = self.hosts.insert(host.name_any(), (now, self.lists));
        before.is_none_or(|(before, _)| before != now)
    }

    /// A list is whole. Of a host that went while nobody watched nothing else tells: what no list has
    /// shown since the last one is forgotten.
    fn listed(&mut self) {
        self.hosts.retain(|_, (_, list)| *list == self.lists);
        self.lists += 1;
    }
}

/// What every watch needs.
pub(super) struct Watch<'a> {
    pub client: &'a Client,
    /// Empty: all.
    pub namespaces: &'a [String],
    pub stop: &'a CancellationToken,
    pub changes: &'a broadcast::Sender<Change>,
}

impl Watch<'_> {
    /// Watches objects of namespaces; counts in `lists` how often they were listed.
    pub fn scoped<K>(
        &self,
        config: &watcher::Config,
        lists: &Arc<AtomicU64>,
        key: impl Fn(&K, bool) -> Option<Key> + Clone + Send + Sync + 'static,
    ) -> Scoped<K>
    where
        K: Kept + Resource<Scope = NamespaceResourceScope>,
    {
        let apis: Vec<Api<K>> = if self.namespaces.is_empty() {
            vec![Api::all(self.client.clone())]
        } else {
            self.namespaces
                .iter()
                .map(|ns| Api::namespaced(self.client.clone(), ns))
                .collect()
        };
        Scoped(
            apis.into_iter()
                .map(|api| {
                    let (key, lists) = (key.clone(), lists.clone());
                    let change = move |object: &K, gone| key(object, gone).map(Change::Cluster);
                    let listed = move || {
                        lists.fetch_add(1, Ordering::Release);
                    };
                    self.run(api, config.clone(), change, listed)
                })
                .collect(),
        )
    }

    /// Hosts report often; only whether they are ready and take which pods matters.
    pub fn hosts(&self, version: Arc<AtomicU64>) -> Store<Node> {
        let known = Arc::<Mutex<KnownHosts>>::default();
        let (changed, listed) = (version.clone(), known.clone());
        self.run(
            Api::<Node>::all(self.client.clone()),
            watcher::Config::default(),
            move |host, gone| {
                if !known.lock().saw(host, gone) {
                    return None;
                }
                version.fetch_add(1, Ordering::Release);
                Some(Change::Host)
            },
            // A new list shows itself only when it is whole.
            move || {
                listed.lock().listed();
                changed.fetch_add(1, Ordering::Release);
            },
        )
    }

    fn run<K>(
        &self,
        api: Api<K>,
        config: watcher::Config,
        change: impl Fn(&K, bool) -> Option<Change> + Send + Sync + 'static,
        listed: impl Fn() + Send + Sync + 'static,
    ) -> Store<K>
    where
        K: Kept,
    {
        let (store, writer) = reflector::store();
        let (changes, stop) = (self.changes.clone(), self.stop.clone());
        tokio::spawn(async move {
            let events = relisting(api, config)
                .default_backoff()
                .modify(|object: &mut K| {
                    // Who wrote which field is most of a small object.
                    object.managed_fields_mut().clear();
                    object.slim();
                })
                .reflect(writer);
            let mut events = std::pin::pin!(events.take_until(stop.cancelled_owned()));
            while let Some(event) = events.next().await {
                let told = match &event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) => change(object, false),
                    Ok(Event::Delete(object)) => change(object, true),
                    Ok(Event::Init) => None,
                    Ok(Event::InitDone) => {
                        listed();
                        Some(Change::Everything)
                    }
                    Err(error) => {
                        warn!(kind = %K::kind(&()), %error, "watching failed; trying again");
                        None
                    }
                };
                if let Some(told) = told {
                    // Nobody listens while this replica does not lead.
                    let _ = changes.send(told);
                }
            }
        });
        store
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
