//! The log thread by itself, on a volume of its own.

use super::*;
use crossbeam_channel::unbounded;
use standby_core::{ClusterId, Epoch, NodeId, View};
use standby_store::log::{Log, LogOptions};

struct Bench {
    thread: LogThread<()>,
    told: Receiver<Command<()>>,
    dir: tempfile::TempDir,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let volume = Volume::open(dir.path(), "a").expect("a new volume opens");
    let options = LogOptions {
        segment_bytes: 64 << 10,
        ..LogOptions::default()
    };
    let (log, _, _) = Log::open(&volume.log_dir(), options).expect("a new log opens");
    let (driver, told) = unbounded();
    let (_, jobs) = unbounded();
    let thread = LogThread {
        log,
        volume,
        stored: None,
        jobs,
        driver,
        shared: Arc::new(Shared::new(Index(0))),
    };
    Bench { thread, told, dir }
}

fn view(epoch: u64) -> View {
    View {
        epoch: Epoch(epoch),
        ..View::first(ClusterId("c".into()), NodeId::new("a", "1"))
    }
}

fn stored(epoch: u64) -> StoredView {
    StoredView {
        view: view(epoch),
        peers: Vec::new(),
        client_url: "http://before".into(),
    }
}

#[test]
fn new_addresses_never_bring_back_an_earlier_view() {
    let Bench {
        mut thread,
        told,
        dir,
    } = bench();
    thread.one(LogJob::StoreView(stored(1)));
    // The driver still knew epoch 1 when the addresses came; epoch 2 was on its way to the disk.
    thread.one(LogJob::StoreView(stored(2)));
    thread.one(LogJob::StoreAddresses {
        peers: Vec::new(),
        client_url: "http://after".into(),
    });
    assert_eq!(told.len(), 2, "addresses are no news to the core");
    drop(thread);
    let volume = Volume::open(dir.path(), "a").expect("it opens again");
    let found = volume
        .load_view()
        .expect("it is whole")
        .expect("it is there");
    assert_eq!(found.view.epoch, Epoch(2));
    assert_eq!(found.client_url, "http://after");
}

#[test]
#[should_panic(expected = "V2")]
fn an_earlier_view_is_never_stored() {
    let mut bench = bench();
    bench.thread.one(LogJob::StoreView(stored(2)));
    bench.thread.one(LogJob::StoreView(stored(1)));
}
