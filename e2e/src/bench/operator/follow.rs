//! Follows many failovers at once from outside: when each cluster's view, address and standby changed.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::Api;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use standby_api::StandbyView;
use tokio::time::{Instant, timeout_at};

use crate::error::{Error, Result};

/// How long all of them together may take.
const FAILOVERS_TIMEOUT: Duration = Duration::from_mins(3);
const LABEL_SERVICE: &str = "kubernetes.io/service-name";

/// A cluster: its namespace and its name.
pub type ClusterKey = (String, String);

/// One failover as it was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The primary that was killed.
    old: String,
    /// The view with another primary.
    recorded: Option<Duration>,
    /// The read-write address leads to another pod.
    announced: Option<Duration>,
    /// The view with another primary and a synchronous node.
    synchronous: Option<Duration>,
}

/// All failovers.
pub struct Failovers {
    begun: Instant,
    seen: BTreeMap<ClusterKey, Seen>,
}

/// Times in milliseconds after the faults.
#[derive(Clone, Debug, Default)]
pub struct Times {
    /// Of the view that promotes.
    pub recorded: Vec<f64>,
    /// Of the address.
    pub announced: Vec<f64>,
    /// Of the view with a synchronous node.
    pub synchronous: Vec<f64>,
}

impl Failovers {
    /// Of those clusters, each with the primary that will be killed.
    pub fn of(primaries: impl IntoIterator<Item = (ClusterKey, String)>) -> Self {
        let seen = |old| Seen {
            old,
            ..Seen::default()
        };
        Self {
            begun: Instant::now(),
            seen: primaries
                .into_iter()
                .map(|(key, old)| (key, seen(old)))
                .collect(),
        }
    }

    /// Runs `faults` once everything is being watched, and waits until every failover is over.
    pub async fn follow(
        mut self,
        client: &Client,
        faults: impl Future<Output = Result<()>>,
    ) -> Result<Times> {
        let views = watcher(
            Api::<StandbyView>::all(client.clone()),
            watcher::Config::default(),
        );
        let slices = watcher(
            Api::<EndpointSlice>::all(client.clone()),
            watcher::Config::default(),
        );
        let (mut views, mut slices) = (std::pin::pin!(views), std::pin::pin!(slices));
        settled(&mut views).await?;
        settled(&mut slices).await?;
        let mut faults = std::pin::pin!(faults);
        let mut done = false;
        self.begun = Instant::now();
        let end = self.begun + FAILOVERS_TIMEOUT;
        while !done || !self.over() {
            let next = async {
                tokio::select! {
                    result = &mut faults, if !done => {
                        result?;
                        done = true;
                    }
                    Some(event) = views.next() => {
                        if let Event::Apply(view) = event.map_err(|error| watching(&error))? {
                            self.saw_view(&view);
                        }
                    }
                    Some(event) = slices.next() => {
                        if let Event::Apply(slice) = event.map_err(|error| watching(&error))? {
                            self.saw_slice(&slice);
                        }
                    }
                }
                Ok::<(), Error>(())
            };
            match timeout_at(end, next).await {
                Ok(result) => result?,
                Err(_) => return Err(self.too_slow()),
            }
        }
        Ok(self.times())
    }

    fn over(&self) -> bool {
        self.seen
            .values()
            .all(|seen| seen.announced.is_some() && seen.synchronous.is_some())
    }

    fn too_slow(&self) -> Error {
        let late = self
            .seen
            .iter()
            .filter(|(_, seen)| seen.announced.is_none() || seen.synchronous.is_none());
        let late: Vec<String> = late
            .map(|((namespace, name), seen)| format!("{namespace}/{name}: {seen:?}"))
            .collect();
        Error::Timeout {
            what: format!("{} failovers to end", self.seen.len()),
            waited: FAILOVERS_TIMEOUT,
            last: late.join("; "),
        }
    }

    fn saw_view(&mut self, view: &StandbyView) {
        let after = self.begun.elapsed();
        let key = (view.namespace().unwrap_or_default(), view.name_any());
        let Some(seen) = self.seen.get_mut(&key) else {
            return;
        };
        let primary = view.spec.primary.split('/').next().unwrap_or_default();
        if primary == seen.old {
            return;
        }
        seen.recorded.get_or_insert(after);
        if !view.spec.synchronous.is_empty() {
            seen.synchronous.get_or_insert(after);
        }
    }

    fn saw_slice(&mut self, slice: &EndpointSlice) {
        let after = self.begun.elapsed();
        let service = slice.labels().get(LABEL_SERVICE);
        let Some(name) = service.and_then(|service| service.strip_suffix("-rw")) else {
            return;
        };
        let key = (slice.namespace().unwrap_or_default(), name.to_owned());
        // It holds the primary, or nobody.
        let target = slice
            .endpoints
            .first()
            .and_then(|it| it.target_ref.as_ref());
        let pod = target.and_then(|target| target.name.clone());
        if let (Some(seen), Some(pod)) = (self.seen.get_mut(&key), pod)
            && pod != seen.old
        {
            seen.announced.get_or_insert(after);
        }
    }

    fn times(&self) -> Times {
        let all = |of: fn(&Seen) -> Option<Duration>| {
            let times = self.seen.values().filter_map(of);
            times.map(|time| time.as_secs_f64() * 1_000.0).collect()
        };
        Times {
            recorded: all(|seen| seen.recorded),
            announced: all(|seen| seen.announced),
            synchronous: all(|seen| seen.synchronous),
        }
    }
}

fn watching(error: &watcher::Error) -> Error {
    Error::Wrong(format!("a watch of the measurement failed: {error}"))
}

/// Reads what is there already.
async fn settled<K>(
    events: &mut (impl futures::Stream<Item = watcher::Result<Event<K>>> + Unpin),
) -> Result<()> {
    while let Some(event) = events.next().await {
        if matches!(event.map_err(|error| watching(&error))?, Event::InitDone) {
            return Ok(());
        }
    }
    Err(Error::Wrong("a watch of the measurement ended".to_owned()))
}
