//! A process that writes log and engine is killed with SIGKILL again and again; nothing it has
//! reported as durable may be missing afterwards, and the engine holds a prefix of what was applied.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::io::{BufRead, BufReader, Write};
use std::ops::Bound;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use standby_core::{Entry, Epoch, Index, Position};
use standby_store::engine::{Batch, Engine, FjallEngine, FjallOptions};
use standby_store::log::{Log, LogOptions};
use standby_store::volume::Volume;

const ROUNDS: u64 = 10;
const DIR: &str = "STANDBY_TEST_KILL_DIR";
const APPLIED: &[u8] = b"applied";

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 256 * 1024,
        ..LogOptions::default()
    }
}

/// The entry of each index is known, so that its content can be checked without a record of it.
fn entry(epoch: u64, index: u64) -> Entry {
    let size = usize::try_from(index * 7919 % 3000).unwrap();
    let payload = Bytes::from(vec![u8::try_from(index % 251).unwrap(); size]);
    Entry::data(Position::new(Epoch(epoch), Index(index)), payload)
}

/// Small enough that the engine flushes all the time.
const MEMTABLE_BYTES: u64 = 16 << 10;

fn open_engine(volume: &Volume) -> FjallEngine {
    let options = FjallOptions {
        memtable_bytes: MEMTABLE_BYTES,
        apart_from: Some(APPLIED),
        ..FjallOptions::default()
    };
    FjallEngine::open(&volume.engine_dir(), &options).unwrap()
}

fn applied(engine: &FjallEngine) -> u64 {
    let value = engine.get(APPLIED).unwrap();
    value.map_or(0, |value| u64::from_be_bytes(value[..].try_into().unwrap()))
}

fn apply(engine: &FjallEngine, index: u64) {
    let mut batch = Batch::default();
    batch.put(index.to_be_bytes().to_vec(), index.to_string().into_bytes());
    batch.put(APPLIED, index.to_be_bytes().to_vec());
    engine.write(batch).unwrap();
}

/// Writes for ever, and reports on its standard output what is durable.
fn write_until_killed(dir: &Path) -> ! {
    let volume = Volume::open(dir, "writer").unwrap();
    let (mut log, reader, recovered) = Log::open(&volume.log_dir(), options()).unwrap();
    let engine = open_engine(&volume);
    assert_eq!(recovered.damaged, None);
    let epoch = recovered.last.epoch.0 + 1;
    let mut index = recovered.last.index.0;
    let mut out = std::io::stdout();
    loop {
        let count = index * 31 % 17 + 1;
        let batch: Vec<_> = (index + 1..=index + count)
            .map(|index| entry(epoch, index))
            .collect();
        log.append(&batch).unwrap();
        log.sync().unwrap();
        index += count;
        writeln!(out, "durable {index}").unwrap();
        let from = applied(&engine) + 1;
        let known = reader.read(Index(from), 100_000).unwrap();
        for entry in known {
            apply(&engine, entry.position.index.0);
        }
        if index % 13 == 0 {
            engine.persist().unwrap();
            log.release_below(Index(applied(&engine))).unwrap();
        }
        if index % 29 == 0 {
            // An unacknowledged tail that is cut again.
            log.append(&[entry(epoch, index + 1)]).unwrap();
            log.truncate_after(Index(index)).unwrap();
        }
    }
}

#[test]
fn writer_process() {
    if let Some(dir) = std::env::var_os(DIR) {
        write_until_killed(Path::new(&dir));
    }
}

fn start(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "writer_process",
            "--nocapture",
            "--test-threads",
            "1",
        ])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills the writer after so many reports; the last thing it reported as durable.
fn kill_after(mut child: Child, reports: u64) -> u64 {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut durable = 0;
    let mut seen = 0;
    // After the kill, what it had said before is still read.
    for line in lines.map_while(Result::ok) {
        let Some((_, number)) = line.split_once("durable ") else {
            continue;
        };
        // The kill may tear the last line.
        durable = number
            .parse()
            .ok()
            .filter(|number| *number >= durable)
            .unwrap_or(durable);
        seen += 1;
        if seen == reports {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(seen >= reports, "the writer ended by itself");
    durable
}

fn check(dir: &Path, durable: u64) {
    let volume = Volume::open(dir, "writer").unwrap();
    let (_, reader, recovered) = Log::open(&volume.log_dir(), options()).unwrap();
    assert_eq!(recovered.damaged, None);
    let last = recovered.last.index.0;
    assert!(last >= durable, "acknowledged {durable}, found {last}");
    let mut next = recovered.base.index.next();
    while next <= recovered.last.index {
        for found in reader.read(next, 100_000).unwrap() {
            assert_eq!(found, entry(found.position.epoch.0, next.0));
            next = next.next();
        }
    }
    let engine = open_engine(&volume);
    let applied = applied(&engine);
    assert!(
        applied >= recovered.base.index.0,
        "the log was released above what was persisted"
    );
    assert!(
        applied <= last,
        "applied {applied} but the log ends at {last}"
    );
    let pairs = engine.range(Bound::Unbounded, Bound::Excluded(APPLIED));
    let found: Vec<_> = pairs.map(|pair| pair.unwrap().0).collect();
    let expected: Vec<_> = (1..=applied)
        .map(|index| index.to_be_bytes().to_vec())
        .collect();
    assert!(
        found.iter().eq(&expected),
        "the engine holds no prefix: {} of {applied}",
        found.len()
    );
}

#[test]
fn what_was_reported_durable_survives_being_killed_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let mut durable = 0;
    for round in 0..ROUNDS {
        let killed = kill_after(start(dir.path()), 1 + round * 37 % 150);
        assert!(killed >= durable);
        durable = killed;
        check(dir.path(), durable);
    }
    assert!(durable > ROUNDS);
}
