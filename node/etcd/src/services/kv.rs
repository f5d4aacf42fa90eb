//! The KV service: checks requests, writes them to the log or reads them from the state.
//!
//! Never looks at keys itself.

use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;
use prost::Message;
use standby_interface::Replication;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::aside::aside;
use super::check;
use super::node::{Node, mismatched};
use crate::command;
use crate::error::EtcdError;
use crate::limits::{
    MAX_REQUEST_BYTES, RANGE_STREAM_FIRST_KEYS, RANGE_STREAM_QUEUE, SWEEP_ENTRIES_MAX,
};
use crate::pb::etcdserverpb::kv_server::Kv;
use crate::pb::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, RangeStreamResponse, ResponseHeader, TxnRequest,
    TxnResponse,
};
use crate::state::{
    Outcome, ReadView, has_revision_filters, is_key_order, is_read_only, is_serializable,
};

/// etcdserverpb.KV
pub struct KvService<R> {
    node: Node<R>,
}

impl<R> Clone for KvService<R> {
    fn clone(&self) -> Self {
        Self {
            node: self.node.clone(),
        }
    }
}

impl<R: Replication<Outcome>> KvService<R> {
    /// The service of this node.
    pub fn new(node: Node<R>) -> Self {
        Self { node }
    }

    /// A linearizable read asks for proof of primacy first; a serializable one is served anywhere.
    async fn may_read(&self, serializable: bool) -> Result<(), EtcdError> {
        if serializable {
            return Ok(());
        }
        self.node.check_primary()?;
        self.node.barrier().await
    }

    /// Carries a compaction's deletions to their end.
    async fn sweep(&self) -> Result<(), EtcdError> {
        for _ in 0..SWEEP_ENTRIES_MAX {
            if !self.node.view().is_sweeping() {
                return Ok(());
            }
            self.node.write(command::sweep()).await?;
        }
        Err(EtcdError::Timeout)
    }
}

type Chunks = Pin<Box<dyn Stream<Item = Result<RangeStreamResponse, Status>> + Send>>;

#[tonic::async_trait]
impl<R: Replication<Outcome>> Kv for KvService<R> {
    type RangeStreamStream = Chunks;

    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        self.node.check_leader(request.metadata())?;
        let request = request.into_inner();
        if !request.serializable {
            self.node.check_primary()?;
        }
        check::range(&request)?;
        self.may_read(request.serializable).await?;
        let mut response = if request.range_end.is_empty() {
            self.node.view().range(&request)?
        } else {
            aside(|| self.node.view().range(&request))?
        };
        self.node.complete(&mut response.header);
        Ok(Response::new(response))
    }

    async fn range_stream(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<Chunks>, Status> {
        self.node.check_leader(request.metadata())?;
        let request = request.into_inner();
        self.node.check_primary()?;
        check::range(&request)?;
        if !is_key_order(&request) {
            let text = "RangeStream does not support custom sort orders";
            return Err(Status::unimplemented(text));
        }
        if has_revision_filters(&request) {
            return Err(Status::unimplemented(
                "RangeStream does not support revision filters",
            ));
        }
        self.may_read(request.serializable).await?;
        let (sender, receiver) = mpsc::channel(RANGE_STREAM_QUEUE);
        let chunks = ChunkReader::new(self.node.view().clone(), request);
        let header = self.node.header(0);
        tokio::spawn(stream_chunks(chunks, header, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        self.node.check_leader(request.metadata())?;
        self.node.check_primary()?;
        let request = request.into_inner();
        self.node.check_quota(check::put_cost(&request))?;
        check::put(&request)?;
        match self.node.write(request.into()).await? {
            Outcome::Put(response) => {
                let mut response = response?;
                self.node.complete(&mut response.header);
                Ok(Response::new(response))
            }
            other => Err(mismatched(&other)),
        }
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        self.node.check_leader(request.metadata())?;
        self.node.check_primary()?;
        let request = request.into_inner();
        check::delete_range(&request)?;
        match self.node.write(request.into()).await? {
            Outcome::DeleteRange(response) => {
                let mut response = response?;
                self.node.complete(&mut response.header);
                Ok(Response::new(response))
            }
            other => Err(mismatched(&other)),
        }
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        self.node.check_leader(request.metadata())?;
        self.node.check_primary()?;
        let request = request.into_inner();
        self.node.check_quota(check::txn_cost(&request))?;
        check::txn(&request)?;
        if is_read_only(&request) {
            self.may_read(is_serializable(&request)).await?;
            let mut response = aside(|| self.node.view().txn(request))?;
            self.node.complete(&mut response.header);
            return Ok(Response::new(response));
        }
        match self.node.write(request.into()).await? {
            Outcome::Txn(response) => {
                let mut response = response?;
                self.node.complete(&mut response.header);
                Ok(Response::new(response))
            }
            other => Err(mismatched(&other)),
        }
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        self.node.check_leader(request.metadata())?;
        self.node.check_primary()?;
        let CompactionRequest { revision, physical } = request.into_inner();
        let outcome = self.node.write(command::compact(revision)).await?;
        let Outcome::Compact(response) = outcome else {
            return Err(mismatched(&outcome));
        };
        response?;
        if physical {
            self.sweep().await?;
        }
        let header = Some(self.node.current_header());
        Ok(Response::new(CompactionResponse { header }))
    }
}

/// Reads a range piece by piece, all at one revision.
struct ChunkReader {
    view: ReadView,
    request: RangeRequest,
    /// The whole stream's limit; 0 for none.
    limit: i64,
    sent: i64,
    /// The header's revision, once known.
    newest: Option<i64>,
    done: bool,
}

impl ChunkReader {
    fn new(view: ReadView, mut request: RangeRequest) -> Self {
        let limit = request.limit.max(0);
        if !request.count_only {
            request.limit = if limit == 0 {
                RANGE_STREAM_FIRST_KEYS
            } else {
                RANGE_STREAM_FIRST_KEYS.min(limit)
            };
        }
        Self {
            view,
            request,
            limit,
            sent: 0,
            newest: None,
            done: false,
        }
    }

    /// The next piece. The last one has a header with the revision, `more` and the count of all keys.
    fn next(&mut self) -> Result<RangeResponse, EtcdError> {
        let mut chunk = self.view.range(&self.request)?;
        let revision = chunk.header.take().map_or(0, |header| header.revision);
        let newest = *self.newest.get_or_insert(revision);
        if self.request.revision <= 0 {
            self.request.revision = newest;
        }
        let keys = i64::try_from(chunk.kvs.len()).expect("a count of keys in memory fits");
        // The count of this piece is of all keys from its first on.
        let count = self.sent + chunk.count;
        self.sent += keys;
        self.done =
            self.request.count_only || !chunk.more || (self.limit > 0 && self.sent >= self.limit);
        if self.done {
            chunk.header = Some(ResponseHeader {
                revision: newest,
                ..ResponseHeader::default()
            });
            chunk.count = count;
            return Ok(chunk);
        }
        self.go_on_after(&chunk);
        chunk.count = 0;
        chunk.more = false;
        Ok(chunk)
    }

    fn go_on_after(&mut self, chunk: &RangeResponse) {
        let last = chunk
            .kvs
            .last()
            .expect("a piece that more follow has a key");
        let mut next = Vec::with_capacity(last.key.len() + 1);
        next.extend_from_slice(&last.key);
        next.push(0);
        self.request.key = Bytes::from(next);
        // Pieces are to come near the largest request: not many round trips, not too much at once.
        let bytes = chunk.encoded_len();
        if bytes < MAX_REQUEST_BYTES / 2 {
            self.request.limit = self.request.limit.saturating_mul(2);
        } else if bytes > MAX_REQUEST_BYTES * 2 {
            self.request.limit = (self.request.limit / 2).max(1);
        }
        if self.limit > 0 {
            self.request.limit = self.request.limit.min(self.limit - self.sent);
        }
    }
}

async fn stream_chunks(
    mut chunks: ChunkReader,
    header: ResponseHeader,
    sender: mpsc::Sender<Result<RangeStreamResponse, Status>>,
) {
    while !chunks.done {
        let message = match aside(|| chunks.next()) {
            Ok(mut chunk) => {
                if let Some(own) = &mut chunk.header {
                    *own = ResponseHeader {
                        revision: own.revision,
                        ..header
                    };
                }
                Ok(RangeStreamResponse {
                    range_response: Some(chunk),
                })
            }
            Err(error) => {
                chunks.done = true;
                Err(error.into())
            }
        };
        // Nobody listens any more: there is nobody to tell.
        if sender.send(message).await.is_err() {
            return;
        }
    }
}
