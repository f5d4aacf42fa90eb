//! The clients that make history: some through the Service, as applications do, and one for each node
//! that talks to nobody else and waits long, so that what a stopped node answers later is seen too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, GetOptions, GetResponse, ResponseHeader, Txn, TxnOp,
};
use rand::Rng;
use tokio::sync::{Semaphore, watch as signal};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use super::record::{Answer, Kind, Operation, Pair, Recorder};
use super::{Nodes, PREFIX, PREFIX_END};
use crate::limits::{
    AUDIT_KEYS, AUDIT_PAUSE, PINNED_INTERVAL, PINNED_OUTSTANDING, PINNED_TIMEOUT, PUT_TIMEOUT,
    RECONNECT_PAUSE,
};
use crate::workload::Target;

/// Of how many requests of a pinned client one is a write.
const PINNED_WRITE_EACH: u32 = 8;

/// A request that was not sent yet.
pub(super) struct Ask {
    kind: Kind,
    key: String,
    end: String,
    value: String,
    expected: i64,
    revision: i64,
}

impl Ask {
    fn of(kind: Kind, key: String) -> Self {
        Self {
            kind,
            key,
            end: String::new(),
            value: String::new(),
            expected: 0,
            revision: 0,
        }
    }

    /// Reads everything.
    pub(super) fn everything() -> Self {
        let mut ask = Self::of(Kind::Read, PREFIX.to_owned());
        PREFIX_END.clone_into(&mut ask.end);
        ask
    }

    async fn send(&self, client: &mut Client) -> Result<Answer, String> {
        let text = |error: etcd_client::Error| error.to_string();
        let (key, value) = (self.key.as_str(), self.value.as_str());
        let mut answer = Answer::default();
        answer.revision = match self.kind {
            Kind::Put => revision(client.put(key, value, None).await.map_err(text)?.header())?,
            Kind::Delete => {
                let found = client.delete(key, None).await.map_err(text)?;
                answer.deleted = found.deleted();
                revision(found.header())?
            }
            Kind::Swap => {
                let expected = Compare::mod_revision(key, CompareOp::Equal, self.expected);
                let put = TxnOp::put(key, value, None);
                let txn = Txn::new().when([expected]).and_then([put]);
                let found = client.txn(txn).await.map_err(text)?;
                answer.succeeded = found.succeeded();
                revision(found.header())?
            }
            Kind::Read => {
                let mut options = GetOptions::new().with_revision(self.revision);
                if !self.end.is_empty() {
                    options = options.with_range(self.end.as_str());
                }
                let found = client.get(key, Some(options)).await.map_err(text)?;
                answer.pairs = pairs(&found);
                answer.count = found.count();
                revision(found.header())?
            }
        };
        Ok(answer)
    }
}

fn revision(header: Option<&ResponseHeader>) -> Result<i64, String> {
    let revision = header.map(ResponseHeader::revision);
    revision
        .filter(|revision| *revision > 0)
        .ok_or_else(|| "an answer without revision".to_owned())
}

fn pairs(found: &GetResponse) -> Vec<Pair> {
    found.kvs().iter().map(Pair::from).collect()
}

/// One sender of requests, one after another.
pub(super) struct Sender {
    recorder: Arc<Recorder>,
    client: u64,
    free_at: i64,
}

impl Sender {
    pub(super) fn new(recorder: Arc<Recorder>) -> Self {
        let client = recorder.client();
        Self {
            recorder,
            client,
            free_at: 0,
        }
    }

    /// Sends one request, waits for its answer until `end`, and records what became of it.
    pub(super) async fn ask(
        &mut self,
        client: &mut Client,
        ask: Ask,
        end: impl Future<Output = ()>,
    ) -> Option<Answer> {
        let call = self.recorder.now().max(self.free_at + 1);
        let outcome = tokio::select! {
            outcome = ask.send(client) => outcome,
            () = end => Err("no answer in time".to_owned()),
        };
        let returned = self.recorder.now().max(call + 1);
        self.free_at = returned;
        let (answer, doubt) = match outcome {
            Ok(answer) => (Some(answer), String::new()),
            Err(doubt) => (None, doubt),
        };
        self.recorder.operation(Operation {
            client: self.client,
            call,
            returned,
            kind: ask.kind,
            key: ask.key,
            end: ask.end,
            value: ask.value,
            expected: ask.expected,
            revision: ask.revision,
            answer: answer.clone(),
            doubt,
        });
        answer
    }
}

/// Sends all kinds of requests through the Service until it is told to stop.
pub(super) async fn mixed(target: Target, recorder: Arc<Recorder>, stop: signal::Receiver<bool>) {
    let mut sender = Sender::new(recorder.clone());
    let mut known: BTreeMap<String, i64> = BTreeMap::new();
    let mut kept: Option<Client> = None;
    while !*stop.borrow() {
        if kept.is_none() {
            // Without a connection nothing was sent, so there is nothing to record.
            kept = target.quick_client().await.ok();
        }
        let ask = choose(&recorder, &known);
        let (kind, key) = (ask.kind, ask.key.clone());
        let answer = match &mut kept {
            Some(client) => sender.ask(client, ask, sleep(PUT_TIMEOUT)).await,
            None => None,
        };
        let Some(answer) = answer else {
            kept = None;
            sleep(RECONNECT_PAUSE).await;
            continue;
        };
        match kind {
            Kind::Read => known.extend(answer.pairs.into_iter().map(|p| (p.key, p.revision))),
            Kind::Delete => known.retain(|other, _| *other != key),
            Kind::Swap if !answer.succeeded => {}
            Kind::Put | Kind::Swap => drop(known.insert(key, answer.revision)),
        }
        sleep(AUDIT_PAUSE).await;
    }
}

fn choose(recorder: &Recorder, known: &BTreeMap<String, i64>) -> Ask {
    let mut random = rand::rng();
    let key = format!("{PREFIX}{}", random.random_range(0..AUDIT_KEYS));
    match random.random_range(0..100) {
        0..40 => written(Kind::Put, key, recorder),
        40..65 => {
            let expected = known.get(&key).copied().unwrap_or(0);
            Ask {
                expected,
                ..written(Kind::Swap, key, recorder)
            }
        }
        65..73 => Ask::of(Kind::Delete, key),
        73..88 => Ask::of(Kind::Read, key),
        88..96 => Ask::everything(),
        // An older revision: what was there once must not change.
        _ => Ask {
            revision: random.random_range(2..=recorder.newest().max(2)),
            ..Ask::everything()
        },
    }
}

fn written(kind: Kind, key: String, recorder: &Recorder) -> Ask {
    Ask {
        value: recorder.value(),
        ..Ask::of(kind, key)
    }
}

/// Talks to one node only, without waiting for one answer before it asks again.
pub(super) async fn pinned(
    node: String,
    mut nodes: Nodes,
    recorder: Arc<Recorder>,
    mut stop: signal::Receiver<bool>,
) {
    let mut tick = interval(PINNED_INTERVAL);
    let free = Arc::new(Semaphore::new(PINNED_OUTSTANDING));
    let mut under_way = JoinSet::new();
    let mut kept: Option<(Target, Client)> = None;
    let mut number = 0_u32;
    loop {
        tokio::select! {
            _ = stop.changed() => break,
            _ = tick.tick() => {}
        }
        while under_way.try_join_next().is_some() {}
        let Some(target) = nodes.borrow_and_update().get(&node).cloned() else {
            continue;
        };
        if kept.as_ref().is_none_or(|(of, _)| *of != target) {
            let options = ConnectOptions::new().with_timeout(PINNED_TIMEOUT);
            kept = match target.client(options).await {
                Ok(client) => Some((target, client)),
                Err(_) => continue,
            };
        }
        let (Some((_, client)), Ok(permit)) = (&kept, free.clone().try_acquire_owned()) else {
            continue;
        };
        number += 1;
        let key = format!("{PREFIX}{}", rand::rng().random_range(0..AUDIT_KEYS));
        let ask = if number.is_multiple_of(PINNED_WRITE_EACH) {
            written(Kind::Put, key, &recorder)
        } else {
            Ask::of(Kind::Read, key)
        };
        let (mut client, mut sender) = (client.clone(), Sender::new(recorder.clone()));
        let limit = stopped_or(PINNED_TIMEOUT, stop.clone());
        under_way.spawn(async move {
            sender.ask(&mut client, ask, limit).await;
            drop(permit);
        });
    }
    while under_way.join_next().await.is_some() {}
}

/// Ends after `limit`, or soon after the load is told to stop.
async fn stopped_or(limit: Duration, mut stop: signal::Receiver<bool>) {
    tokio::select! {
        () = sleep(limit) => {}
        _ = stop.changed() => sleep(PUT_TIMEOUT).await,
    }
}
