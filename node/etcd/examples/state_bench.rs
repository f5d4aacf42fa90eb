//! How fast the state machine applies: 100,000 puts in groups of 32, on both engines.
//!
//! `cargo run --release -p standby-etcd --example state_bench [-- memory|fjall]`
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use standby_core::{Entry, Epoch, Index, Position};
use standby_etcd::command;
use standby_etcd::pb::etcdserverpb::{PutRequest, RangeRequest};
use standby_etcd::state::{EtcdState, EventSink, REWRITTEN_FROM};
use standby_etcd::watch::RevisionEvents;
use standby_interface::StateMachine;
use standby_store::engine::{Engine, FjallEngine, FjallOptions, MemoryEngine};

const PUTS: u64 = 100_000;
const GROUP: usize = 32;
const READS: u64 = 100_000;
const VALUE_BYTES: usize = 256;

/// Somebody who is told, as in the product, so that previous values are looked up.
struct Listener;

impl EventSink for Listener {
    fn applied(&self, revisions: &[RevisionEvents]) {
        std::hint::black_box(revisions);
    }

    fn jumped(&self, _: i64) {}

    fn listens(&self) -> bool {
        true
    }

    fn skipped(&self, _: i64) {}

    fn restored(&self, _: i64) {}
}

fn entries(keys: u64) -> Vec<Entry> {
    let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
    (1..=PUTS)
        .map(|n| {
            let key = Bytes::copy_from_slice(&(n.wrapping_mul(7_919) % keys).to_be_bytes());
            let put = PutRequest {
                key,
                value: value.clone(),
                ..PutRequest::default()
            };
            Entry::data(
                Position::new(Epoch(1), Index(n)),
                command::encode(put.into()),
            )
        })
        .collect()
}

fn measure(name: &str, keys: u64, engine: Arc<dyn Engine>) {
    let mut state = EtcdState::open(engine).expect("the engine is new");
    state.set_event_sink(Arc::new(Listener));
    let entries = entries(keys);
    let start = Instant::now();
    for group in entries.chunks(GROUP) {
        state.apply(group).expect("puts apply");
    }
    let per_put = start.elapsed() / u32::try_from(PUTS).expect("it fits");
    let view = state.view();
    let start = Instant::now();
    for n in 0..READS {
        let key = Bytes::copy_from_slice(&(n.wrapping_mul(104_729) % keys).to_be_bytes());
        let request = RangeRequest {
            key,
            ..RangeRequest::default()
        };
        std::hint::black_box(view.range(&request).expect("it reads"));
    }
    let per_get = start.elapsed() / u32::try_from(READS).expect("it fits");
    println!("{name:>8} {keys:>7} keys: {per_put:?} a put, {per_get:?} a get");
}

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_else(|| "all".to_owned());
    for keys in [1, 1_000, 100_000] {
        if wanted != "fjall" {
            measure("memory", keys, Arc::new(MemoryEngine::default()));
        }
        if wanted != "memory" {
            let dir = tempfile::tempdir().expect("a directory for the engine");
            let options = FjallOptions::with_apart(REWRITTEN_FROM);
            let engine = FjallEngine::open(dir.path(), &options).expect("a new engine");
            measure("fjall", keys, Arc::new(engine));
        }
    }
}
