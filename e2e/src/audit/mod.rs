//! Load whose history is judged by a published checker: puts, compare-and-swap, deletions, reads and
//! watches by several clients over few keys, and at the end what every node tells of all revisions.
//!
//! The store must be fresh, and nobody else may write to it. The judge's work grows faster than the
//! history, so this load is slower than `workload`'s.

mod client;
mod judge;
mod record;
mod watcher;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch as signal;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

pub use self::judge::{Verdict, judge};
pub use self::record::{Answer, Event, Kind, NodeLog, Operation, Pair, Record, Response, Watch};

use self::client::{Ask, Sender};
use self::record::Recorder;
use self::watcher::At;
use crate::command::until;
use crate::error::Result;
use crate::limits::{
    AUDIT_CLIENTS, CHECK_TIMEOUT, FAILOVER_TIMEOUT, LOOKUP_INTERVAL, PUT_TIMEOUT, WATCH_SETTLE,
};
use crate::product::Product;
use crate::workload::{Gap, Load, Target};

/// What every key begins with.
pub(crate) const PREFIX: &str = "k/";
/// The end of that range.
pub(crate) const PREFIX_END: &str = "k0";

/// Where each node is now.
type Nodes = signal::Receiver<BTreeMap<String, Target>>;

/// Load that is being made.
pub struct Audit {
    service: Target,
    nodes: Nodes,
    recorder: Arc<Recorder>,
    stop_clients: signal::Sender<bool>,
    stop_watches: signal::Sender<bool>,
    clients: JoinSet<()>,
    watches: JoinSet<()>,
    lookup: JoinSet<()>,
    /// The watcher of each node, and that of the Service under an empty name.
    watchers: BTreeMap<String, u64>,
}

impl Audit {
    /// Load on a cluster of the product, through its Service and at each of its nodes.
    pub async fn start(product: &Product<'_>) -> Result<Self> {
        let (tell, nodes) = signal::channel(product.targets_of_pods().await?);
        let own = product.detached();
        let mut lookup = JoinSet::new();
        lookup.spawn(async move {
            let mut tick = interval(LOOKUP_INTERVAL);
            loop {
                tick.tick().await;
                // Without an answer the addresses stay as they were.
                if let Ok(found) = own.targets_of_pods().await {
                    tell.send_replace(found);
                }
            }
        });
        Self::start_at(product.target().await?, nodes, lookup).await
    }

    /// Load on servers that stay where they are, to test the judge by.
    pub async fn start_on(service: Target, servers: BTreeMap<String, Target>) -> Result<Self> {
        let (tell, nodes) = signal::channel(servers);
        let mut lookup = JoinSet::new();
        lookup.spawn(async move { tell.closed().await });
        Self::start_at(service, nodes, lookup).await
    }

    async fn start_at(service: Target, nodes: Nodes, lookup: JoinSet<()>) -> Result<Self> {
        // Two TLS providers may be linked in; the process must say which one it means.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let recorder = Arc::new(Recorder::new());
        // The model begins with an empty store, and wants to see that it is empty.
        read_everything(&service, &recorder).await?;
        let (stop_clients, enough) = signal::channel(false);
        let (stop_watches, end) = signal::channel(false);
        let mut watches = JoinSet::new();
        let mut numbers = BTreeMap::new();
        let mut clients = JoinSet::new();
        let names: Vec<String> = nodes.borrow().keys().cloned().collect();
        let at_service = (String::new(), At::Service(service.clone()));
        let at_nodes = names
            .iter()
            .map(|name| (name.clone(), At::Node(name.clone(), nodes.clone())));
        for (name, at) in at_nodes.chain([at_service]) {
            let client = recorder.client();
            numbers.insert(name, client);
            watches.spawn(watcher::run(at, client, recorder.clone(), end.clone()));
        }
        for _ in 0..AUDIT_CLIENTS {
            clients.spawn(client::mixed(
                service.clone(),
                recorder.clone(),
                enough.clone(),
            ));
        }
        for name in names {
            clients.spawn(client::pinned(
                name,
                nodes.clone(),
                recorder.clone(),
                enough.clone(),
            ));
        }
        Ok(Self {
            service,
            nodes,
            recorder,
            stop_clients,
            stop_watches,
            clients,
            watches,
            lookup,
            watchers: numbers,
        })
    }

    /// The same as [`Audit::finish`] when the cluster was made anew meanwhile: its clients end as they are,
    /// and the last questions go to the new one.
    pub async fn finish_at(mut self, product: &Product<'_>) -> Result<Record> {
        self.lookup.shutdown().await;
        self.service = product.target().await?;
        let (_, nodes) = signal::channel(product.targets_of_pods().await?);
        self.nodes = nodes;
        // The watches were at nodes that are gone.
        self.watchers.clear();
        Box::pin(self.finish()).await
    }

    /// Ends the load, reads everything, lets the watches arrive, and asks every node for all it has.
    pub async fn finish(mut self) -> Result<Record> {
        self.stop_clients.send_replace(true);
        while self.clients.join_next().await.is_some() {}
        let nodes = self.nodes.borrow().clone();
        // What was given up without an answer may still happen: until nothing does any more.
        let (last, logs) = loop {
            let last = read_everything(&self.service, &self.recorder).await?;
            let logs = logs(&nodes, last).await?;
            if read_everything(&self.service, &self.recorder).await? == last {
                break (last, logs);
            }
        };
        let arrive: Vec<u64> = self
            .watchers
            .iter()
            .filter(|(name, _)| name.is_empty() || nodes.contains_key(*name))
            .map(|(_, client)| *client)
            .collect();
        // Whatever has not arrived then is the judge's to tell.
        let _ = until("the watches to arrive", WATCH_SETTLE, async || match arrive
            .iter()
            .find(|client| self.recorder.seen(**client) < last)
        {
            None => Ok(()),
            Some(client) => Err(format!("client {client}")),
        })
        .await;
        self.stop_watches.send_replace(true);
        while self.watches.join_next().await.is_some() {}
        self.lookup.shutdown().await;
        let mut record = self.recorder.take();
        record.logs = logs;
        record.arrive = arrive;
        Ok(record)
    }

    /// Ends the load and has it judged: an error unless everything is right.
    pub async fn finish_clean(self, name: &str) -> Result<Verdict> {
        let verdict = judge(&Box::pin(self.finish()).await?, name).await?;
        eprintln!("       {verdict}");
        verdict.must_be_clean()?;
        Ok(verdict)
    }
}

impl Load for Audit {
    fn acknowledged(&self) -> usize {
        self.recorder.acknowledged()
    }

    fn last_acknowledged_us(&self) -> i64 {
        self.recorder.last_acknowledged_us()
    }

    fn longest_gap(&self, since_us: i64) -> Option<Gap> {
        self.recorder.longest_gap(since_us)
    }
}

/// What every node tells of all revisions up to `last`.
async fn logs(nodes: &BTreeMap<String, Target>, last: i64) -> Result<Vec<NodeLog>> {
    let mut logs = Vec::new();
    for (name, target) in nodes {
        let look = async || {
            let log = watcher::log_of(name, target, last).await;
            log.map_err(|error| error.to_string())
        };
        logs.push(until(&format!("the log of {name}"), CHECK_TIMEOUT, look).await?);
    }
    Ok(logs)
}

/// Reads everything, as soon as somebody answers, and returns the store's revision.
async fn read_everything(service: &Target, recorder: &Arc<Recorder>) -> Result<i64> {
    until("a linearizable answer", FAILOVER_TIMEOUT, async || {
        let client = service.quick_client().await;
        let mut client = client.map_err(|error| error.to_string())?;
        let mut sender = Sender::new(recorder.clone());
        let answer = sender
            .ask(&mut client, Ask::everything(), sleep(PUT_TIMEOUT))
            .await;
        let answer = answer.ok_or_else(|| "no answer".to_owned())?;
        Ok(answer.revision)
    })
    .await
}
