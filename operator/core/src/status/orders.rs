//! What people see of their orders, of what they can do, and of what was lost.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use standby_api::{NextStep, OptionStatus, OrderOutcome, OrderStatus, StandbyClusterStatus, names};

use super::{Moment, TEXT_LENGTH_MAX, cut, small};
use crate::plan::{Action, OrderVerdict, Outcome, Plan};

/// The recorded orders with those that stand brought up to date, the newest first. An order that was
/// taken back stays as it was.
pub(super) fn orders(
    plan: &Plan,
    before: Option<&StandbyClusterStatus>,
    moment: Moment,
) -> Vec<OrderStatus> {
    let mut rows = before
        .map(|status| status.orders.clone())
        .unwrap_or_default();
    for verdict in &plan.orders {
        let value = cut(&verdict.value, TEXT_LENGTH_MAX);
        let at = rows
            .iter()
            .position(|row| row.order == verdict.order && row.value == value);
        let was = at.map(|at| rows.remove(at));
        rows.insert(0, row(verdict, value, was.as_ref(), moment));
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.time.0));
    rows.truncate(names::ORDERS_MAX);
    rows
}

fn row(
    verdict: &OrderVerdict,
    value: String,
    was: Option<&OrderStatus>,
    moment: Moment,
) -> OrderStatus {
    // One-shot orders come to an end once; a fence, a pause can be given again in the same words.
    let ended = was.filter(|was| {
        let stands = matches!(verdict.order, "fence" | "paused");
        !stands && matches!(was.outcome, OrderOutcome::Done | OrderOutcome::Void)
    });
    if let Some(ended) = ended {
        return ended.clone();
    }
    let accepted = was.is_some_and(|was| was.outcome == OrderOutcome::Accepted);
    let outcome = match verdict.outcome {
        Outcome::Accepted => OrderOutcome::Accepted,
        Outcome::Done => OrderOutcome::Done,
        Outcome::Refused => OrderOutcome::Refused,
        // Pods that were to be replaced and are gone.
        Outcome::Past if accepted && verdict.order == "restart" => OrderOutcome::Done,
        Outcome::Past => OrderOutcome::Void,
    };
    let time = was
        .filter(|was| was.outcome == outcome)
        .map_or(Time(moment.wall), |was| was.time.clone());
    OrderStatus {
        order: verdict.order.to_owned(),
        value,
        outcome,
        reason: cut(&verdict.reason, TEXT_LENGTH_MAX),
        time,
    }
}

/// What a person can do now.
pub(super) fn options(plan: &Plan) -> Vec<OptionStatus> {
    plan.options
        .iter()
        .map(|choice| OptionStatus {
            action: choice.action.to_owned(),
            node: choice.node.clone(),
            cost: cut(&choice.cost, TEXT_LENGTH_MAX),
            loses_up_to: choice.loses_up_to.map(small),
            epoch: choice.epoch.map(small),
            command: choice
                .command
                .as_ref()
                .map(|command| cut(command, TEXT_LENGTH_MAX)),
        })
        .collect()
}

/// What is about to be done, or would be if the cluster were not paused. What a plan repeats at every
/// look, because it costs nothing when it is already so, is left out.
pub(super) fn next(plan: &Plan) -> Vec<NextStep> {
    let repeated =
        |action: &Action| matches!(action, Action::Push { .. } | Action::Announce { .. });
    let actions = plan.actions.iter().chain(plan.withheld.iter().flatten());
    let now = actions
        .filter(|planned| !repeated(&planned.action))
        .map(|planned| (planned.action.to_string(), &planned.why));
    let later = plan
        .later
        .iter()
        .map(|later| (later.what.clone(), &later.why));
    now.chain(later)
        .map(|(action, why)| NextStep {
            action: cut(&action, TEXT_LENGTH_MAX),
            why: cut(why, TEXT_LENGTH_MAX),
        })
        .take(names::NEXT_MAX)
        .collect()
}
