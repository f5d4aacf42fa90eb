//! What others read of the driver: role and view for clients, and the sign for the control streams that the
//! operator should look. Never changes what the core does.

use std::sync::atomic::Ordering;

use standby_core::Micros;
use standby_core::replica::{LinkState, RoleKind, Status};
use standby_interface::{Role, RoleInfo};

use super::Driver;
use crate::limits::REPORT_PACE_MS;
use crate::replication::digest::Digest;

impl<O: Send + 'static> Driver<O> {
    /// Publishes the role for clients, and wakes the control streams when the operator should know.
    pub(super) fn publish(&mut self) {
        let now = self.parts.clock.now();
        let replica = &self.parts.replica;
        let bare = replica.view().is_none_or(|view| !view.can_acknowledge());
        self.publish_owed = now < self.digest_due && !bare;
        if self.publish_owed {
            return;
        }
        self.digest_due = now.plus(Micros::from_millis(REPORT_PACE_MS));
        let status = replica.status(now);
        self.publish_role(&status);
        let full = self.parts.shared.disk_full.load(Ordering::Relaxed);
        let digest = Digest::of(&status, full);
        if self.digest.as_ref() != Some(&digest) {
            self.digest = Some(digest);
            self.parts.changed.send_modify(|count| *count += 1);
        }
    }

    fn publish_role(&self, status: &Status) {
        self.parts.view.send_if_modified(|old| {
            let differs = *old != status.view;
            if differs {
                old.clone_from(&status.view);
            }
            differs
        });
        let role = match status.role {
            RoleKind::Unassigned | RoleKind::Restarted => Role::Unassigned,
            RoleKind::Follower => Role::Follower,
            RoleKind::Primary if status.serving => Role::Primary,
            RoleKind::Primary => Role::PrimaryWaiting,
            RoleKind::SteppedDown => Role::SteppedDown,
        };
        let primary_alive = match &status.primary_link {
            Some(link) => link.state == LinkState::Up,
            None => status.serving,
        };
        let info = RoleInfo {
            role,
            epoch: self.parts.replica.epoch(),
            primary: status.view.as_ref().map(|view| view.primary.clone()),
            primary_alive,
        };
        self.parts.role.send_if_modified(|old| {
            let differs = *old != info;
            old.clone_from(&info);
            differs
        });
    }
}
