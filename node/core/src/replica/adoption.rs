//! Views are told, stored, and make of this node what they say (V2, V3, V10).

use std::collections::BTreeSet;

use crate::ids::{Epoch, NodeId};
use crate::view::View;

use super::follower::Follower;
use super::{Doubt, Fault, Output, Replica, Role, SessionId};

impl Replica {
    pub(super) fn on_view(
        &mut self,
        mut view: View,
        await_nodes: BTreeSet<NodeId>,
        previous_stopped: bool,
    ) {
        if view.cluster_id != self.cluster_id {
            self.raise_doubt(Doubt::ForeignView {
                cluster_id: view.cluster_id,
            });
            return;
        }
        // A view that breaks its own rules was not recorded by the API server; never act on it.
        if view.check().is_err() {
            return;
        }
        let known = self
            .storing
            .as_ref()
            .or(self.view.as_ref())
            .map_or(Epoch(0), |v| v.epoch);
        self.forgive_foreigner();
        if view.epoch < known {
            return;
        }
        if view.epoch == known && self.contradicts(&view) {
            self.conflict = Some(known);
            return;
        }
        if view.epoch > known {
            // What was given up stays given up, whoever tells the view.
            let before = self.view.as_ref().and_then(|view| view.loss);
            view.loss = view.loss.max(before);
            self.await_nodes.clear();
            self.storing = Some(view.clone());
            self.outputs.push(Output::StoreView(view.clone()));
        }
        if view.primary == self.node {
            self.await_nodes.extend(await_nodes);
        }
        if previous_stopped {
            self.forget_grants_before(view.epoch);
        }
        if view.epoch == known && self.storing.is_none() {
            self.refresh_primary();
        }
    }

    pub(super) fn on_view_stored(&mut self, epoch: Epoch) {
        // A view that was overtaken while it was being stored: the later one is on its way.
        if self.storing.as_ref().map(|view| view.epoch) != Some(epoch) {
            return;
        }
        let Some(next) = self.storing.take() else {
            return;
        };
        if self.view.as_ref().map(|view| &view.primary) != Some(&next.primary) {
            self.forgive_primary();
        }
        self.standing = self.standing_in(&next);
        self.view = Some(next);
        self.view_stored_at = self.now;
        self.take_role();
    }

    /// Becomes what the stored view makes of this node.
    pub(super) fn take_role(&mut self) {
        let before = self.role_kind();
        let reads = match &mut self.role {
            Role::Primary(primary) => std::mem::take(&mut primary.reads),
            _ => BTreeSet::new(),
        };
        self.stop_streams();
        let leads = self
            .view
            .as_ref()
            .is_some_and(|view| view.primary == self.node);
        self.role = match &self.view {
            None => Role::Idle,
            Some(_) if leads && (!self.may_lead() || self.bars_primacy()) => Role::Idle,
            Some(_) if leads => Role::Primary(Box::new(self.new_primary(reads.clone()))),
            Some(_) => Role::Follower(Follower::new(self.now, self.timing.heartbeat)),
        };
        match &self.role {
            Role::Primary(_) => {
                self.drop_connection();
                self.open_epoch();
                self.tell_view();
            }
            Role::Follower(_) => {
                self.refuse_reads(reads);
                self.follow();
            }
            Role::Idle => {
                self.refuse_reads(reads);
                self.drop_connection();
            }
        }
        let after = self.role_kind();
        if before != after {
            self.outputs.push(Output::Role(after));
        }
        self.answer_hellos();
    }

    /// Whether `view` is another one of the epoch that is stored, or being stored. What was given up
    /// may be told later than the view: it is not looked at.
    fn contradicts(&self, view: &View) -> bool {
        let known = self.storing.as_ref().or(self.view.as_ref());
        let same = |known: &View| known.clone().without_loss() == view.clone().without_loss();
        known.is_some_and(|known| !same(known)) && !self.has(Fault::ConflictOverlooked)
    }

    pub(super) fn heard_view(&mut self, session: SessionId, view: View) {
        let epoch = view.epoch;
        let known = self.epoch();
        self.on_view(view, BTreeSet::new(), false);
        if self.connected == Some(session) && epoch <= known {
            self.primary_is_not_ready();
        }
    }
}
