//! The narrow door to the disk: what the log and the small files of a volume need of a directory, and
//! nothing more, so that tests can put a disk behind it that fails, tears writes and forgets what was not
//! synced.
//!
//! The real implementation writes with `pwrite` and syncs with `fdatasync`. It never retries: after a
//! failed write or sync nothing is known about the file, and the process has to end.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An open file. All methods may be called from several threads.
pub trait DiskFile: Send + Sync {
    /// Writes all of `bytes` at `offset`. Not durable before [`DiskFile::sync`].
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Fills `bytes` from `offset` on, up to the end of the file; returns how many were read.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes everything written to this file durable.
    fn sync(&self) -> io::Result<()>;

    /// The file's length in bytes.
    fn size(&self) -> io::Result<u64>;
}

/// One directory of files.
pub trait Disk: Send + Sync {
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a new, empty file. The name is durable after [`Disk::sync_names`].
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that exists.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, durable after [`Disk::sync_names`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file, durable after [`Disk::sync_names`].
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names of the directory durable.
    fn sync_names(&self) -> io::Result<()>;
}

/// A directory of the file system.
#[derive(Debug)]
pub struct DirectoryDisk {
    path: PathBuf,
}

impl DirectoryDisk {
    /// Opens the directory, making it (durably) if it is not there.
    pub fn open(path: &Path) -> io::Result<Self> {
        make_directory(path)?;
        Ok(Self {
            path: path.to_owned(),
        })
    }
}

/// Makes a directory, and its name durable, if it is not there.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    match path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl Disk for DirectoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.path.join(name))?;
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path.join(name))?;
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        sync_directory(&self.path)
    }
}

impl DiskFile for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < bytes.len() {
            match FileExt::read_at(self, &mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

/// How large the file system is and how much of it may still be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Its size, in bytes.
    pub total_bytes: u64,
    /// What this process may still write, in bytes (blocks reserved for root are not counted).
    pub free_bytes: u64,
}

/// The space of the file system that holds `path`.
pub fn disk_space(path: &Path) -> io::Result<DiskSpace> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(DiskSpace {
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
    })
}
