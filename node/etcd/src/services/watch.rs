//! The Watch service: one task for each stream between its connection and the hub.
//!
//! Never decides what a watcher gets: that is [`crate::watch`].

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use rand::Rng as _;
use standby_interface::RoleInfo;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::error::EtcdError;
use crate::limits::{
    LEADER_LOST_CUT_MS, WATCH_HISTORY_BYTES, WATCH_PROGRESS_INTERVAL_MIN_MS,
    WATCH_PROGRESS_INTERVAL_MS, WATCH_RESPONSES_READY,
};
use crate::pb::etcdserverpb::watch_request::RequestUnion;
use crate::pb::etcdserverpb::watch_server::Watch;
use crate::pb::etcdserverpb::{ResponseHeader, WatchRequest, WatchResponse};
use crate::server::Lifetimes;
use crate::watch::{
    History, HistoryChunk, HistoryError, ReadPlan, WatchHub, WatchStream, responses,
};

/// Makes response headers, complete but for the revision.
pub type HeaderSource = Arc<dyn Fn() -> ResponseHeader + Send + Sync>;

/// What the service stands on.
#[derive(Clone)]
pub struct WatchService {
    parts: Arc<Parts>,
}

struct Parts {
    hub: WatchHub,
    history: Arc<dyn History>,
    header: HeaderSource,
    role: watch::Receiver<RoleInfo>,
    lifetimes: Lifetimes,
    progress_interval: Duration,
}

impl WatchService {
    /// A service over `hub` and the `history` of the same state. `progress_interval_ms` is raised to
    /// the least allowed; `None` means etcd's ten minutes.
    #[must_use]
    pub fn new(
        hub: WatchHub,
        history: Arc<dyn History>,
        header: HeaderSource,
        role: watch::Receiver<RoleInfo>,
        lifetimes: Lifetimes,
        progress_interval_ms: Option<u64>,
    ) -> Self {
        let interval_ms = progress_interval_ms
            .unwrap_or(WATCH_PROGRESS_INTERVAL_MS)
            .max(WATCH_PROGRESS_INTERVAL_MIN_MS);
        let progress_interval = Duration::from_millis(interval_ms);
        let parts = Parts {
            hub,
            history,
            header,
            role,
            lifetimes,
            progress_interval,
        };
        Self {
            parts: Arc::new(parts),
        }
    }
}

type Responses = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Watch for WatchService {
    type WatchStream = Responses;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let metadata = request.metadata();
        let needs_leader = metadata
            .get("hasleader")
            .is_some_and(|value| value == "true");
        if needs_leader && !knows_leader(&self.parts.role.borrow()) {
            return Err(EtcdError::NoLeader.into());
        }
        let (sender, receiver) = mpsc::channel(WATCH_RESPONSES_READY);
        let (last, ended) = oneshot::channel();
        let task = StreamTask {
            parts: Arc::clone(&self.parts),
            stream: self.parts.hub.open(),
            ready: VecDeque::new(),
        };
        let closing = self.parts.lifetimes.closing();
        tokio::spawn(async move {
            if let Some(status) = task
                .run(request.into_inner(), sender, closing, needs_leader)
                .await
            {
                // The client is gone if nobody takes it.
                let _ = last.send(status);
            }
        });
        let end = futures::stream::once(ended).filter_map(async |status| status.ok().map(Err));
        Ok(Response::new(Box::pin(
            ReceiverStream::new(receiver).chain(end),
        )))
    }
}

fn knows_leader(role: &RoleInfo) -> bool {
    role.primary.is_some() && role.primary_alive
}

/// Resolves once no primary was known for so long that clients which need one are better elsewhere.
async fn leader_lost(mut role: watch::Receiver<RoleInfo>) {
    let limit = Duration::from_millis(LEADER_LOST_CUT_MS);
    loop {
        if role.wait_for(|role| !knows_leader(role)).await.is_err() {
            return;
        }
        match tokio::time::timeout(limit, role.wait_for(knows_leader)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// What ends a stream from our side, as the status that the client gets.
async fn end_of(
    closing: CancellationToken,
    role: watch::Receiver<RoleInfo>,
    needs_leader: bool,
) -> Status {
    let lost = async {
        if needs_leader {
            leader_lost(role).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = closing.cancelled() => EtcdError::Stopped.into(),
        () = lost => EtcdError::NoLeader.into(),
    }
}

type Reading = JoinHandle<(ReadPlan, Result<HistoryChunk, HistoryError>)>;

struct StreamTask {
    parts: Arc<Parts>,
    stream: WatchStream,
    /// Pieces of the item being sent.
    ready: VecDeque<WatchResponse>,
}

impl StreamTask {
    /// Serves the stream to its end. `None` when the client is gone.
    async fn run(
        mut self,
        mut inbound: Streaming<WatchRequest>,
        out: mpsc::Sender<Result<WatchResponse, Status>>,
        closing: CancellationToken,
        needs_leader: bool,
    ) -> Option<Status> {
        let interval = self.parts.progress_interval;
        // Not all at once, though many streams opened at once.
        let spread = rand::rng().random_range(Duration::ZERO..=interval / 10);
        let mut ticker = tokio::time::interval(interval + spread);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticker.reset();
        let end = end_of(closing, self.parts.role.clone(), needs_leader);
        tokio::pin!(end);
        let mut asking = true;
        let mut reading: Option<Reading> = None;
        loop {
            self.refill();
            if reading.is_none() {
                reading = self.stream.plan().map(|plan| self.read(plan));
            }
            let may_ask = asking && self.stream.has_room();
            tokio::select! {
                status = &mut end => return Some(status),
                permit = out.reserve(), if !self.ready.is_empty() => {
                    let response = self.ready.pop_front()?;
                    permit.ok()?.send(Ok(response));
                }
                read = joined(&mut reading) => {
                    reading = None;
                    if let Some(status) = self.take_in(read) {
                        return Some(status);
                    }
                }
                request = inbound.message(), if may_ask => match request {
                    Ok(Some(request)) => self.obey(request),
                    // Half closed: the client asks for nothing more and goes on listening.
                    Ok(None) => asking = false,
                    Err(_) => return Some(Status::new(Code::Cancelled, "etcdserver: watch canceled")),
                },
                () = self.stream.woken() => {}
                _ = ticker.tick() => self.stream.tick(),
                () = out.closed() => return None,
            }
        }
    }

    fn refill(&mut self) {
        if self.ready.is_empty()
            && let Some(item) = self.stream.take()
        {
            self.ready.extend(responses(item, (self.parts.header)()));
        }
    }

    fn obey(&self, request: WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.stream.create(&create),
            Some(RequestUnion::CancelRequest(cancel)) => self.stream.cancel(cancel.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => self.stream.progress(),
            // A kind that we do not know is passed over.
            None => {}
        }
    }

    fn read(&self, plan: ReadPlan) -> Reading {
        let history = Arc::clone(&self.parts.history);
        tokio::task::spawn_blocking(move || {
            let want = |key: &bytes::Bytes| plan.want(key);
            let read = history.read(plan.from, plan.to, &want, WATCH_HISTORY_BYTES);
            (plan, read)
        })
    }

    fn take_in(
        &self,
        read: Option<(ReadPlan, Result<HistoryChunk, HistoryError>)>,
    ) -> Option<Status> {
        // The runtime is ending.
        let Some((plan, read)) = read else {
            return Some(EtcdError::Stopped.into());
        };
        if let Err(HistoryError::Storage(what)) = read {
            return Some(EtcdError::Storage(what).into());
        }
        self.stream.caught_up(&plan, read);
        None
    }
}

/// The reading's end, or never without one.
async fn joined<T>(reading: &mut Option<JoinHandle<T>>) -> Option<T> {
    match reading {
        Some(reading) => reading.await.ok(),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use standby_core::{Epoch, NodeId};
    use standby_interface::Role;
    use tokio::time::{Instant, advance};

    use super::*;

    fn role(primary_alive: bool) -> RoleInfo {
        RoleInfo {
            role: Role::Follower,
            epoch: Epoch(1),
            primary: Some(NodeId::new("one", "0123456789abcdef")),
            primary_alive,
        }
    }

    async fn settle() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_needs_a_leader_is_cut_after_the_limit_and_not_before() {
        let (sender, receiver) = watch::channel(role(true));
        let cut = tokio::spawn(end_of(CancellationToken::new(), receiver, true));
        let almost = Duration::from_millis(LEADER_LOST_CUT_MS - 1);
        // A primary that returns in time starts the limit anew.
        for _ in 0..2 {
            sender.send_replace(role(false));
            settle().await;
            advance(almost).await;
            settle().await;
            assert!(!cut.is_finished());
            sender.send_replace(role(true));
            settle().await;
        }
        let begun = Instant::now();
        sender.send_replace(role(false));
        let status = cut.await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_millis(LEADER_LOST_CUT_MS));
        assert_eq!(status.message(), "etcdserver: no leader");
        assert_eq!(status.code(), Code::Unavailable);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_needs_no_leader_ends_only_with_its_connection() {
        let (_sender, receiver) = watch::channel(role(false));
        let closing = CancellationToken::new();
        let end = tokio::spawn(end_of(closing.clone(), receiver, false));
        advance(Duration::from_hours(1)).await;
        settle().await;
        assert!(!end.is_finished());
        closing.cancel();
        assert_eq!(end.await.unwrap().message(), "etcdserver: server stopped");
    }
}
