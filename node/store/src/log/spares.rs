//! Files for segments to come: zero-filled ahead by a helper thread, or recycled from segments that
//! are no longer needed.
//!
//! A block that was written before needs no change of size or extents when it is written again, so
//! that a sync has only data to write. A recycled file keeps what it held: its name keeps the number
//! of its last segment, and no number is ever used twice, so that old frames never pass for new ones.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::LogError;
use super::recovery::LooseFile;
use super::segment::{segment_name, spare_name};
use crate::disk::{Disk, DiskFile};
use crate::limits::{
    SPARE_REQUESTS_MAX, SPARE_WAIT_MS, SPARES_MAX, ZERO_CHUNK_BYTES, ZERO_SYNC_BYTES,
};

type Prepared = (u64, io::Result<Arc<dyn DiskFile>>);

struct Helper {
    requests: Option<Sender<u64>>,
    prepared: Receiver<Prepared>,
    busy: bool,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The files that can become segments.
pub(super) struct Spares {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    next_id: u64,
    ready: Vec<LooseFile>,
    helper: Option<Helper>,
}

impl Spares {
    pub fn new(
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
        next_id: u64,
        prepare_ahead: bool,
    ) -> Result<Self, LogError> {
        let helper = if prepare_ahead {
            let helper = Helper::start(Arc::clone(&disk), segment_bytes);
            Some(helper.map_err(LogError::io("start the helper thread"))?)
        } else {
            None
        };
        Ok(Self {
            disk,
            segment_bytes,
            next_id,
            ready: Vec::new(),
            helper,
        })
    }

    /// A number that no segment and no file has had.
    pub fn next_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Keeps a spare file that was found, or removes it if it is of another size or one too many.
    pub fn adopt(&mut self, spare: LooseFile) -> Result<(), LogError> {
        let size = spare
            .file
            .size()
            .map_err(LogError::io("ask for a spare file's size"))?;
        if size == self.segment_bytes && self.ready.len() < SPARES_MAX {
            self.ready.push(spare);
            return Ok(());
        }
        self.disk
            .remove(&spare_name(spare.id))
            .map_err(LogError::io("remove a spare file"))
    }

    /// Takes over the file of a segment that nothing needs any more. Durable.
    pub fn recycle(&mut self, old: LooseFile) -> Result<(), LogError> {
        let size = old
            .file
            .size()
            .map_err(LogError::io("ask for a segment's size"))?;
        let name = segment_name(old.id);
        if size == self.segment_bytes && self.ready.len() < SPARES_MAX {
            let renamed = self.disk.rename(&name, &spare_name(old.id));
            renamed.map_err(LogError::io("set a segment aside"))?;
            self.ready.push(old);
        } else {
            self.disk
                .remove(&name)
                .map_err(LogError::io("remove a segment"))?;
        }
        self.disk
            .sync_names()
            .map_err(LogError::io("sync the log's directory"))
    }

    /// Makes sure that `count` files can be taken. Nothing of the log is written.
    pub fn reserve(&mut self, count: usize) -> Result<(), LogError> {
        self.collect();
        while self.usable() < count {
            let busy = self.helper.as_mut().filter(|helper| helper.busy);
            let (id, outcome) = if let Some(helper) = busy {
                helper.wait()?
            } else {
                let id = self.next_id();
                let never = AtomicBool::new(false);
                (
                    id,
                    prepare(self.disk.as_ref(), id, self.segment_bytes, &never),
                )
            };
            let file = outcome.map_err(|source| self.why_not(source))?;
            self.ready.push(LooseFile { id, file });
        }
        Ok(())
    }

    /// A file that no reader holds. The caller has reserved it.
    pub fn take(&mut self) -> LooseFile {
        let at = self
            .ready
            .iter()
            .position(|spare| Arc::strong_count(&spare.file) == 1);
        self.ready
            .remove(at.expect("the caller has reserved a file"))
    }

    /// Has the helper make the next file if there is none.
    pub fn prepare_ahead(&mut self) {
        self.collect();
        let wanted = self.usable() == 0 && self.helper.as_ref().is_some_and(|helper| !helper.busy);
        if wanted {
            let id = self.next_id();
            if let Some(helper) = &mut self.helper {
                helper.request(id);
            }
        }
    }

    fn usable(&self) -> usize {
        self.ready
            .iter()
            .filter(|spare| Arc::strong_count(&spare.file) == 1)
            .count()
    }

    /// Takes what the helper has finished. Its failure is met again, and told, when a file is needed.
    fn collect(&mut self) {
        let Some(helper) = &mut self.helper else {
            return;
        };
        while let Ok((id, outcome)) = helper.prepared.try_recv() {
            helper.busy = false;
            match outcome {
                Ok(file) => self.ready.push(LooseFile { id, file }),
                Err(error) => {
                    tracing::warn!(%error, "cannot prepare the log's next segment file");
                }
            }
        }
    }

    fn why_not(&self, source: io::Error) -> LogError {
        if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            return LogError::NoSpace {
                needed_bytes: self.segment_bytes,
            };
        }
        LogError::Io {
            doing: "prepare a segment file",
            source,
        }
    }
}

impl Helper {
    fn start(disk: Arc<dyn Disk>, segment_bytes: u64) -> io::Result<Self> {
        let (requests, todo) = bounded::<u64>(SPARE_REQUESTS_MAX);
        let (done, prepared) = bounded(SPARE_REQUESTS_MAX);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("log-spares".to_owned())
            .spawn(move || {
                for id in todo {
                    let outcome = prepare(disk.as_ref(), id, segment_bytes, &stopped);
                    if done.send((id, outcome)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            requests: Some(requests),
            prepared,
            busy: false,
            stop,
            thread: Some(thread),
        })
    }

    fn request(&mut self, id: u64) {
        let sent = self
            .requests
            .as_ref()
            .is_some_and(|requests| requests.try_send(id).is_ok());
        self.busy = sent;
    }

    fn wait(&mut self) -> Result<Prepared, LogError> {
        let outcome = self
            .prepared
            .recv_timeout(Duration::from_millis(SPARE_WAIT_MS));
        self.busy = false;
        outcome.map_err(|error| LogError::Io {
            doing: "wait for the next segment file",
            source: io::Error::new(io::ErrorKind::TimedOut, error),
        })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.requests = None;
        // The channel ends with the thread. A disk that hangs must not keep the process from ending.
        let patience = Duration::from_millis(SPARE_WAIT_MS);
        let ended = loop {
            match self.prepared.recv_timeout(patience) {
                Ok(_) => {}
                Err(error) => break error.is_disconnected(),
            }
        };
        if let Some(thread) = self.thread.take().filter(|_| ended) {
            // A helper that panicked has told so already; nothing is lost with it.
            drop(thread.join());
        } else {
            tracing::warn!("the log's helper thread hangs in the disk; it is left behind");
        }
    }
}

/// Makes a spare file and fills it with zeros, durably. What fails leaves no file, as far as the
/// disk allows; the next start removes what is of the wrong size.
fn prepare(
    disk: &dyn Disk,
    id: u64,
    segment_bytes: u64,
    stop: &AtomicBool,
) -> io::Result<Arc<dyn DiskFile>> {
    let name = spare_name(id);
    let file = disk.create(&name)?;
    let filled = fill(file.as_ref(), segment_bytes, stop).and_then(|()| disk.sync_names());
    if let Err(error) = filled {
        if let Err(error) = disk.remove(&name) {
            tracing::warn!(%error, name, "cannot remove an unfinished segment file");
        }
        return Err(error);
    }
    Ok(file)
}

fn fill(file: &dyn DiskFile, segment_bytes: u64, stop: &AtomicBool) -> io::Result<()> {
    let zeros = vec![0; ZERO_CHUNK_BYTES];
    let mut at = 0;
    let mut synced = 0;
    while at < segment_bytes {
        if stop.load(Ordering::Relaxed) {
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        let left = usize::try_from(segment_bytes - at).unwrap_or(usize::MAX);
        let piece = &zeros[..left.min(ZERO_CHUNK_BYTES)];
        file.write_at(piece, at)?;
        at += piece.len() as u64;
        // In pieces, so that the syncs of the log never queue behind a whole file.
        if at - synced >= ZERO_SYNC_BYTES {
            file.sync()?;
            synced = at;
        }
    }
    file.sync()
}
