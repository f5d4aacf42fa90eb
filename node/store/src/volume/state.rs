//! The adopted view and the addresses that came with it, so that a restarted node finds its primary
//! while no operator runs.

use serde::{Deserialize, Serialize};
use standby_core::View;

use super::VolumeError;
use super::sealed::{Folder, Kind};
use super::slots::{self, Slots};

const KIND: Kind = Kind {
    magic: "standby-state",
    version: 2,
};

/// Where a node of the cluster can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerAddress {
    /// The pod's name.
    pub name: String,
    /// Host and port for other nodes.
    pub peer: String,
    /// URL for clients.
    pub client_url: String,
}

/// The adopted view, and what came with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredView {
    /// The view with the highest epoch that was adopted (V2).
    pub view: View,
    /// All nodes of the cluster.
    pub peers: Vec<PeerAddress>,
    /// URL that always leads clients to the primary.
    pub client_url: String,
}

impl StoredView {
    pub(super) fn read(
        folder: Folder<'_>,
        name: &str,
    ) -> Result<Option<(Self, Slots)>, VolumeError> {
        slots::read(KIND, folder, name)
    }

    pub(super) fn create(&self, folder: Folder<'_>, name: &str) -> Result<Slots, VolumeError> {
        Slots::create(KIND, folder, name, self)
    }

    pub(super) fn store(
        &self,
        slots: &mut Slots,
        folder: Folder<'_>,
        name: &str,
    ) -> Result<(), VolumeError> {
        slots.store(KIND, folder, name, self)
    }
}
