//! Watches that are kept open, one through the Service and one at each node, and what each node tells
//! of all revisions at the end.

use std::sync::Arc;

use etcd_client::{Client, WatchOptions, WatchResponse};
use tokio::sync::watch as signal;
use tokio::time::{sleep, timeout};

use super::record::{Event, NodeLog, Recorder, Response, Watch};
use super::{Nodes, PREFIX};
use crate::error::{Error, Result};
use crate::limits::{CHECK_TIMEOUT, PINNED_PAUSE};
use crate::workload::Target;

/// Where a watcher connects to.
pub(super) enum At {
    /// Through the Service.
    Service(Target),
    /// One node, wherever its pod is.
    Node(String, Nodes),
}

impl At {
    fn target(&self) -> Option<Target> {
        match self {
            Self::Service(target) => Some(target.clone()),
            Self::Node(name, nodes) => nodes.borrow().get(name).cloned(),
        }
    }
}

/// Watches until it is told to stop; goes on after the last revision it has seen.
pub(super) async fn run(
    at: At,
    client: u64,
    recorder: Arc<Recorder>,
    mut stop: signal::Receiver<bool>,
) {
    let mut next = 2;
    while !*stop.borrow() {
        if let Some(target) = at.target() {
            tokio::select! {
                // A stream that ended is opened again; why does not matter.
                _ = follow(&target, &mut next, client, &recorder) => {}
                _ = stop.changed() => return,
            }
        }
        sleep(PINNED_PAUSE).await;
    }
}

async fn follow(target: &Target, next: &mut i64, client: u64, notes: &Recorder) -> Result<()> {
    let mut connection = target.watch_client().await?;
    let from = WatchOptions::new()
        .with_prefix()
        .with_prev_key()
        .with_progress_notify()
        .with_start_revision(*next);
    let mut stream = connection.watch(PREFIX, Some(from)).await?;
    let mut begun = false;
    while let Some(answer) = stream.message().await? {
        if answer.canceled() {
            return Err(cancelled(&answer));
        }
        if answer.created() {
            continue;
        }
        if !begun {
            notes.watch(Watch {
                client,
                key: PREFIX.to_owned(),
                revision: *next,
                responses: Vec::new(),
            });
            begun = true;
        }
        let response = Response {
            revision: answer
                .header()
                .map_or(0, etcd_client::ResponseHeader::revision),
            progress: answer.events().is_empty(),
            events: answer.events().iter().filter_map(Event::of).collect(),
        };
        if let Some(last) = response.events.last() {
            *next = last.revision + 1;
        }
        notes.response(client, response);
    }
    Ok(())
}

fn cancelled(answer: &WatchResponse) -> Error {
    Error::Wrong(format!(
        "watch cancelled: {} (compacted at {})",
        answer.cancel_reason(),
        answer.compact_revision()
    ))
}

/// Every event that a node has up to revision `last`.
pub(super) async fn log_of(node: &str, target: &Target, last: i64) -> Result<NodeLog> {
    let mut connection = target.watch_client().await?;
    let events = timeout(CHECK_TIMEOUT, told(&mut connection, last));
    let events = events.await.map_err(|_| Error::Timeout {
        what: format!("{node} to tell of everything up to revision {last}"),
        waited: CHECK_TIMEOUT,
        last: String::new(),
    })??;
    Ok(NodeLog {
        node: node.to_owned(),
        events,
    })
}

async fn told(connection: &mut Client, last: i64) -> Result<Vec<Event>> {
    let all = WatchOptions::new().with_all_keys().with_start_revision(2);
    let mut stream = connection.watch("", Some(all)).await?;
    let mut events: Vec<Event> = Vec::new();
    while events.last().map_or(1, |event| event.revision) < last {
        let answer = stream.message().await?;
        let answer = answer.ok_or_else(|| Error::Wrong("the watch ended".to_owned()))?;
        if answer.canceled() {
            return Err(cancelled(&answer));
        }
        events.extend(answer.events().iter().filter_map(Event::of));
    }
    Ok(events)
}
