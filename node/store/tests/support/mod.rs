//! A disk in memory that can do everything a real one is feared for: fail any access, tear a write,
//! and forget on a crash whatever was not synced, block by block. Shared by the tests of the log.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use standby_core::{Entry, Epoch, Index, Position};
use standby_store::disk::{Disk, DiskFile};
use standby_store::log::{Log, LogError, LogOptions, LogReader, LogWriter, Recovered};

pub const BLOCK: usize = 4096;
pub const SEGMENT: u64 = 16 * 1024;

/// A small generator, so that a crash is determined by a number.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

#[derive(Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
}

enum NameChange {
    Create(String, Arc<Mutex<Content>>),
    Rename(String, String),
    Remove(String),
}

type Names = BTreeMap<String, Arc<Mutex<Content>>>;

fn change(names: &mut Names, change: &NameChange) {
    match change {
        NameChange::Create(name, content) => {
            names.insert(name.clone(), Arc::clone(content));
        }
        NameChange::Rename(from, to) => {
            let content = names.remove(from).expect("renamed files exist");
            names.insert(to.clone(), content);
        }
        NameChange::Remove(name) => {
            names.remove(name);
        }
    }
}

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The access fails and does nothing.
    Fails(io::ErrorKind),
    /// A write does only its first bytes and fails.
    Torn(usize),
}

#[derive(Default)]
struct Inner {
    names: Names,
    durable_names: Names,
    pending: Vec<NameChange>,
    /// Accesses that change something, counted.
    accesses: u64,
    fault: Option<(u64, Fault)>,
    /// After a fault everything fails until the next crash or start.
    broken: bool,
    space: Option<u64>,
}

impl Inner {
    fn access(&mut self) -> Result<(), Fault> {
        let at = self.accesses;
        self.accesses += 1;
        if self.broken {
            return Err(Fault::Fails(io::ErrorKind::Other));
        }
        match self.fault {
            Some((when, fault)) if when == at => {
                self.broken = true;
                Err(fault)
            }
            _ => Ok(()),
        }
    }
}

#[derive(Clone, Default)]
pub struct FaultyDisk(Arc<Mutex<Inner>>);

struct FaultyFile {
    disk: FaultyDisk,
    content: Arc<Mutex<Content>>,
}

impl FaultyDisk {
    /// Lets the access with this number fail.
    pub fn fail_at(&self, access: u64, fault: Fault) {
        self.0.lock().fault = Some((access, fault));
    }

    /// Accesses so far.
    pub fn accesses(&self) -> u64 {
        self.0.lock().accesses
    }

    /// Files may take so many bytes together.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.0.lock().space = bytes;
    }

    /// Takes the power away: of what was not synced, each block and a prefix of the names stay or
    /// not, as the dice say.
    pub fn crash(&self, dice: &mut Dice) {
        let mut inner = self.0.lock();
        let keep = dice.roll(inner.pending.len() as u64 + 1);
        let mut names = std::mem::take(&mut inner.durable_names);
        for pending in inner.pending.drain(..).take(usize::try_from(keep).unwrap()) {
            change(&mut names, &pending);
        }
        for content in names.values() {
            crash_content(&mut content.lock(), dice);
        }
        inner.names.clone_from(&names);
        inner.durable_names = names;
        inner.fault = None;
        inner.broken = false;
    }

    /// The process dies, the machine lives: everything written stays.
    pub fn kill(&self) {
        let mut inner = self.0.lock();
        inner.fault = None;
        inner.broken = false;
    }

    pub fn names(&self) -> Vec<String> {
        self.0.lock().names.keys().cloned().collect()
    }

    /// The only, or newest, segment file.
    pub fn newest_segment(&self) -> String {
        self.names()
            .into_iter()
            .rfind(|name| name.ends_with(".segment"))
            .unwrap()
    }

    pub fn content(&self, name: &str) -> Vec<u8> {
        self.0.lock().names[name].lock().now.clone()
    }

    /// Changes what a file holds, durably, behind the log's back.
    pub fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let inner = self.0.lock();
        let mut content = inner.names[name].lock();
        edit(&mut content.now);
        let Content { now, durable } = &mut *content;
        durable.clone_from(now);
    }

    /// A disk with the same durable content.
    pub fn copy(&self) -> Self {
        let copy = Self::default();
        let inner = self.0.lock();
        for (name, content) in &inner.names {
            let now = content.lock().now.clone();
            let content = Arc::new(Mutex::new(Content {
                durable: now.clone(),
                now,
            }));
            let mut to = copy.0.lock();
            to.names.insert(name.clone(), Arc::clone(&content));
            to.durable_names.insert(name.clone(), content);
        }
        copy
    }

    fn name_change(&self, new: NameChange) -> io::Result<()> {
        let mut inner = self.0.lock();
        inner.access().map_err(error_of)?;
        change(&mut inner.names, &new);
        inner.pending.push(new);
        Ok(())
    }
}

fn crash_content(content: &mut Content, dice: &mut Dice) {
    let Content { now, durable } = content;
    let mut kept = durable.clone();
    for (at, block) in now.chunks(BLOCK).enumerate() {
        let from = at * BLOCK;
        let old = durable
            .get(from..(from + block.len()).min(durable.len()))
            .unwrap_or(&[]);
        if old != block && dice.roll(2) == 0 {
            kept.resize(kept.len().max(from + block.len()), 0);
            kept[from..from + block.len()].copy_from_slice(block);
        }
    }
    now.clone_from(&kept);
    *durable = kept;
}

fn error_of(fault: Fault) -> io::Error {
    match fault {
        Fault::Fails(kind) => kind.into(),
        Fault::Torn(_) => io::ErrorKind::Other.into(),
    }
}

impl Disk for FaultyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let content = Arc::new(Mutex::new(Content::default()));
        self.name_change(NameChange::Create(name.to_owned(), Arc::clone(&content)))?;
        Ok(Arc::new(FaultyFile {
            disk: self.clone(),
            content,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let content = self.0.lock().names.get(name).cloned();
        let content = content.ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(FaultyFile {
            disk: self.clone(),
            content,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.name_change(NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.name_change(NameChange::Remove(name.to_owned()))
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut inner = self.0.lock();
        inner.access().map_err(error_of)?;
        inner.pending.clear();
        inner.durable_names = inner.names.clone();
        Ok(())
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut inner = self.disk.0.lock();
        let outcome = inner.access();
        let kept = match outcome {
            Ok(()) => bytes,
            Err(Fault::Torn(count)) => &bytes[..count.min(bytes.len())],
            Err(fault) => return Err(error_of(fault)),
        };
        let from = usize::try_from(offset).unwrap();
        let size = self.content.lock().now.len();
        let grows = (from + kept.len()).saturating_sub(size) as u64;
        let used: u64 = inner
            .names
            .values()
            .map(|it| it.lock().now.len() as u64)
            .sum();
        if inner
            .space
            .is_some_and(|space| grows > 0 && used + grows > space)
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut content = self.content.lock();
        content.now.resize(size.max(from + kept.len()), 0);
        content.now[from..from + kept.len()].copy_from_slice(kept);
        outcome.map_err(error_of)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.content.lock();
        let from = usize::try_from(offset).unwrap().min(content.now.len());
        let count = bytes.len().min(content.now.len() - from);
        bytes[..count].copy_from_slice(&content.now[from..from + count]);
        Ok(count)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.0.lock().access().map_err(error_of)?;
        let mut content = self.content.lock();
        let Content { now, durable } = &mut *content;
        durable.clone_from(now);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.content.lock().now.len() as u64)
    }
}

/// Small segments, no helper thread, next to no cache: every read goes to the disk.
pub fn options() -> LogOptions {
    LogOptions {
        segment_bytes: SEGMENT,
        cache_bytes: 0,
        prepare_ahead: false,
    }
}

pub fn open(disk: &FaultyDisk) -> (LogWriter, LogReader, Recovered) {
    try_open(disk).unwrap()
}

pub fn try_open(disk: &FaultyDisk) -> Result<(LogWriter, LogReader, Recovered), LogError> {
    Log::open_on(Arc::new(disk.clone()), options())
}

pub fn at(epoch: u64, index: u64) -> Position {
    Position::new(Epoch(epoch), Index(index))
}

/// The entry of that position, with content that tells it from every other.
pub fn entry(epoch: u64, index: u64, size: usize) -> Entry {
    let mut payload = format!("{index}@{epoch} ").into_bytes();
    payload.resize(size.max(payload.len()), b'.');
    Entry::data(at(epoch, index), Bytes::from(payload))
}

pub fn entries(epoch: u64, indexes: std::ops::RangeInclusive<u64>, size: usize) -> Vec<Entry> {
    indexes.map(|index| entry(epoch, index, size)).collect()
}

/// Everything in the log, read piece by piece.
pub fn read_all(reader: &LogReader) -> Vec<Entry> {
    let mut all = Vec::new();
    let mut next = reader.base().index.next();
    loop {
        let piece = reader.read(next, 1000).unwrap();
        let Some(last) = piece.last() else { return all };
        next = last.position.index.next();
        all.extend(piece);
    }
}
