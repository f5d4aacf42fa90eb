//! While this replica leads: one actor for each cluster there is, woken by what changes. The loop itself
//! never calls the Kubernetes API: while a call waits, nobody would be woken.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, warn};

use crate::actor::Actor;
use crate::context::{Context, Key};
use crate::limits::{RETRY_MAX_MS, ms};
use crate::reconcile::release;
use crate::stores::Change;

/// Runs actors until `stop`.
pub async fn run(context: Arc<Context>, stop: CancellationToken) {
    let mut changes = context.stores.changes();
    let mut actors = Actors::new(context, stop.clone());
    actors.sync_all();
    let mut ticks = tokio::time::interval(ms(RETRY_MAX_MS));
    loop {
        tokio::select! {
            change = changes.recv() => match change {
                Ok(Change::Cluster(key)) => actors.changed(key),
                Ok(Change::Host) => actors.context.wakers.wake_all(),
                Ok(Change::Everything) | Err(RecvError::Lagged(_)) => actors.sync_all(),
                Err(RecvError::Closed) => return,
            },
            Some(ended) = actors.running.join_next() => actors.ended(ended),
            // Actors look again by themselves.
            _ = ticks.tick() => actors.start_all(),
            () = stop.cancelled() => break,
        }
    }
    while actors.running.join_next().await.is_some() {}
}

/// Lets go of views one after another: of what goes slowly there is no hurry.
async fn release_all(context: Arc<Context>, orphans: Vec<Key>) {
    for key in orphans {
        if let Err(error) = release::release_orphan(&context, &key).await {
            warn!(namespace = %key.namespace, cluster = %key.name, %error,
                "could not release a view whose cluster is gone");
        }
    }
}

struct Actors {
    context: Arc<Context>,
    stop: CancellationToken,
    running: JoinSet<Key>,
    known: HashMap<Key, tokio::task::AbortHandle>,
    /// Lets go of views whose cluster is gone: one round at a time, beside the loop.
    releasing: Option<AbortOnDropHandle<()>>,
}

impl Actors {
    fn new(context: Arc<Context>, stop: CancellationToken) -> Self {
        Self {
            context,
            stop,
            running: JoinSet::new(),
            known: HashMap::new(),
            releasing: None,
        }
    }

    /// Starts what is missing and wakes everybody: after missed changes.
    fn sync_all(&mut self) {
        self.start_all();
        self.context.wakers.wake_all();
    }

    /// Starts what is missing: now and then.
    fn start_all(&mut self) {
        for key in self.context.stores.keys() {
            self.start(key);
        }
        self.release_orphans();
    }

    /// Views whose cluster went while no operator ran. What a round that is still under way does not know
    /// of waits for the next one.
    fn release_orphans(&mut self) {
        let under_way = self.releasing.as_ref();
        if under_way.is_some_and(|round| !round.is_finished()) {
            return;
        }
        let mut orphans = self.context.stores.views_ending();
        orphans.retain(|key| !self.known.contains_key(key));
        self.releasing = (!orphans.is_empty()).then(|| {
            let round = release_all(self.context.clone(), orphans);
            AbortOnDropHandle::new(tokio::spawn(round))
        });
    }

    fn changed(&mut self, key: Key) {
        if self.known.contains_key(&key) {
            self.context.wakers.wake(&key);
        } else if self.context.stores.cluster(&key).is_some() {
            self.start(key);
        }
    }

    fn start(&mut self, key: Key) {
        if self.known.contains_key(&key) {
            return;
        }
        let actor = Actor::new(self.context.clone(), key.clone());
        let (stop, named) = (self.stop.clone(), key.clone());
        let handle = self.running.spawn(async move {
            // On the heap once, rather than moved about with the task.
            Box::pin(actor.run(stop)).await;
            named
        });
        self.known.insert(key, handle);
    }

    fn ended(&mut self, ended: Result<Key, tokio::task::JoinError>) {
        match ended {
            Ok(key) => {
                self.known.remove(&key);
                self.context.wakers.forget(&key);
                // A new resource may have taken the name meanwhile.
                if !self.stop.is_cancelled() && self.context.stores.cluster(&key).is_some() {
                    self.start(key);
                }
            }
            Err(failure) => {
                // A panic is a broken invariant: the process ends (release builds abort), and
                // another replica goes on.
                error!(%failure, "the task of a cluster failed");
                self.known.retain(|_, handle| !handle.is_finished());
            }
        }
    }
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
