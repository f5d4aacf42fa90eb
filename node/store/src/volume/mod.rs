//! The data directory of a node: who may use it, who it is, and which view it has adopted.
//!
//! Small files only. The identity is replaced as a whole: written beside, synced, renamed, and the directory
//! synced. The view is written in place, into the older of two slots. A file that is missing and one that is damaged are never taken for each other, and
//! neither for an empty one. This module never decides which view to adopt.

mod identity;
mod sealed;
mod slots;
mod state;

pub use identity::Identity;
pub use state::{PeerAddress, StoredView};

use std::fmt;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use standby_core::{ClusterId, VolumeId};

use crate::disk::{DirectoryDisk, Disk, DiskSpace, disk_space, make_directory};

use sealed::Folder;
use slots::Slots;

const LOCK_FILE: &str = "lock";
const IDENTITY_FILE: &str = "identity";
const STATE_FILE: &str = "state";

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The file system failed. After a failed write the process must end.
    #[error("data directory: cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process uses the directory.
    #[error(
        "data directory {} is in use by another process (lock file {LOCK_FILE:?} is held); \
         give each node a directory of its own",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A file is not what was written.
    #[error("data directory: {} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file of a newer program.
    #[error("data directory: {} has format version {found}, this program knows {known}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: u32,
        /// What this program reads and writes.
        known: u32,
    },
    /// The directory holds data but no identity: it is not empty, and whose it is cannot be told.
    #[error(
        "data directory {} holds {found:?} but no file {IDENTITY_FILE:?}: \
         give an empty directory, or the whole one",
        path.display()
    )]
    IdentityMissing {
        /// The directory.
        path: PathBuf,
        /// One of the things found in it.
        found: String,
    },
    /// The volume belongs to another cluster.
    #[error("data directory belongs to cluster {is}, not {given}; its data is left as it is")]
    OtherCluster {
        /// What the volume says.
        is: ClusterId,
        /// What was given.
        given: ClusterId,
    },
}

impl VolumeError {
    pub(crate) fn io<'a>(
        doing: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}

/// A data directory that this process alone uses, until this is dropped.
pub struct Volume {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    identity: Identity,
    /// How the file with the view stands; none before it was looked at.
    slots: Option<Slots>,
    _lock: Option<File>,
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Volume")
            .field("path", &self.path)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Volume {
    /// Takes the directory for this process; makes it, and gives it an identity, if it is new.
    ///
    /// # Errors
    /// [`VolumeError::InUse`]; [`VolumeError::Damaged`], [`VolumeError::Version`] or
    /// [`VolumeError::IdentityMissing`] if its identity cannot be told; [`VolumeError::Io`].
    pub fn open(path: &Path, node_name: &str) -> Result<Self, VolumeError> {
        make_directory(path).map_err(VolumeError::io("make", path))?;
        let lock = lock(path)?;
        let disk = DirectoryDisk::open(path).map_err(VolumeError::io("open", path))?;
        Self::begin(Arc::new(disk), path, node_name, Some(lock))
    }

    /// As [`Volume::open`], on a disk of the caller's, which nobody else uses. `path` is what errors
    /// call it, and where log and engine are looked for.
    ///
    /// # Errors
    /// As [`Volume::open`], but [`VolumeError::InUse`].
    pub fn open_on(disk: Arc<dyn Disk>, path: &Path, node_name: &str) -> Result<Self, VolumeError> {
        Self::begin(disk, path, node_name, None)
    }

    fn begin(
        disk: Arc<dyn Disk>,
        path: &Path,
        node_name: &str,
        lock: Option<File>,
    ) -> Result<Self, VolumeError> {
        let folder = Folder {
            disk: disk.as_ref(),
            path,
        };
        let identity = match Identity::read(folder)? {
            Some(identity) => identity,
            None => Identity::create(folder, node_name)?,
        };
        let mut volume = Self {
            path: path.to_owned(),
            disk,
            identity,
            slots: None,
            _lock: lock,
        };
        if volume.identity.node_name != node_name {
            let identity = Identity {
                node_name: node_name.to_owned(),
                ..volume.identity.clone()
            };
            volume.replace_identity(identity)?;
        }
        Ok(volume)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the commit log lives.
    #[must_use]
    pub fn log_dir(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where the engine lives.
    #[must_use]
    pub fn engine_dir(&self) -> PathBuf {
        self.path.join("engine")
    }

    /// Who this volume is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Binds the volume to a cluster, durably and for ever.
    ///
    /// # Errors
    /// [`VolumeError::OtherCluster`] if it is bound to another one already.
    pub fn bind(&mut self, cluster_id: &ClusterId) -> Result<(), VolumeError> {
        match &self.identity.cluster_id {
            Some(is) if is == cluster_id => Ok(()),
            Some(is) => Err(VolumeError::OtherCluster {
                is: is.clone(),
                given: cluster_id.clone(),
            }),
            None => {
                let cluster_id = Some(cluster_id.clone());
                self.replace_identity(Identity {
                    cluster_id,
                    ..self.identity.clone()
                })
            }
        }
    }

    /// Gives the volume a new random identity, durably: to its cluster it is then a new, empty one.
    /// For a volume that has lost what it acknowledged (V11); before the log is cut or reset.
    pub fn renew_identity(&mut self) -> Result<VolumeId, VolumeError> {
        let volume = identity::random_volume_id();
        self.replace_identity(Identity {
            volume: volume.clone(),
            ..self.identity.clone()
        })?;
        Ok(volume)
    }

    /// The view that was adopted last, and what is known beside it. Nothing if there never was one.
    ///
    /// # Errors
    /// [`VolumeError::Damaged`] also when the file is gone although there was one.
    pub fn load_view(&self) -> Result<Option<StoredView>, VolumeError> {
        Ok(self.read_view()?.map(|(stored, _)| stored))
    }

    fn read_view(&self) -> Result<Option<(StoredView, Slots)>, VolumeError> {
        let found = StoredView::read(self.folder(), STATE_FILE)?;
        if found.is_none() && self.identity.view_stored {
            let path = self.path.join(STATE_FILE);
            let what = "the file is missing, although a view was adopted".to_owned();
            return Err(VolumeError::Damaged { path, what });
        }
        Ok(found)
    }

    /// Stores the adopted view, durably (V2: before anything is done in its epoch).
    ///
    /// # Errors
    /// After [`VolumeError::Io`] the process must end.
    pub fn store_view(&mut self, stored: &StoredView) -> Result<(), VolumeError> {
        let known = match self.slots.take() {
            Some(slots) => Some(slots),
            None => self.read_view()?.map(|(_, slots)| slots),
        };
        self.slots = Some(match known {
            Some(mut slots) => {
                stored.store(&mut slots, self.folder(), STATE_FILE)?;
                slots
            }
            None => stored.create(self.folder(), STATE_FILE)?,
        });
        if !self.identity.view_stored {
            self.replace_identity(Identity {
                view_stored: true,
                ..self.identity.clone()
            })?;
        }
        Ok(())
    }

    /// Writes the view that was stored last a second time, unless it stands there twice: from then on one of the
    /// two may be damaged. For moments in which nobody waits.
    ///
    /// # Errors
    /// After [`VolumeError::Io`] the process must end.
    pub fn settle_view(&mut self) -> Result<(), VolumeError> {
        let Some(mut slots) = self.slots.take() else {
            return Ok(());
        };
        slots.settle(self.folder(), STATE_FILE)?;
        self.slots = Some(slots);
        Ok(())
    }

    /// The space of the file system that holds the directory.
    pub fn space(&self) -> Result<DiskSpace, VolumeError> {
        disk_space(&self.path).map_err(VolumeError::io("ask for the space of", &self.path))
    }

    fn folder(&self) -> Folder<'_> {
        Folder {
            disk: self.disk.as_ref(),
            path: &self.path,
        }
    }

    fn replace_identity(&mut self, identity: Identity) -> Result<(), VolumeError> {
        identity.write(self.folder())?;
        self.identity = identity;
        Ok(())
    }
}

fn lock(path: &Path) -> Result<File, VolumeError> {
    let name = path.join(LOCK_FILE);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&name)
        .map_err(VolumeError::io("open", &name))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(VolumeError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(VolumeError::Io {
            doing: "lock",
            path: name,
            source,
        }),
    }
}
