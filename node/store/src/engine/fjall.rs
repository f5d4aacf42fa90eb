//! The engine of the product: fjall, never synced on the way of a write.
//!
//! What is taken care of here, because the library leaves it to its user:
//! - Reads go through a snapshot: plain reads of the library see a batch that is half applied.
//! - Keys that are written in ascending order, once, need no compaction: their sorted files follow one
//!   another. A single key that is written over and over beside them makes every file overlap all
//!   later ones, and everything is then merged again and again. So such keys lie in a keyspace of their
//!   own ([`FjallOptions::apart_from`]).
//! - What is flushed must be in the synced journal as a whole, or a power loss leaves one keyspace ahead
//!   of the other. The library syncs before a flush, but flushes also what was closed since then. So
//!   memtables are closed here only, both at once, behind a sync and while nobody writes.
//! - Removal is a rename first: a directory that is half removed would open as a state with holes.
//!
//! A write can be halted without end when flushing gets stuck. Whoever calls must not be the only one who
//! could tell of it.
//!
//! This module never decides when to persist.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fjall::{
    Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot, UserValue,
};
use parking_lot::Mutex;

use super::{Batch, Engine, EngineError, EngineSnapshot, Pair, PairIter, is_empty_range};
use crate::disk::{make_directory, sync_directory};
use crate::limits::{
    ENGINE_CACHE_BYTES, ENGINE_CHANGE_OVERHEAD_BYTES, ENGINE_FILES_MAX, ENGINE_MEMTABLE_BYTES,
    ENGINE_WORKERS,
};

const KEYSPACE: &str = "state";
const KEYSPACE_APART: &str = "apart";
/// A limit that the library never meets.
const NEVER_BYTES: u64 = u64::MAX;
const DOOMED_SUFFIX: &str = ".removed";

/// How the engine uses memory and disk.
#[derive(Clone, Debug)]
pub struct FjallOptions {
    /// Blocks kept in memory, in bytes; filled by reads only.
    pub cache_bytes: u64,
    /// Recent writes kept in memory before they go to a sorted file, in bytes.
    pub memtable_bytes: u64,
    /// Threads that flush and compact; at least one.
    pub workers: usize,
    /// Keys from here on lie apart: those below are written once and ascending, those above again and
    /// again. Changes of it are taken in by the next opening.
    pub apart_from: Option<&'static [u8]>,
}

impl FjallOptions {
    /// As [`FjallOptions::apart_from`] says, the rest as the product has it.
    #[must_use]
    pub fn with_apart(from: &'static [u8]) -> Self {
        Self {
            apart_from: Some(from),
            ..Self::default()
        }
    }
}

impl Default for FjallOptions {
    fn default() -> Self {
        Self {
            cache_bytes: ENGINE_CACHE_BYTES,
            memtable_bytes: ENGINE_MEMTABLE_BYTES,
            workers: ENGINE_WORKERS,
            apart_from: None,
        }
    }
}

/// fjall behind [`Engine`].
pub struct FjallEngine {
    dir: PathBuf,
    database: Database,
    keyspaces: Keyspaces,
    memtable_bytes: u64,
    /// Bytes in the memtables; held while something is written.
    unflushed: Mutex<u64>,
}

impl std::fmt::Debug for FjallEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FjallEngine")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

fn failed(error: fjall::Error) -> EngineError {
    EngineError(Box::new(error))
}

fn failed_io(error: io::Error) -> EngineError {
    EngineError(Box::new(error))
}

fn bytes_of(value: &UserValue) -> Bytes {
    Bytes::copy_from_slice(value)
}

fn pair_of(guard: Guard) -> Result<Pair, EngineError> {
    let (key, value) = guard.into_inner().map_err(failed)?;
    Ok((bytes_of(&key), bytes_of(&value)))
}

/// Where keys lie.
#[derive(Clone)]
struct Keyspaces {
    /// Keys below `apart_from`.
    main: Keyspace,
    /// The others.
    apart: Keyspace,
    apart_from: Option<&'static [u8]>,
}

impl Keyspaces {
    fn open(database: &Database, options: &FjallOptions) -> fjall::Result<Self> {
        let shape = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(NEVER_BYTES)
                .manual_journal_persist(true)
        };
        Ok(Self {
            main: database.keyspace(KEYSPACE, shape)?,
            apart: database.keyspace(KEYSPACE_APART, shape)?,
            apart_from: options.apart_from,
        })
    }

    fn of(&self, key: &[u8]) -> &Keyspace {
        match self.apart_from {
            Some(from) if key >= from => &self.apart,
            _ => &self.main,
        }
    }

    /// Moves what lies where it no longer belongs, all of it or nothing.
    fn sort_out(&self, database: &Database) -> fjall::Result<()> {
        let nothing = (Bound::Excluded(&[][..]), Bound::Included(&[][..]));
        let (in_main, in_apart) = match self.apart_from {
            Some(from) => (
                (Bound::Included(from), Bound::Unbounded),
                (Bound::Unbounded, Bound::Excluded(from)),
            ),
            None => (nothing, (Bound::Unbounded, Bound::Unbounded)),
        };
        let snapshot = database.snapshot();
        let mut batch = database.batch();
        let moves = [
            (&self.main, in_main, &self.apart),
            (&self.apart, in_apart, &self.main),
        ];
        for (from, keys, to) in moves {
            if is_empty_range(keys.0, keys.1) {
                continue;
            }
            for guard in snapshot.range::<&[u8], _>(from, keys) {
                let (key, value) = guard.into_inner()?;
                batch.insert(to, key.clone(), value);
                batch.remove(from, key);
            }
        }
        batch.commit()
    }

    fn range<'a>(
        &self,
        snapshot: &Snapshot,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
    ) -> PairIter<'a> {
        if is_empty_range(from, to) {
            return Box::new(std::iter::empty());
        }
        let of = |keyspace| snapshot.range::<&[u8], _>(keyspace, (from, to));
        // Every key of the one is below every key of the other.
        Box::new(of(&self.main).chain(of(&self.apart)).map(pair_of))
    }
}

impl FjallEngine {
    /// Opens the engine in `dir`, making it if it is not there.
    ///
    /// # Errors
    /// If the directory cannot be opened as what an engine left there: [`FjallEngine::destroy`] it
    /// and fill it again from the log or from a peer.
    pub fn open(dir: &Path, options: &FjallOptions) -> Result<Self, EngineError> {
        remove_doomed(dir)
            .and_then(|()| make_directory(dir))
            .map_err(failed_io)?;
        let database = Database::builder(dir)
            .cache_size(options.cache_bytes)
            // Journals go when what they hold is flushed, which both keyspaces are together.
            .max_journaling_size(NEVER_BYTES)
            .max_cached_files(Some(ENGINE_FILES_MAX))
            .worker_threads(options.workers)
            .manual_journal_persist(true)
            .open()
            .map_err(failed)?;
        let keyspaces = Keyspaces::open(&database, options).map_err(failed)?;
        keyspaces.sort_out(&database).map_err(failed)?;
        // What the journal gave back is in the memtables again.
        let recovered = database.write_buffer_size();
        Ok(Self {
            dir: dir.to_owned(),
            database,
            keyspaces,
            memtable_bytes: options.memtable_bytes,
            unflushed: Mutex::new(recovered),
        })
    }

    /// Removes what is in `dir`, whole or not at all. No engine may have it open.
    ///
    /// # Errors
    /// When the file system fails; then it is either all there or gone for [`FjallEngine::open`].
    pub fn destroy(dir: &Path) -> Result<(), EngineError> {
        remove_doomed(dir).map_err(failed_io)?;
        match fs::rename(dir, doomed(dir)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed_io(error)),
        }
        if let Some(parent) = dir.parent() {
            sync_directory(parent).map_err(failed_io)?;
        }
        remove_doomed(dir).map_err(failed_io)
    }

    /// Closes the memtables, so that they are flushed. Nobody may write meanwhile.
    fn close_memtables(&self) -> fjall::Result<()> {
        self.database.persist(PersistMode::SyncAll)?;
        self.keyspaces.main.rotate_memtable()?;
        self.keyspaces.apart.rotate_memtable()?;
        Ok(())
    }
}

fn doomed(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(DOOMED_SUFFIX);
    PathBuf::from(name)
}

fn remove_doomed(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(doomed(dir)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Engine for FjallEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let value = self
            .database
            .snapshot()
            .get(self.keyspaces.of(key), key)
            .map_err(failed)?;
        Ok(value.as_ref().map(bytes_of))
    }

    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> PairIter<'_> {
        self.keyspaces.range(&self.database.snapshot(), (from, to))
    }

    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        // A batch of the library has one sequence number, so it may name each key only once.
        let mut seen = HashSet::with_capacity(batch.changes.len());
        let mut inner = self.database.batch();
        let mut bytes = 0;
        for (key, value) in batch.changes.iter().rev() {
            if !seen.insert(key) {
                continue;
            }
            let value_bytes = value.as_ref().map_or(0, Bytes::len);
            bytes += (key.len() + value_bytes) as u64 + ENGINE_CHANGE_OVERHEAD_BYTES;
            let keyspace = self.keyspaces.of(key);
            match value {
                Some(value) => inner.insert(keyspace, &**key, &**value),
                None => inner.remove(keyspace, &**key),
            }
        }
        let mut unflushed = self.unflushed.lock();
        *unflushed += bytes;
        let mut outcome = inner.commit();
        if outcome.is_ok() && *unflushed >= self.memtable_bytes {
            outcome = self.close_memtables();
            *unflushed = 0;
        }
        drop(unflushed);
        outcome.map_err(failed)
    }

    fn persist(&self) -> Result<(), EngineError> {
        self.database.persist(PersistMode::SyncAll).map_err(failed)
    }

    fn snapshot(&self) -> Box<dyn EngineSnapshot> {
        let snapshot = self.database.snapshot();
        Box::new(FjallSnapshot {
            snapshot,
            keyspaces: self.keyspaces.clone(),
        })
    }

    fn clear(&self) -> Result<(), EngineError> {
        // The journal first: what it still holds unwritten must not come back after the clearing.
        self.persist()?;
        self.keyspaces.main.clear().map_err(failed)?;
        self.keyspaces.apart.clear().map_err(failed)?;
        self.persist()
    }

    fn disk_bytes(&self) -> u64 {
        allocated_bytes(&self.dir)
    }
}

struct FjallSnapshot {
    snapshot: Snapshot,
    keyspaces: Keyspaces,
}

impl EngineSnapshot for FjallSnapshot {
    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> PairIter<'_> {
        self.keyspaces.range(&self.snapshot, (from, to))
    }
}

/// Bytes that the files below `dir` really take (journals are sparse). A file that vanishes on the
/// way, by a compaction, counts nothing.
fn allocated_bytes(dir: &Path) -> u64 {
    const BLOCK_BYTES: u64 = 512;
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    let mut total = 0;
    for entry in entries.flatten() {
        total += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => allocated_bytes(&entry.path()),
            Ok(metadata) => metadata.blocks() * BLOCK_BYTES,
            Err(_) => 0,
        };
    }
    total
}
