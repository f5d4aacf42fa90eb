//! Telling of what is planned: orders to nodes, and the read-write address.

use std::rc::Rc;

use standby_core::View;
use standby_operator_core::build::view::told_losses;
use standby_operator_core::observe::{Observation, Recorded};
use standby_operator_core::plan::{Action, Plan};

use super::{APPLY_EVERY, HOT, HOT_RETRY_MAX_MS};
use crate::api::{Ask, Purpose, Response, Target};
use crate::operator::stream::Orders;
use crate::world::{Push, World};

/// The view as nodes are told it: with what was ever given up.
fn told(view: &View, observation: &Observation) -> View {
    View {
        loss: told_losses(&observation.losses),
        ..view.clone()
    }
}

impl World {
    pub(super) fn order(&mut self, which: usize, observation: &Observation, plan: &Plan) {
        let pods = self.operators[which].cache.pods.1.clone();
        let push = plan
            .actions
            .iter()
            .find_map(|planned| match &planned.action {
                Action::Push {
                    await_nodes,
                    previous_stopped,
                } => Some(Rc::new(Push {
                    view: observation.view().map(|view| told(view, observation)),
                    await_nodes: await_nodes.clone(),
                    previous_stopped: *previous_stopped,
                    peers: pods
                        .iter()
                        .filter_map(|(name, pod)| Some((name.clone(), pod.ip?)))
                        .collect(),
                })),
                _ => None,
            });
        let Some(push) = push else { return };
        let step_down = plan
            .actions
            .iter()
            .find_map(|planned| match &planned.action {
                Action::StepDown { node, epoch } => Some((node.clone(), *epoch)),
                _ => None,
            });
        let Some(actor) = &self.operators[which].actor else {
            return;
        };
        let names: Vec<String> = actor.streams.keys().cloned().collect();
        for name in names {
            let step_down = step_down.as_ref().filter(|(node, _)| *node == name);
            let orders = Orders {
                push: Some(push.clone()),
                step_down: step_down.map(|(_, epoch)| *epoch),
            };
            self.give_orders(which, &name, orders);
        }
    }

    pub(super) fn announce(&mut self, which: usize, plan: &Plan) {
        let now = self.operator_now(which);
        let pods = self.operators[which].cache.pods.1.clone();
        let wanted: Option<Target> =
            plan.actions
                .iter()
                .find_map(|planned| match &planned.action {
                    Action::Announce { node, .. } => {
                        let ip = pods.get(node).and_then(|pod| pod.ip);
                        Some(ip.map(|ip| (node.clone(), ip)))
                    }
                    Action::Withdraw => Some(None),
                    _ => None,
                });
        let Some(target) = wanted else { return };
        let stands = self.operators[which].cache.slice.1;
        let Some(actor) = &mut self.operators[which].actor else {
            return;
        };
        if actor.announcing.is_none()
            && actor.slice_version.is_some()
            && stands > actor.slice_version
        {
            // Somebody else wrote it: another operator may have moved on.
            (actor.announced, actor.slice_version) = (None, stands);
            actor.recorded = Recorded::Unknown;
            return self.wake(which);
        }
        let written = actor
            .announced
            .as_ref()
            .is_some_and(|(is, at)| *is == target && now.since(*at) < APPLY_EVERY);
        if written || actor.announcing.is_some() || !actor.announce_retry.may(now) {
            return;
        }
        actor.announcing = Some(target.clone());
        let version = actor.slice_version;
        self.call(
            which,
            Purpose::Announce,
            Ask::WriteSlice(target, version),
            HOT,
        );
    }

    pub(in crate::operator) fn announced(&mut self, which: usize, response: &Response) {
        let now = self.operator_now(which);
        let Some(actor) = &mut self.operators[which].actor else {
            return;
        };
        let Some(target) = actor.announcing.take() else {
            return;
        };
        match response {
            Response::Written(version) => {
                actor.slice_version = Some(*version);
                if let Some((name, _)) = &target {
                    actor.memory.announced(name, now);
                }
                actor.announced = Some((target, now));
                actor.announce_retry.note(true, now, HOT_RETRY_MAX_MS);
            }
            failed => {
                if !matches!(failed, Response::Timeout) {
                    // Somebody else wrote it, or took it away.
                    actor.slice_version = None;
                }
                // It may have been written, without an answer: what stands there is not known.
                actor.announced = None;
                actor.announce_retry.note(false, now, HOT_RETRY_MAX_MS);
            }
        }
        self.wake(which);
    }
}
