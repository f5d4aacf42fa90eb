//! What the clients of one run saw, in the form that the judge (`e2e/go/judge`) reads. It holds facts
//! only; what they mean is the judge's business.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::workload::{Gap, now_us};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Write a key.
    Put,
    /// Delete a key.
    Delete,
    /// Write a key if its last change is the expected one.
    Swap,
    /// Read a key or a range, linearizable.
    Read,
}

/// One request and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Who sent it; one client sends one after another.
    pub client: u64,
    /// When it was sent, in nanoseconds of the run's clock.
    pub call: i64,
    /// When the answer, or the end of the wait for it, came.
    #[serde(rename = "return")]
    pub returned: i64,
    /// What it asks for.
    pub kind: Kind,
    /// The key.
    pub key: String,
    /// The end of the range of a read; empty for one key.
    pub end: String,
    /// The value, unique among all writes of the run.
    pub value: String,
    /// The revision that a swap asks for; 0 asks for no key.
    pub expected: i64,
    /// The revision that a read asks for; 0 is the newest.
    pub revision: i64,
    /// The answer; without one the request may have happened.
    pub answer: Option<Answer>,
    /// Why there is no answer.
    pub doubt: String,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The store's revision in it.
    pub revision: i64,
    /// What a read found.
    pub pairs: Vec<Pair>,
    /// How many keys a read found.
    pub count: i64,
    /// How many keys were deleted.
    pub deleted: i64,
    /// Whether a swap found what it expected.
    pub succeeded: bool,
}

/// A key as it is, or was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// The revision of its last change.
    pub revision: i64,
    /// How often it was changed since it was made.
    pub version: i64,
}

impl From<&etcd_client::KeyValue> for Pair {
    fn from(pair: &etcd_client::KeyValue) -> Self {
        Self {
            key: String::from_utf8_lossy(pair.key()).into_owned(),
            value: String::from_utf8_lossy(pair.value()).into_owned(),
            revision: pair.mod_revision(),
            version: pair.version(),
        }
    }
}

/// One stream of a watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Who watches.
    pub client: u64,
    /// What every key begins with.
    pub key: String,
    /// The first revision asked for.
    pub revision: i64,
    /// What came.
    pub responses: Vec<Response>,
}

/// One message of a watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The store's revision in it.
    pub revision: i64,
    /// Whether it only says how far the watch has come.
    pub progress: bool,
    /// Its events.
    pub events: Vec<Event>,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The key.
    pub key: String,
    /// The new value.
    pub value: String,
    /// Whether the key was deleted.
    pub deleted: bool,
    /// The revision of the change.
    pub revision: i64,
    /// Whether the key was not there before.
    pub created: bool,
    /// What it was before, if the watch said so.
    pub previous: Option<Pair>,
}

impl Event {
    /// An event of a watch; nothing for one without a key, which no server sends.
    pub fn of(event: &etcd_client::Event) -> Option<Self> {
        let pair = event.kv()?;
        let deleted = event.event_type() == etcd_client::EventType::Delete;
        Some(Self {
            key: String::from_utf8_lossy(pair.key()).into_owned(),
            value: String::from_utf8_lossy(pair.value()).into_owned(),
            deleted,
            revision: pair.mod_revision(),
            created: !deleted && pair.create_revision() == pair.mod_revision(),
            previous: event.prev_kv().map(Pair::from),
        })
    }
}

/// Every event that one node tells of when it is asked at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLog {
    /// The node.
    pub node: String,
    /// From the first revision on.
    pub events: Vec<Event>,
}

/// Everything that the clients of one run saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// All requests.
    pub operations: Vec<Operation>,
    /// All streams of watches.
    pub watches: Vec<Watch>,
    /// What the nodes tell at the end.
    pub logs: Vec<NodeLog>,
    /// The clients whose watch must get to the end.
    pub arrive: Vec<u64>,
}

#[derive(Default)]
struct Grown {
    record: Record,
    /// When writes were acknowledged, in microseconds since 1970.
    acknowledged_us: Vec<i64>,
    /// How far each watcher has come.
    seen: BTreeMap<u64, i64>,
}

/// A record while it grows.
pub(super) struct Recorder {
    begun: Instant,
    clients: AtomicU64,
    values: AtomicU64,
    newest: AtomicI64,
    grown: Mutex<Grown>,
}

impl Recorder {
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            clients: AtomicU64::new(0),
            values: AtomicU64::new(0),
            newest: AtomicI64::new(1),
            grown: Mutex::default(),
        }
    }

    /// Now, by the run's clock, which never goes back.
    pub(super) fn now(&self) -> i64 {
        i64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(i64::MAX)
    }

    /// A client that nobody was before.
    pub(super) fn client(&self) -> u64 {
        self.clients.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A value that nobody wrote before.
    pub(super) fn value(&self) -> String {
        format!("v{}", self.values.fetch_add(1, Ordering::Relaxed))
    }

    /// The highest revision that any answer had.
    pub(super) fn newest(&self) -> i64 {
        self.newest.load(Ordering::Relaxed)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Grown) -> T) -> T {
        change(
            &mut self
                .grown
                .lock()
                .expect("nobody panics while holding the record"),
        )
    }

    pub(super) fn operation(&self, operation: Operation) {
        if let Some(answer) = &operation.answer {
            self.newest.fetch_max(answer.revision, Ordering::Relaxed);
        }
        let acknowledged = operation.kind != Kind::Read && operation.answer.is_some();
        self.change(|grown| {
            if acknowledged {
                grown.acknowledged_us.push(now_us());
            }
            grown.record.operations.push(operation);
        });
    }

    /// Adds a message to the newest stream of a watcher.
    pub(super) fn response(&self, client: u64, response: Response) {
        self.change(|grown| {
            if let Some(last) = response.events.last() {
                grown.seen.insert(client, last.revision);
            }
            let watches = grown.record.watches.iter_mut().rev();
            if let Some(watch) = watches.into_iter().find(|watch| watch.client == client) {
                watch.responses.push(response);
            }
        });
    }

    pub(super) fn watch(&self, watch: Watch) {
        self.change(|grown| grown.record.watches.push(watch));
    }

    pub(super) fn seen(&self, client: u64) -> i64 {
        self.change(|grown| grown.seen.get(&client).copied().unwrap_or(1))
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.change(|grown| grown.acknowledged_us.len())
    }

    pub(super) fn last_acknowledged_us(&self) -> i64 {
        self.change(|grown| grown.acknowledged_us.last().copied().unwrap_or(0))
    }

    pub(super) fn longest_gap(&self, since_us: i64) -> Option<Gap> {
        self.change(|grown| Gap::longest(&grown.acknowledged_us, since_us))
    }

    pub(super) fn take(&self) -> Record {
        self.change(|grown| std::mem::take(&mut grown.record))
    }
}
