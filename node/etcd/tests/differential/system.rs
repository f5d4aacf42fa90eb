//! One of the two servers: performs steps and gives answers in a form that can be compared.

use std::collections::BTreeSet;
use std::fmt::Debug;

use standby_etcd::pb::etcdserverpb as pb;
use standby_etcd::pb::etcdserverpb::kv_client::KvClient;
use standby_etcd::pb::etcdserverpb::lease_client::LeaseClient;
use standby_etcd::pb::etcdserverpb::response_op::Response as OpResponse;
use standby_etcd::pb::etcdserverpb::watch_client::WatchClient;
use standby_etcd::pb::mvccpb::KeyValue;
use tonic::Status;
use tonic::transport::Channel;

use super::op::{OWN_LEASES, Op};
use super::watching::Stream;

/// A watch whose answers may not be smaller than this is not fragmented by etcd either.
const MESSAGE_BYTES: usize = 64 << 20;

/// What a step gave, normalised.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The header's revision, or 0.
    pub revision: i64,
    pub text: String,
}

/// A server under comparison.
pub struct System {
    kv: KvClient<Channel>,
    lease: LeaseClient<Channel>,
    watch: WatchClient<Channel>,
    pub streams: Vec<Stream>,
    /// The leases that the server chose itself.
    own_leases: Vec<i64>,
}

impl System {
    /// Connects, and opens so many watch streams.
    pub async fn connect(url: &str, streams: usize) -> Self {
        let endpoint = Channel::from_shared(url.to_owned()).expect("a URL");
        let channel = endpoint.connect().await.expect("the server listens");
        let kv = KvClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES);
        let lease = LeaseClient::new(channel.clone());
        let watch = WatchClient::new(channel).max_decoding_message_size(MESSAGE_BYTES);
        let mut system = Self {
            kv,
            lease,
            watch,
            streams: Vec::new(),
            own_leases: Vec::new(),
        };
        for _ in 0..streams {
            let stream = system.open_stream().await;
            system.streams.push(stream);
        }
        system
    }

    /// Opens one more watch stream.
    pub async fn open_stream(&mut self) -> Stream {
        Stream::open(&mut self.watch).await
    }

    /// Performs a step that is one call.
    pub async fn perform(&mut self, op: &Op) -> Answer {
        let own = self.own_leases.clone();
        let lease = |name: i64| real_lease(&own, name);
        match op {
            Op::Put(put) => {
                let mut answer = self.kv.put(put.request(&lease)).await.map(unwrap);
                if let Ok(put) = &mut answer {
                    self.rename(put.prev_kv.as_mut());
                }
                said(answer, |put| &mut put.header)
            }
            Op::Delete(delete) => {
                let mut answer = self.kv.delete_range(delete.request()).await.map(unwrap);
                if let Ok(deleted) = &mut answer {
                    self.rename(&mut deleted.prev_kvs);
                }
                said(answer, |deleted| &mut deleted.header)
            }
            Op::Range(range) => {
                let mut answer = self.kv.range(range.request()).await.map(unwrap);
                if let Ok(range) = &mut answer {
                    self.rename(&mut range.kvs);
                }
                said(answer, |range| &mut range.header)
            }
            Op::RangeStream(range) => {
                let mut answer = self.range_stream(range.request()).await;
                if let Ok(answer) = &mut answer {
                    self.rename(&mut answer.kvs);
                    // etcd forgets what lies behind the limit when the range has no upper end.
                    if range.end == "\0" && answer.more {
                        answer.count = 0;
                    }
                }
                said(answer, |range| &mut range.header)
            }
            Op::Txn(txn) => {
                let mut answer = self.kv.txn(txn.request(&lease)).await.map(unwrap);
                if let Ok(txn) = &mut answer {
                    self.rename_txn(txn);
                }
                said(answer, |txn| &mut txn.header)
            }
            Op::Compact { revision, physical } => {
                let request = pb::CompactionRequest {
                    revision: *revision,
                    physical: *physical,
                };
                said(self.kv.compact(request).await.map(unwrap), |answer| {
                    &mut answer.header
                })
            }
            Op::Grant { .. } | Op::Revoke { .. } | Op::KeepAlive { .. } => {
                self.change_lease(op).await
            }
            Op::TimeToLive { .. } | Op::Leases => self.look_at_leases(op).await,
            Op::Watch { .. } | Op::CancelWatch { .. } | Op::Progress { .. } => {
                unreachable!("watches have several answers")
            }
        }
    }

    async fn look_at_leases(&mut self, op: &Op) -> Answer {
        let own = self.own_leases.clone();
        let lease = |name: i64| real_lease(&own, name);
        match op {
            Op::TimeToLive { lease: name, keys } => {
                let request = pb::LeaseTimeToLiveRequest {
                    id: lease(*name),
                    keys: *keys,
                };
                let mut answer = self.lease.lease_time_to_live(request).await.map(unwrap);
                if let Ok(answer) = &mut answer {
                    answer.id = *name;
                    // Time passes between the two servers; etcd lists keys in no order.
                    if (answer.granted_ttl - 5..=answer.granted_ttl).contains(&answer.ttl) {
                        answer.ttl = answer.granted_ttl;
                    }
                    answer.keys.sort();
                }
                said(answer, |answer| &mut answer.header)
            }
            Op::Leases => {
                let request = pb::LeaseLeasesRequest {};
                let mut answer = self.lease.lease_leases(request).await.map(unwrap);
                if let Ok(answer) = &mut answer {
                    for lease in &mut answer.leases {
                        lease.id = self.lease_name(lease.id);
                    }
                    // etcd lists them by expiry, to the nanosecond.
                    answer.leases.sort_by_key(|lease| lease.id);
                }
                said(answer, |answer| &mut answer.header)
            }
            _ => unreachable!("not a question about leases"),
        }
    }

    async fn change_lease(&mut self, op: &Op) -> Answer {
        match op {
            Op::Grant { ttl_s, lease } => {
                let request = pb::LeaseGrantRequest {
                    ttl: *ttl_s,
                    id: *lease,
                };
                let mut answer = self.lease.lease_grant(request).await.map(unwrap);
                if let Ok(answer) = &mut answer
                    && *lease == 0
                {
                    self.own_leases.push(answer.id);
                    answer.id = self.lease_name(answer.id);
                }
                said(answer, |answer| &mut answer.header)
            }
            Op::Revoke { lease } => {
                let request = pb::LeaseRevokeRequest {
                    id: real_lease(&self.own_leases, *lease),
                };
                said(
                    self.lease.lease_revoke(request).await.map(unwrap),
                    |answer| &mut answer.header,
                )
            }
            Op::KeepAlive { lease } => {
                let request = pb::LeaseKeepAliveRequest {
                    id: real_lease(&self.own_leases, *lease),
                };
                let answer =
                    self.keep_alive(request)
                        .await
                        .map(|answer| pb::LeaseKeepAliveResponse {
                            id: *lease,
                            ..answer
                        });
                said(answer, |answer| &mut answer.header)
            }
            _ => unreachable!("not a change of a lease"),
        }
    }

    async fn keep_alive(
        &mut self,
        request: pb::LeaseKeepAliveRequest,
    ) -> Result<pb::LeaseKeepAliveResponse, Status> {
        let requests = tokio_stream::once(request);
        let mut answers = self.lease.lease_keep_alive(requests).await?.into_inner();
        answers
            .message()
            .await?
            .ok_or_else(|| Status::unknown("ended without an answer"))
    }

    /// The stream's messages as the one answer that they stand for.
    async fn range_stream(
        &mut self,
        request: pb::RangeRequest,
    ) -> Result<pb::RangeResponse, Status> {
        let mut messages = self.kv.range_stream(request).await?.into_inner();
        let mut whole = pb::RangeResponse::default();
        while let Some(message) = messages.message().await? {
            let part = message.range_response.unwrap_or_default();
            assert!(whole.header.is_none(), "only the last message has a header");
            let mut kvs = std::mem::take(&mut whole.kvs);
            kvs.extend(part.kvs);
            whole = pb::RangeResponse { kvs, ..part };
        }
        Ok(whole)
    }

    fn lease_name(&self, id: i64) -> i64 {
        match self.own_leases.iter().position(|own| *own == id) {
            Some(at) => OWN_LEASES + i64::try_from(at).expect("few leases"),
            None => id,
        }
    }

    fn rename<'a>(&self, kvs: impl IntoIterator<Item = &'a mut KeyValue>) {
        for kv in kvs {
            kv.lease = self.lease_name(kv.lease);
        }
    }

    fn rename_txn(&self, txn: &mut pb::TxnResponse) {
        for op in &mut txn.responses {
            match &mut op.response {
                Some(OpResponse::ResponseRange(range)) => self.rename(&mut range.kvs),
                Some(OpResponse::ResponsePut(put)) => self.rename(put.prev_kv.as_mut()),
                Some(OpResponse::ResponseDeleteRange(deleted)) => {
                    self.rename(&mut deleted.prev_kvs);
                }
                Some(OpResponse::ResponseTxn(nested)) => self.rename_txn(nested),
                None => {}
            }
        }
    }

    /// The events of one watch, and its end, as they can be compared.
    pub fn normal_events(
        &self,
        stream: usize,
        watch_id: i64,
        nth: usize,
        prev_kv: bool,
        unreadable: &BTreeSet<i64>,
    ) -> Vec<String> {
        let log = self.streams[stream].log.borrow();
        let mut seen = log.watches[&watch_id][nth].clone();
        for event in &mut seen.events {
            self.rename(event.kv.as_mut());
            self.rename(event.prev_kv.as_mut());
            let revision = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
            // etcd hands one event to all its watchers, so that those who did not ask may find
            // `prev_kv` too; and it reads it late, when it may be compacted already.
            if !prev_kv || unreadable.contains(&revision) {
                event.prev_kv = None;
            }
        }
        let events = seen.events.iter().map(|event| format!("{event:#?}"));
        events
            .chain(seen.compacted.iter().map(|end| format!("{end:?}")))
            .collect()
    }
}

fn real_lease(own: &[i64], name: i64) -> i64 {
    let at = usize::try_from(name - OWN_LEASES).ok();
    at.and_then(|at| own.get(at)).copied().unwrap_or(name)
}

fn unwrap<T>(response: tonic::Response<T>) -> T {
    response.into_inner()
}

/// An answer as text, without what differs between any two clusters.
fn said<T: Debug>(
    answer: Result<T, Status>,
    header: impl Fn(&mut T) -> &mut Option<pb::ResponseHeader>,
) -> Answer {
    match answer {
        Ok(mut response) => {
            let mut revision = 0;
            if let Some(header) = header(&mut response) {
                revision = header.revision;
                *header = pb::ResponseHeader {
                    revision,
                    ..pb::ResponseHeader::default()
                };
            }
            Answer {
                revision,
                text: format!("{response:#?}"),
            }
        }
        Err(status) => {
            let text = format!("{:?}: {}", status.code(), status.message());
            Answer { revision: 0, text }
        }
    }
}
