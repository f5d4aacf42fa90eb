//! Work beside the actor, one call after the other, as `operator/src/reconcile/apply.rs` does it.

use standby_operator_core::build::pod;
use standby_operator_core::plan::{Action, Plan};
use standby_operator_core::validate::ValidatedCluster;

use super::OperatorEvent;
use crate::api::{Ask, Purpose, Response};
use crate::time::{SECOND, Time};
use crate::world::World;

/// A usual call.
const USUAL: Time = 5 * SECOND;
/// The longest pause after failures, in milliseconds.
const RETRY_MAX_MS: u64 = 10_000;

impl World {
    /// Hands everything that is not hot to the work beside, unless some is under way.
    pub(super) fn beside(&mut self, which: usize, plan: &Plan) {
        let now = self.operator_now(which);
        let Some(actor) = &mut self.operators[which].actor else {
            return;
        };
        if actor.busy || !actor.work_retry.may(now) {
            return;
        }
        let actions = plan.actions.iter().map(|planned| &planned.action);
        let rest: Vec<Action> = actions.filter(|action| !action.is_hot()).cloned().collect();
        if rest.is_empty() {
            return;
        }
        for action in &rest {
            self.report.action(action);
        }
        let Some(actor) = &mut self.operators[which].actor else {
            return;
        };
        actor.work.extend(rest);
        actor.busy = true;
        actor.work_failed = false;
        self.operator_later(which, 0, OperatorEvent::Work);
    }

    /// The next action, or the end.
    pub(super) fn work_goes_on(&mut self, which: usize) {
        let now = self.operator_now(which);
        let Some(actor) = &mut self.operators[which].actor else {
            return;
        };
        let Some(action) = actor.work.front() else {
            actor.busy = false;
            let done = !actor.work_failed;
            actor.work_retry.note(done, now, RETRY_MAX_MS);
            self.wake(which);
            return;
        };
        match action.clone() {
            // Only a live look tells whether the volume can be spared.
            Action::DeleteClaim { .. } => self.call(which, Purpose::Spare, Ask::ReadView, USUAL),
            action => {
                if let Some(ask) = asks(&action, which, self) {
                    self.call(which, Purpose::Work, ask, USUAL);
                    return;
                }
                if let Some(actor) = &mut self.operators[which].actor {
                    actor.work.pop_front();
                }
                self.operator_later(which, 0, OperatorEvent::Work);
            }
        }
    }

    pub(super) fn work_answered(&mut self, which: usize, purpose: Purpose, answer: &Response) {
        let Some(actor) = &mut self.operators[which].actor else {
            return;
        };
        let Some(action) = actor.work.front().cloned() else {
            return;
        };
        if purpose == Purpose::Spare {
            let Action::DeleteClaim { node, uid } = action else {
                return;
            };
            let spare = matches!(answer, Response::View(Some((view, _)))
                if view.complete.iter().all(|complete| complete.name != node));
            if spare {
                self.call(which, Purpose::Work, Ask::DeleteClaim(node, uid), USUAL);
                return;
            }
        }
        // Deleting what is gone, or creating what is there, is done.
        let done = matches!(
            answer,
            Response::Written(_) | Response::NotFound | Response::Conflict | Response::View(_)
        );
        actor.work_failed |= !done;
        actor.work.pop_front();
        self.operator_later(which, 0, OperatorEvent::Work);
    }
}

fn cluster_of(world: &World, which: usize) -> Option<&ValidatedCluster> {
    let actor = world.operators[which].actor.as_ref()?;
    actor.cluster.as_deref()
}

/// What to ask the API server for an action; none when there is nothing to ask.
fn asks(action: &Action, which: usize, world: &mut World) -> Option<Ask> {
    Some(match action {
        Action::CreateClaim { node } => {
            let cluster = cluster_of(world, which)?;
            let (retain, bytes) = (cluster.storage.retain, cluster.storage.size_bytes);
            Ask::CreateClaim(node.clone(), !retain, bytes)
        }
        Action::GrowClaim { node, bytes } => Ask::GrowClaim(node.clone(), *bytes),
        Action::CreatePod { node } => {
            let built_from = pod::built_from(cluster_of(world, which)?);
            Ask::CreatePod(node.clone(), built_from)
        }
        Action::DeletePod { node, uid, force } => Ask::DeletePod(node.clone(), uid.clone(), *force),
        Action::Release => Ask::Release,
        Action::OwnClaim { node } => Ask::OwnClaim(node.clone(), true),
        Action::LabelPod { node, role } => Ask::LabelPod(node.clone(), (*role).to_owned()),
        Action::RetainClaims { nodes } => Ask::OwnClaim(nodes.first()?.clone(), false),
        other => {
            world.report.not_carried_out(other);
            return None;
        }
    })
}
