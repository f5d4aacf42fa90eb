//! One watch stream of one server: what was asked, and everything that came.

use std::collections::BTreeMap;
use std::time::Duration;

use standby_etcd::pb::etcdserverpb::watch_client::WatchClient;
use standby_etcd::pb::etcdserverpb::watch_request::RequestUnion;
use standby_etcd::pb::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use standby_etcd::pb::mvccpb::Event;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// Every stream watches this key under this id, so that it is known how far the stream is.
pub const MARKER: &str = "~marker";
pub const MARKER_WATCH: i64 = 1_000_000;
/// Nothing that is waited for takes this long.
pub const WAIT_LIMIT: Duration = Duration::from_secs(10);

/// An answer to a create or a cancel.
#[derive(Clone, Debug, PartialEq)]
pub struct Control {
    pub watch_id: i64,
    pub created: bool,
    pub canceled: bool,
    pub reason: String,
    pub revision: i64,
}

/// Everything of one watch, from its creation on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub events: Vec<Event>,
    /// The end by compaction: `compact_revision`, the reason and the header's revision.
    pub compacted: Option<(i64, String, i64)>,
}

/// Everything that came on a stream.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub controls: Vec<Control>,
    /// By watch id, one for each time that the id was created.
    pub watches: BTreeMap<i64, Vec<Seen>>,
    /// Watch id and revision.
    pub progress: Vec<(i64, i64)>,
    /// What no server may ever do.
    pub wrong: Vec<String>,
    pub ended: Option<String>,
}

impl Log {
    fn take(&mut self, response: WatchResponse) {
        let id = response.watch_id;
        let revision = response
            .header
            .as_ref()
            .map_or(-1, |header| header.revision);
        if response.compact_revision != 0 {
            let seen = self.watches.get_mut(&id).and_then(|all| all.last_mut());
            let seen = seen.expect("a watch is created before it ends");
            seen.compacted = Some((response.compact_revision, response.cancel_reason, revision));
            return;
        }
        if response.created || response.canceled {
            if response.created && !response.canceled {
                self.watches.entry(id).or_default().push(Seen::default());
            }
            let WatchResponse {
                created,
                canceled,
                cancel_reason: reason,
                ..
            } = response;
            self.controls.push(Control {
                watch_id: id,
                created,
                canceled,
                reason,
                revision,
            });
            return;
        }
        if response.events.is_empty() {
            self.progress.push((id, revision));
            return;
        }
        let Some(seen) = self.watches.get_mut(&id).and_then(|all| all.last_mut()) else {
            self.wrong
                .push(format!("events for watch {id}, which was not created"));
            return;
        };
        let modified = |event: &Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
        let (first, last) = (
            modified(&response.events[0]),
            response.events.last().map(modified),
        );
        if seen
            .events
            .last()
            .map(modified)
            .is_some_and(|before| before >= first)
        {
            self.wrong.push(format!(
                "watch {id}: revision {first} is split or out of order"
            ));
        }
        if last > Some(revision) {
            self.wrong.push(format!(
                "watch {id}: header's revision {revision} is below an event's"
            ));
        }
        seen.events.extend(response.events);
    }
}

/// An open stream.
pub struct Stream {
    requests: mpsc::Sender<WatchRequest>,
    pub log: watch::Receiver<Log>,
}

impl Stream {
    /// Opens a stream that already watches the marker.
    pub async fn open(client: &mut WatchClient<Channel>) -> Self {
        let (requests, receiver) = mpsc::channel(16);
        let marker = WatchCreateRequest {
            key: MARKER.into(),
            watch_id: MARKER_WATCH,
            ..WatchCreateRequest::default()
        };
        let (sender, log) = watch::channel(Log::default());
        let mut stream = Self { requests, log };
        // The first request travels with the call.
        stream.send(RequestUnion::CreateRequest(marker)).await;
        let answer = client
            .watch(ReceiverStream::new(receiver))
            .await
            .expect("a watch opens");
        let mut responses = answer.into_inner();
        tokio::spawn(async move {
            loop {
                match responses.message().await {
                    Ok(Some(response)) => sender.send_modify(|log| log.take(response)),
                    end => {
                        sender.send_modify(|log| log.ended = Some(format!("{end:?}")));
                        return;
                    }
                }
            }
        });
        stream
            .until("the marker's watch", |log| !log.controls.is_empty())
            .await;
        stream
    }

    pub async fn send(&self, request: RequestUnion) {
        let request = WatchRequest {
            request_union: Some(request),
        };
        self.requests
            .send(request)
            .await
            .expect("the stream is open");
    }

    /// Waits until the log is as asked.
    pub async fn until(&mut self, what: &str, is: impl FnMut(&Log) -> bool) {
        let came = self.try_until(WAIT_LIMIT, is).await;
        assert!(
            came,
            "waited in vain for {what}; the log is {:#?}",
            self.log.borrow()
        );
    }

    /// Waits until the log is as asked, or the limit has passed.
    pub async fn try_until(&mut self, limit: Duration, is: impl FnMut(&Log) -> bool) -> bool {
        tokio::time::timeout(limit, self.log.wait_for(is))
            .await
            .is_ok_and(|log| log.is_ok())
    }

    /// Waits until the marker's put at `revision` came.
    pub async fn until_marker(&mut self, revision: i64) {
        let at = |event: &Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
        self.until("the marker", |log| {
            let seen = log.watches[&MARKER_WATCH].last();
            seen.and_then(|seen| seen.events.last())
                .is_some_and(|event| at(event) >= revision)
        })
        .await;
    }
}
