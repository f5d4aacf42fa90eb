//! Looks at the free space of the volume, so that writes are refused before the disk is really full
//! and taken again once space was freed. It never removes anything.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use standby_store::disk::disk_space;

use crate::limits::{DISK_CHECK_MS, DISK_RESERVE_BYTES, DISK_RESERVE_DIVISOR};
use crate::replication::Shared;

/// What must stay free on a disk of so many bytes: room for the log's segments, for compaction and for
/// deletions to be written.
#[must_use]
pub fn reserve_bytes(total_bytes: u64) -> u64 {
    DISK_RESERVE_BYTES.min(total_bytes / DISK_RESERVE_DIVISOR)
}

/// Looks again and again, on a thread of its own: a hung disk must not hang anything else.
pub fn start(data_dir: PathBuf, shared: Arc<Shared>) -> std::io::Result<()> {
    look(&data_dir, &shared);
    std::thread::Builder::new()
        .name("disk-watch".into())
        .spawn(move || {
            loop {
                std::thread::sleep(Duration::from_millis(DISK_CHECK_MS));
                look(&data_dir, &shared);
            }
        })?;
    Ok(())
}

fn look(data_dir: &std::path::Path, shared: &Shared) {
    let space = match disk_space(data_dir) {
        Ok(space) => space,
        Err(error) => {
            tracing::warn!(%error, "the disk's free space is not known");
            return;
        }
    };
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_keeps_a_smaller_reserve() {
        assert_eq!(reserve_bytes(1 << 30), 128 << 20);
        assert_eq!(reserve_bytes(1 << 40), DISK_RESERVE_BYTES);
    }
}
