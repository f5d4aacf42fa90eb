//! Looks at the free space of the volume, so that writes are refused before the disk is really full
//! and taken again once space was freed. It never removes anything.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use standby_store::disk::disk_space;
use standby_store::log::LogError;
use tokio::sync::mpsc::UnboundedSender;

use crate::limits::{
    APPLY_ROOM_BYTES, DISK_CHECK_MS, DISK_MIN_BYTES, DISK_RESERVE_BYTES, DISK_RESERVE_DIVISOR,
    DISK_RESERVE_MIN_BYTES,
};
use crate::replication::{Command, Shared, Told};

/// A disk on which a node cannot work.
#[derive(Debug, thiserror::Error)]
#[error(
    "the disk of {path} has {given_bytes} bytes; at least {DISK_MIN_BYTES} are needed, which a volume \
     of 512 MiB has"
)]
pub struct DiskTooSmall {
    path: String,
    given_bytes: u64,
}

/// What must stay free on a disk of so many bytes: room for the log's segments, for compaction and for
/// deletions to be written.
#[must_use]
pub fn reserve_bytes(total_bytes: u64) -> u64 {
    (total_bytes / DISK_RESERVE_DIVISOR).clamp(DISK_RESERVE_MIN_BYTES, DISK_RESERVE_BYTES)
}

/// Whether a node can work on the disk that `data_dir` is on.
pub fn check_size(data_dir: &Path) -> anyhow::Result<()> {
    let space = disk_space(data_dir)?;
    if space.total_bytes < DISK_MIN_BYTES {
        return Err(DiskTooSmall {
            path: data_dir.display().to_string(),
            given_bytes: space.total_bytes,
        }
        .into());
    }
    Ok(())
}

/// Whether something failed for want of space.
#[must_use]
pub fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let system = error.downcast_ref::<io::Error>();
        let full = system.is_some_and(|error| error.kind() == io::ErrorKind::StorageFull);
        let log = error.downcast_ref::<LogError>();
        if full || matches!(log, Some(LogError::NoSpace { .. })) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Looks again and again, on a thread of its own: a hung disk must not hang anything else. Tells the
/// driver when the disk becomes full and when it has room again.
pub fn start(
    data_dir: PathBuf,
    shared: Arc<Shared>,
    driver: UnboundedSender<Command>,
) -> io::Result<()> {
    std::thread::Builder::new()
        .name("disk-watch".into())
        .spawn(move || {
            let mut known = true;
            loop {
                std::thread::sleep(Duration::from_millis(DISK_CHECK_MS));
                let before = shared.disk_full.load(Ordering::Relaxed);
                let seen = look(&data_dir, &shared);
                if let (true, Err(error)) = (known, &seen) {
                    tracing::warn!(%error, "the disk's free space is not known");
                }
                known = seen.is_ok();
                if shared.disk_full.load(Ordering::Relaxed) != before {
                    // The driver is gone only when the process ends.
                    let _ = driver.send(Command::Told(Told::News));
                }
            }
        })?;
    Ok(())
}

/// Looks once.
pub fn look(data_dir: &Path, shared: &Shared) -> io::Result<()> {
    let space = disk_space(data_dir)?;
    shared.disk_free.store(space.free_bytes, Ordering::Relaxed);
    shared
        .disk_total
        .store(space.total_bytes, Ordering::Relaxed);
    let full = space.free_bytes < reserve_bytes(space.total_bytes)
        || shared.log_waits_for_room.load(Ordering::Relaxed);
    if shared.disk_full.swap(full, Ordering::Relaxed) != full {
        let free_bytes = space.free_bytes;
        if full {
            tracing::warn!(free_bytes, "the disk is nearly full: writes are refused");
        } else {
            tracing::info!(free_bytes, "the disk has room again: writes are taken");
        }
    }
    Ok(())
}

/// Whether the state may take in more, as of the last look.
#[must_use]
pub fn may_apply(shared: &Shared) -> bool {
    shared.disk_free.load(Ordering::Relaxed) >= APPLY_ROOM_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_keeps_a_smaller_reserve_but_more_than_a_file_of_the_log() {
        let segment = standby_store::limits::SEGMENT_BYTES;
        assert_eq!(reserve_bytes(1 << 30), 128 << 20);
        assert_eq!(reserve_bytes(1 << 40), DISK_RESERVE_BYTES);
        assert_eq!(reserve_bytes(DISK_MIN_BYTES), DISK_RESERVE_MIN_BYTES);
        assert!(reserve_bytes(0) > segment + segment / 4);
        assert!(reserve_bytes(0) > APPLY_ROOM_BYTES);
    }

    #[test]
    fn want_of_space_is_found_among_the_causes() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(is_disk_full(&full));
        let wrapped = LogError::Io {
            doing: "append",
            source: full,
        };
        assert!(is_disk_full(&wrapped));
        assert!(is_disk_full(&LogError::NoSpace { needed_bytes: 1 }));
        assert!(!is_disk_full(&LogError::Poisoned));
    }
}
