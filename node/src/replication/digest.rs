//! What makes a node report by itself: the facts that the operator acts on, without the numbers that
//! change with every write.

use std::collections::BTreeSet;

use standby_core::replica::{LinkState, PeerStatus, RoleKind, Status};
use standby_core::{Epoch, Micros, NodeId};

use crate::limits::STALL_IS_NEWS_MS;

/// What makes a node report by itself.
#[derive(Debug, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent facts, compared as one"
)]
pub struct Digest {
    role: RoleKind,
    epoch: Epoch,
    serving: bool,
    drained: bool,
    complete: BTreeSet<NodeId>,
    connected: BTreeSet<NodeId>,
    link: Option<(LinkState, bool)>,
    stalled: bool,
    doubt: bool,
    disk_full: bool,
}

impl Digest {
    pub fn of(status: &Status, disk_full: bool) -> Self {
        let names = |keep: fn(&PeerStatus) -> bool| {
            status
                .peers
                .iter()
                .filter(|peer| keep(peer))
                .map(|peer| peer.node.clone())
                .collect()
        };
        Self {
            role: status.role,
            epoch: status.view.as_ref().map_or(Epoch(0), |view| view.epoch),
            serving: status.serving,
            drained: status.drained,
            complete: names(|peer| peer.complete),
            connected: names(|peer| peer.session.is_some()),
            link: status
                .primary_link
                .as_ref()
                .map(|link| (link.state, link.lost)),
            stalled: status
                .write_stall
                .as_ref()
                .is_some_and(|stall| stall.waiting >= Micros::from_millis(STALL_IS_NEWS_MS)),
            doubt: status.doubt.is_some(),
            disk_full,
        }
    }
}
