//! `status` as text: one cluster in full, or one line for each.

use jiff::Timestamp;
use standby_api::{
    DataLoss, FailoverStatus, NodeStatus, OptionStatus, OrderStatus, StandbyClusterStatus, names,
};

use super::table::{NONE, one_line, or_none, pairs, table, yes_no};
use super::{NO_CLUSTER, age, standing};
use crate::document::{Head, OperatorDocument, StatusDocument};
use crate::orders::command;

/// One cluster in full.
pub(super) fn status(document: &StatusDocument, now: Timestamp) -> String {
    let status = &document.status;
    let mut sections = vec![summary(document, now)];
    if !status.conditions.is_empty() {
        sections.push(conditions(status, now));
    }
    if !status.nodes.is_empty() {
        sections.push(nodes(document, now));
    }
    sections.extend(options(&document.head, &status.options));
    sections.extend(failovers(&status.failovers, now));
    sections.extend(orders(&status.orders, now));
    sections.extend(losses(&status.data_loss, now));
    sections.join("\n")
}

/// One line for each cluster.
pub(super) fn clusters(documents: &[StatusDocument], now: Timestamp) -> String {
    if documents.is_empty() {
        return NO_CLUSTER.to_owned();
    }
    let rows = documents.iter().map(|document| {
        let status = &document.status;
        let epoch = status.epoch.map(|epoch| epoch.to_string());
        let created = document.created.map(|then| age(then, now));
        vec![
            document.head.namespace.clone(),
            document.head.name.clone(),
            condition(status, names::CONDITION_READY),
            or_none(status.phase.as_deref()),
            or_none(status.primary.as_deref()),
            or_none(status.synchronous_standby.as_deref()),
            or_none(status.nodes_ready.as_deref()),
            condition(status, names::CONDITION_SAFE),
            or_none(epoch.as_deref()),
            or_none(created.as_deref()),
        ]
    });
    let header = [
        "NAMESPACE",
        "NAME",
        "READY",
        "STATUS",
        "PRIMARY",
        "SYNC-STANDBY",
        "REPLICAS",
        "SAFE",
        "EPOCH",
        "AGE",
    ];
    table(&header, rows)
}

fn condition(status: &StandbyClusterStatus, kind: &str) -> String {
    let found = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind);
    or_none(found.map(|condition| condition.status.as_str()))
}

fn summary(document: &StatusDocument, now: Timestamp) -> String {
    let (asked, status) = (&document.asked, &document.status);
    let instances = match asked.instances {
        1 => "1 instance".to_owned(),
        more => format!("{more} instances"),
    };
    let what = format!(
        "{}: {:?}, {instances}, {:?}, failover {:?}",
        document.head.full_name(),
        asked.interface,
        asked.durability,
        asked.failover_mode,
    );
    let unseen = || "the operator has not looked at it yet".to_owned();
    let mut rows = vec![
        ("Cluster", what),
        ("Status", status.phase.clone().unwrap_or_else(unseen)),
    ];
    rows.extend(status.why.clone().map(|why| ("Why", why)));
    rows.push(("View", view(status)));
    rows.push(("Nodes ready", or_none(status.nodes_ready.as_deref())));
    rows.extend(operators(document.operators.as_deref(), now).map(|text| ("Operator", text)));
    if asked.paused {
        let text = "yes: the operator changes nothing, and there is no failover";
        rows.push(("Paused", text.into()));
    }
    if asked.hibernated {
        let text = "yes: `kubectl standby wake` starts it again";
        rows.push(("Hibernated", text.into()));
    }
    if !asked.fenced.is_empty() {
        rows.push(("Fenced", asked.fenced.join(", ")));
    }
    let standing = standing(&document.orders);
    if !standing.is_empty() {
        rows.push(("Ordered", standing));
    }
    if !document.current && status.observed_generation.is_some() {
        let text = "the specification has changed since the operator looked at it last";
        rows.push(("Note", text.into()));
    }
    pairs(rows)
}

fn view(status: &StandbyClusterStatus) -> String {
    let (Some(epoch), Some(primary)) = (status.epoch, &status.primary) else {
        return "none is recorded".into();
    };
    if status.synchronous.is_empty() {
        return format!("epoch {epoch}: primary {primary}, nobody synchronous");
    }
    format!(
        "epoch {epoch}: primary {primary}, synchronous {}",
        status.synchronous.join(", ")
    )
}

/// Who leads; none: it could not be looked at.
fn operators(operators: Option<&[OperatorDocument]>, now: Timestamp) -> Option<String> {
    let operators = operators?;
    let leading: Vec<String> = operators
        .iter()
        .filter(|operator| operator.leads)
        .map(|operator| {
            let holder = or_none(operator.holder.as_deref());
            format!("{}/{holder} leads", operator.namespace)
        })
        .collect();
    if !leading.is_empty() {
        return Some(leading.join(", "));
    }
    let last = operators
        .iter()
        .filter_map(|operator| operator.renewed)
        .max();
    let since = last.map_or(String::new(), |last| format!(" for {}", age(last, now)));
    Some(format!(
        "NONE leads{since}: what stands here may be old, and nothing is failed over"
    ))
}

fn conditions(status: &StandbyClusterStatus, now: Timestamp) -> String {
    let rows = status.conditions.iter().map(|condition| {
        vec![
            condition.type_.clone(),
            condition.status.clone(),
            condition.reason.clone(),
            age(condition.last_transition_time.0, now),
            condition.message.clone(),
        ]
    });
    table(&["CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE"], rows)
}

fn nodes(document: &StatusDocument, now: Timestamp) -> String {
    let row = |node: &NodeStatus| {
        let role = node.role.as_str();
        let fenced = document.asked.fenced.contains(&node.name);
        let since = node.since.as_ref().map(|since| age(since.0, now));
        let lag = node.lag.map(|lag| lag.to_string());
        vec![
            node.name.clone(),
            if fenced {
                format!("{role}, fenced")
            } else {
                role.to_owned()
            },
            yes_no(node.healthy),
            or_none(since.as_deref()),
            or_none(lag.as_deref()),
            or_none(node.host.as_deref()),
            or_none(node.zone.as_deref()),
            yes_no(node.promotable),
            node.reason.clone(),
        ]
    };
    let header = [
        "NODE",
        "ROLE",
        "HEALTHY",
        "SINCE",
        "LAG",
        "HOST",
        "ZONE",
        "PROMOTABLE",
        "REASON",
    ];
    table(&header, document.status.nodes.iter().map(row))
}

/// What a person can do now; none: nobody is needed.
pub(super) fn options(head: &Head, options: &[OptionStatus]) -> Option<String> {
    if options.is_empty() {
        return None;
    }
    let mut lines = vec!["A person is needed. What can be done now:\n".to_owned()];
    for option in options {
        let node = option.node.as_deref().unwrap_or_default();
        let what = format!("{} {node}", option.action);
        lines.push(format!(
            "  {}: {}\n",
            what.trim_end(),
            one_line(&option.cost)
        ));
        // The plugin's own command where it has one; the operator names what works without it.
        let command = command(&head.full_name(), option);
        let command = command.or_else(|| option.command.as_deref().map(one_line));
        lines.extend(command.map(|command| format!("      {command}\n")));
    }
    Some(lines.concat())
}

fn failovers(failovers: &[FailoverStatus], now: Timestamp) -> Option<String> {
    if failovers.is_empty() {
        return None;
    }
    let ms = |time: Option<i64>| time.map_or(NONE.to_owned(), |ms| format!("{ms}ms"));
    let rows = failovers.iter().map(|failover| {
        vec![
            failover.epoch.to_string(),
            age(failover.time.0, now),
            failover.from.clone(),
            failover.to.clone(),
            failover.fault.clone(),
            ms(failover.steps.detected_ms),
            ms(failover.steps.view_recorded_ms),
            ms(failover.steps.announced_ms),
            ms(failover.steps.promoted_ms),
            ms(failover.steps.synchronous_again_ms),
            ms(failover.total_ms),
        ]
    });
    let header = [
        "FAILOVER",
        "AGO",
        "FROM",
        "TO",
        "FAULT",
        "DETECTED",
        "RECORDED",
        "ANNOUNCED",
        "PROMOTED",
        "SYNCHRONOUS",
        "TOTAL",
    ];
    Some(table(&header, rows))
}

fn orders(orders: &[OrderStatus], now: Timestamp) -> Option<String> {
    if orders.is_empty() {
        return None;
    }
    let rows = orders.iter().map(|order| {
        vec![
            order.order.clone(),
            format!("{:?}", order.outcome),
            age(order.time.0, now),
            order.value.clone(),
            order.reason.clone(),
        ]
    });
    Some(table(&["ORDER", "OUTCOME", "AGO", "VALUE", "REASON"], rows))
}

fn losses(losses: &[DataLoss], now: Timestamp) -> Option<String> {
    if losses.is_empty() {
        return None;
    }
    let rows = losses.iter().map(|loss| {
        let up_to = loss
            .loses_up_to
            .map_or("nobody knows where".to_owned(), |index| index.to_string());
        vec![
            loss.epoch.to_string(),
            age(loss.time.0, now),
            loss.node.clone(),
            format!("after {} up to {up_to}", loss.from),
            loss.by.clone(),
            loss.why.clone(),
        ]
    });
    let header = ["DATA-LOSS", "AGO", "PROMOTED", "LOST", "BY", "WHY"];
    Some(table(&header, rows))
}
