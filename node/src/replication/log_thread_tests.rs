//! The log thread by itself, on a volume of its own.

use super::*;
use std::io;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use standby_core::{ClusterId, Epoch, NodeId, View};
use standby_store::disk::{DirectoryDisk, Disk, DiskFile};
use standby_store::log::{Log, LogOptions};

struct Bench {
    thread: LogThread,
    told: Jobs<Command>,
    dir: tempfile::TempDir,
    full: Arc<AtomicBool>,
}

/// A directory in which no file can be made while it is full.
struct SmallDisk {
    inner: DirectoryDisk,
    full: Arc<AtomicBool>,
}

impl Disk for SmallDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        if self.full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.inner.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.inner.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.inner.sync_names()
    }
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let volume = Volume::open(dir.path(), "a").expect("a new volume opens");
    let options = LogOptions {
        segment_bytes: 16 << 10,
        prepare_ahead: false,
        ..LogOptions::default()
    };
    let full = Arc::new(AtomicBool::new(false));
    let disk = SmallDisk {
        inner: DirectoryDisk::open(&volume.log_dir()).expect("a new directory opens"),
        full: Arc::clone(&full),
    };
    let (log, _, _) = Log::open_on(Arc::new(disk), options).expect("a new log opens");
    let (driver, told) = crate::replication::jobs().expect("a queue");
    let (_, jobs) = crate::replication::jobs().expect("a queue");
    let thread = LogThread {
        log,
        volume,
        stored: None,
        jobs,
        driver,
        shared: Arc::new(Shared::new(Index(0))),
    };
    Bench {
        thread,
        told,
        dir,
        full,
    }
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
        mut told,
        dir,
        ..
    } = bench();
    thread.one(LogJob::StoreView(stored(1)));
    // The driver still knew epoch 1 when the addresses came; epoch 2 was on its way to the disk.
    thread.one(LogJob::StoreView(stored(2)));
    thread.one(LogJob::StoreAddresses {
        peers: Vec::new(),
        client_url: "http://after".into(),
    });
    let news = std::iter::from_fn(|| told.take()).count();
    assert_eq!(news, 2, "addresses are no news to the core");
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

fn entry(index: u64, bytes: usize) -> Vec<Entry> {
    let position = Position::new(Epoch(1), Index(index));
    vec![Entry::data(position, Bytes::from(vec![7; bytes]))]
}

fn durable(told: &mut Jobs<Command>) -> Index {
    let limit = Duration::from_mins(1);
    match told.next_within(limit).expect("the thread runs") {
        Some(Command::Input(Input::Durable(position))) => position.index,
        _ => panic!("something else was told"),
    }
}

#[test]
fn entries_without_room_wait_for_it_and_the_node_says_so() {
    let Bench {
        mut thread,
        mut told,
        full,
        dir,
    } = bench();
    let shared = Arc::clone(&thread.shared);
    full.store(true, Ordering::Relaxed);
    let working = std::thread::spawn(move || {
        thread.append(entry(1, 5_000));
        thread.append(entry(2, 5_000));
        thread
    });
    assert_eq!(durable(&mut told), Index(1));
    // The operator is to know. What was appended before is told once more when the waiting begins.
    let news = told.next_within(Duration::from_mins(1));
    let news = news.expect("the thread runs");
    assert!(matches!(news, Some(Command::Told(Told::News))));
    assert_eq!(durable(&mut told), Index(1));
    assert!(shared.log_waits_for_room.load(Ordering::Relaxed));
    assert!(shared.disk_full.load(Ordering::Relaxed));
    full.store(false, Ordering::Relaxed);
    assert_eq!(durable(&mut told), Index(2));
    drop(working.join().expect("it goes on"));
    assert!(!shared.log_waits_for_room.load(Ordering::Relaxed));
    drop(dir);
}

#[test]
fn a_damaged_log_is_left_as_it_is_found() {
    let Bench {
        mut thread, dir, ..
    } = bench();
    thread.append(entry(1, 100));
    thread.append(entry(2, 100));
    thread.mark();
    drop(thread.log);
    let log_dir = thread.volume.log_dir();
    let segment = std::fs::read_dir(&log_dir)
        .expect("it is there")
        .map(|file| file.expect("it can be listed").path())
        .find(|path| path.extension().is_some_and(|kind| kind == "segment"))
        .expect("there is a segment");
    let mut bytes = std::fs::read(&segment).expect("it can be read");
    let first = usize::try_from(standby_store::log::FRAMES_START).expect("a small number");
    bytes[first + 60] ^= 1;
    std::fs::write(&segment, bytes).expect("it can be written");
    let (log, _, found) = Log::open(&log_dir, LogOptions::default()).expect("it opens");
    assert!(found.damaged.is_some());
    thread.log = log;
    thread.mark();
    thread.release(Index(1), Index(1), 0);
    drop(dir);
}
