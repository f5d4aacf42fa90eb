//! Measures the commit log against the least that any log must do: a write and an `fdatasync` of the
//! same bytes on a zero-filled file. Both take turns in short slices of one run, so that other load
//! on the machine meets both alike.
//!
//! ```text
//! log_bench [--dir DIR] [--seconds N] [--rounds N] [--json FILE]
//! ```
//!
//! Prints one JSON document: per batch size the median of the rounds, and the ratio.

#![allow(clippy::print_stdout, reason = "a program that prints its result")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use standby_core::{Entry, Epoch, Index, Position};
use standby_store::limits::SEGMENT_BYTES;
use standby_store::log::{FRAMES_START, Log, LogOptions, LogWriter, frame_bytes};

type Failure = Box<dyn std::error::Error>;

const BATCHES: [u64; 3] = [1, 32, 256];
const PAYLOAD_BYTES: usize = 1024;
const SLICE_MS: u64 = 250;
const KEEP_ENTRIES: u64 = 100_000;

struct Arguments {
    dir: PathBuf,
    seconds: u64,
    rounds: usize,
    json: Option<PathBuf>,
}

fn arguments() -> Result<Arguments, Failure> {
    let mut parsed = Arguments {
        dir: std::env::current_dir()?,
        seconds: 4,
        rounds: 3,
        json: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(flag) = words.next() {
        let value = words
            .next()
            .ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--dir" => parsed.dir = value.into(),
            "--seconds" => parsed.seconds = value.parse().map_err(|_| "--seconds: not a number")?,
            "--rounds" => parsed.rounds = value.parse().map_err(|_| "--rounds: not a number")?,
            "--json" => parsed.json = Some(value.into()),
            _ => return Err(format!("unknown flag {flag}").into()),
        }
    }
    Ok(parsed)
}

/// What one side did, in time.
#[derive(Default)]
struct Tally {
    micros: Vec<u64>,
}

impl Tally {
    /// Repeats `act` for a slice of time.
    fn slice(&mut self, mut act: impl FnMut() -> Result<(), Failure>) -> Result<(), Failure> {
        let until = Instant::now() + Duration::from_millis(SLICE_MS);
        while Instant::now() < until {
            let begun = Instant::now();
            act()?;
            self.micros
                .push(u64::try_from(begun.elapsed().as_micros())?);
        }
        Ok(())
    }

    fn per_second(&self) -> u64 {
        let total: u64 = self.micros.iter().sum();
        self.micros.len() as u64 * 1_000_000 / total.max(1)
    }

    fn quantile(&mut self, percent: usize) -> u64 {
        self.micros.sort_unstable();
        let at = (self.micros.len() * percent / 100).min(self.micros.len().saturating_sub(1));
        self.micros.get(at).copied().unwrap_or(0)
    }
}

/// The bare file: as large as a segment, zeros written, used round and round.
struct Bare {
    file: File,
    at: u64,
    bytes: Vec<u8>,
}

impl Bare {
    fn create(path: &Path, batch: u64) -> Result<Self, Failure> {
        let file = File::options().write(true).create_new(true).open(path)?;
        let zeros = vec![0; 1024 * 1024];
        for at in (0..SEGMENT_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()?;
        let bytes = vec![7; frame_bytes(PAYLOAD_BYTES) * usize::try_from(batch)?];
        Ok(Self {
            file,
            at: u64::from(FRAMES_START),
            bytes,
        })
    }

    fn append(&mut self) -> Result<(), Failure> {
        if self.at + self.bytes.len() as u64 > SEGMENT_BYTES {
            self.at = u64::from(FRAMES_START);
        }
        self.file.write_all_at(&self.bytes, self.at)?;
        self.file.sync_data()?;
        self.at += self.bytes.len() as u64;
        Ok(())
    }
}

fn append(log: &mut LogWriter, batch: u64, payload: &Bytes) -> Result<(), Failure> {
    let last = log.last().index.0;
    let position = |index| Position::new(Epoch(1), Index(index));
    let entries: Vec<_> = (last + 1..=last + batch)
        .map(|index| Entry::data(position(index), payload.clone()))
        .collect();
    log.append(&entries)?;
    log.sync()?;
    log.release_below(Index(last.saturating_sub(KEEP_ENTRIES)))?;
    Ok(())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Side {
    syncs_per_second: u64,
    p50_us: u64,
    p99_us: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    name: String,
    /// Rounds of which this is the median.
    runs: usize,
    /// Append and sync of one batch with our log.
    p50_ms: f64,
    p99_ms: f64,
    entries_per_sync: u64,
    log: Side,
    bare: Side,
    /// Our syncs per second over those of the bare file.
    ratio: f64,
}

fn side(tally: &mut Tally) -> Side {
    Side {
        syncs_per_second: tally.per_second(),
        p50_us: tally.quantile(50),
        p99_us: tally.quantile(99),
    }
}

#[allow(clippy::cast_precision_loss, reason = "rates are far below 2^52")]
fn measure(dir: &Path, batch: u64, seconds: u64) -> Result<Case, Failure> {
    let work = dir.join(format!("log-bench-{}", std::process::id()));
    fs::create_dir_all(&work)?;
    let (mut log, ..) = Log::open(&work.join("log"), LogOptions::default())?;
    let mut bare = Bare::create(&work.join("bare"), batch)?;
    let payload = Bytes::from(vec![7; PAYLOAD_BYTES]);
    // Once through several segments, so that files are recycled as they are in long use.
    let warm_entries = 4 * SEGMENT_BYTES / frame_bytes(PAYLOAD_BYTES) as u64;
    while log.last().index.0 < warm_entries {
        append(&mut log, 256, &payload)?;
    }
    let (mut ours, mut least) = (Tally::default(), Tally::default());
    for _ in 0..seconds * 1000 / SLICE_MS / 2 {
        ours.slice(|| append(&mut log, batch, &payload))?;
        least.slice(|| bare.append())?;
    }
    drop(log);
    fs::remove_dir_all(&work)?;
    let (log, bare) = (side(&mut ours), side(&mut least));
    Ok(Case {
        name: format!("log-{batch}"),
        runs: 1,
        p50_ms: log.p50_us as f64 / 1000.0,
        p99_ms: log.p99_us as f64 / 1000.0,
        entries_per_sync: batch,
        ratio: log.syncs_per_second as f64 / bare.syncs_per_second as f64,
        log,
        bare,
    })
}

fn main() -> Result<(), Failure> {
    let arguments = arguments()?;
    let mut cases = Vec::new();
    for batch in BATCHES {
        let mut rounds = Vec::new();
        for _ in 0..arguments.rounds.max(1) {
            rounds.push(measure(&arguments.dir, batch, arguments.seconds)?);
        }
        rounds.sort_by(|a, b| a.ratio.total_cmp(&b.ratio));
        let runs = rounds.len();
        cases.push(Case {
            runs,
            ..rounds.swap_remove(runs / 2)
        });
    }
    let text = serde_json::to_string_pretty(&serde_json::json!({
        "cases": cases,
        "ratios": cases.iter().map(|it| (it.name.clone(), it.ratio)).collect::<BTreeMap<_, _>>(),
    }))?;
    println!("{text}");
    if let Some(path) = arguments.json {
        fs::write(path, text)?;
    }
    Ok(())
}
