//! Who a volume is. Made once, at the first start.

use serde::{Deserialize, Serialize};
use standby_core::{ClusterId, VolumeId};
use uuid::Uuid;

use super::sealed::{self, Folder, Kind};
use super::{IDENTITY_FILE, LOCK_FILE, VolumeError};

const KIND: Kind = Kind {
    magic: "standby-identity",
    version: 1,
};

/// What a fresh file system has, and what is no data of a node.
const NO_DATA: [&str; 2] = ["lost+found", LOCK_FILE];

/// Who a volume is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Random, made at the first start.
    pub volume: VolumeId,
    /// The cluster the volume belongs to, once it is known.
    pub cluster_id: Option<ClusterId>,
    /// The node that used the volume last.
    pub node_name: String,
    /// Whether a view was ever adopted, so that a missing state file is noticed.
    pub view_stored: bool,
}

/// A fresh identity for a volume: 16 hexadecimal digits. All bits random, so the fixed version bits
/// of a UUID are mixed away with its other half.
pub(super) fn random_volume_id() -> VolumeId {
    let (high, low) = Uuid::new_v4().as_u64_pair();
    VolumeId(format!("{:016x}", high ^ low.rotate_left(32)))
}

impl Identity {
    pub(super) fn read(folder: Folder<'_>) -> Result<Option<Self>, VolumeError> {
        sealed::read(KIND, folder, IDENTITY_FILE)
    }

    pub(super) fn write(&self, folder: Folder<'_>) -> Result<(), VolumeError> {
        sealed::write(KIND, folder, IDENTITY_FILE, self)
    }

    /// Gives a directory that holds nothing an identity.
    pub(super) fn create(folder: Folder<'_>, node_name: &str) -> Result<Self, VolumeError> {
        let names = folder.disk.list();
        let names = names.map_err(VolumeError::io("list", folder.path))?;
        let is_data =
            |name: &String| !NO_DATA.contains(&name.as_str()) && !sealed::is_unfinished(name);
        if let Some(found) = names.into_iter().find(is_data) {
            return Err(VolumeError::IdentityMissing {
                path: folder.path.to_owned(),
                found,
            });
        }
        let identity = Self {
            volume: random_volume_id(),
            cluster_id: None,
            node_name: node_name.to_owned(),
            view_stored: false,
        };
        identity.write(folder)?;
        Ok(identity)
    }
}
