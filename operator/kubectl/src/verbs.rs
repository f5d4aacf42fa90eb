//! From a verb to the documents that answer it.

use std::io::Write;

use jiff::Timestamp;
use serde::Serialize;
use standby_api::{OrderOutcome, StandbyCluster};

use crate::cli::{Format, How, Look, Nodes, Promote, Recover, Report, Status, Verb};
use crate::document::{ListDocument, PlanDocument, StatusDocument, WhyDocument};
use crate::error::Result;
use crate::orders::{self, Change, Consent, Loss, Order};
use crate::output::Output;
use crate::render::Show;
use crate::shell::{Shell, act, report, watch};

/// The exit code of an order that the operator refused or let lapse.
const REFUSED: u8 = 4;

/// Carries out a verb, and returns the exit code.
pub async fn carry_out<W: Write>(shell: &Shell, verb: Verb, output: &mut Output<W>) -> Result<u8> {
    match verb {
        Verb::Status(Status { look, watch: true }) => {
            let cluster = shell.find(look.cluster.as_deref()).await?;
            watch::watch(shell, cluster, output).await?;
            Ok(0)
        }
        Verb::Status(Status { look, .. }) => {
            let operators = shell.operators(Timestamp::now()).await;
            let document =
                |cluster: &StandbyCluster| StatusDocument::new(cluster, operators.clone());
            show(shell, &look, "Status", document, output).await
        }
        Verb::Plan(look) => show(shell, &look, "Plan", PlanDocument::new, output).await,
        Verb::Why(look) => show(shell, &look, "Why", WhyDocument::new, output).await,
        Verb::Report(wanted) => pack(shell, &wanted, output).await,
        // Needs no API server, and has been done.
        Verb::Completion { .. } => Ok(0),
        change => {
            let (cluster, order, how) = ordered(shell, change).await?;
            give(shell, cluster.as_deref(), order, &how, output).await
        }
    }
}

async fn show<W: Write, D>(
    shell: &Shell,
    look: &Look,
    kind: &str,
    document: impl Fn(&StandbyCluster) -> D,
    output: &mut Output<W>,
) -> Result<u8>
where
    D: Serialize + Show,
    ListDocument<D>: Show,
{
    if look.all_namespaces {
        let all = shell.list(None).await?;
        let items = all.iter().map(document).collect();
        output.document(&ListDocument::new(kind, items))?;
    } else {
        let cluster = shell.find(look.cluster.as_deref()).await?;
        output.document(&document(&cluster))?;
    }
    Ok(0)
}

async fn pack<W: Write>(shell: &Shell, wanted: &Report, output: &mut Output<W>) -> Result<u8> {
    let cluster = shell.find(wanted.cluster.as_deref()).await?;
    let what = report::Wanted {
        log_lines: wanted.log_lines,
        operator_namespace: wanted.operator_namespace.clone(),
    };
    let now = Timestamp::now();
    let written = report::report(shell, &cluster, &what, now, wanted.file.as_deref()).await?;
    output.document(&written)?;
    Ok(0)
}

/// The cluster, the order and how it is given.
async fn ordered(shell: &Shell, verb: Verb) -> Result<(Option<String>, Order, How)> {
    let ordered = match verb {
        Verb::Switchover(given) => (given.cluster, Order::Switchover { to: given.to }, given.how),
        Verb::Promote(given) => promote(shell, given).await?,
        Verb::Recover(given) => recover(shell, given).await?,
        Verb::Fence(given) => {
            let cluster = orders::cluster_of(&given.nodes)?;
            let order = Order::Fence {
                nodes: given.nodes,
                stop_writes: given.stop_writes,
            };
            (Some(cluster), order, given.how)
        }
        Verb::Unfence(given) => {
            let (cluster, nodes) = which(given.which)?;
            (cluster, Order::Unfence { nodes }, given.how)
        }
        Verb::Restart(given) => {
            let (cluster, nodes) = which(given.which)?;
            let pods = Vec::new();
            (cluster, Order::Restart { nodes, pods }, given.how)
        }
        Verb::Pause(given) => (given.cluster, Order::Pause(true), given.how),
        Verb::Resume(given) => (given.cluster, Order::Pause(false), given.how),
        Verb::Hibernate(given) => (given.cluster, Order::Hibernate(true), given.how),
        Verb::Wake(given) => (given.cluster, Order::Hibernate(false), given.how),
        Verb::Status(_)
        | Verb::Plan(_)
        | Verb::Why(_)
        | Verb::Report(_)
        | Verb::Completion { .. } => {
            unreachable!("verbs that change nothing have been carried out")
        }
    };
    Ok(ordered)
}

/// The cluster of some nodes, or the one whose nodes are all meant.
fn which(nodes: Nodes) -> Result<(Option<String>, Option<Vec<String>>)> {
    if nodes.all {
        return Ok((nodes.cluster, None));
    }
    let cluster = orders::cluster_of(&nodes.nodes)?;
    Ok((Some(cluster), Some(nodes.nodes)))
}

async fn promote(shell: &Shell, given: Promote) -> Result<(Option<String>, Order, How)> {
    let loss = match (given.loses_up_to, given.confirm, given.reason) {
        (Some(loses_up_to), Some(confirm), Some(reason)) if given.accept_data_loss => {
            let by = shell.who().await?;
            let consent = Consent {
                confirm,
                by,
                reason,
            };
            Some(Loss {
                consent,
                loses_up_to,
            })
        }
        _ => None,
    };
    let order = Order::Promote {
        node: given.node,
        loss,
    };
    Ok((Some(given.cluster), order, given.how))
}

async fn recover(shell: &Shell, given: Recover) -> Result<(Option<String>, Order, How)> {
    let by = shell.who().await?;
    let consent = Consent {
        confirm: given.confirm,
        by,
        reason: given.reason,
    };
    let order = Order::Recover {
        consent,
        loses_up_to: given.loses_up_to,
    };
    Ok((Some(given.cluster), order, given.how))
}

/// Gives an order, says so, and waits for the answer where that was asked for.
async fn give<W: Write>(
    shell: &Shell,
    cluster: Option<&str>,
    order: Order,
    how: &How,
    output: &mut Output<W>,
) -> Result<u8> {
    let text = output.format() == Format::Text;
    let costs = matches!(
        order,
        Order::Promote { loss: Some(_), .. } | Order::Recover { .. }
    );
    let first = |change: &Change| {
        if text && costs {
            warn(change);
        }
    };
    let mut written = act::write(shell, cluster, order, how.dry_run, first).await?;
    if !how.wait {
        output.document(&written.document)?;
        return Ok(0);
    }
    if text {
        // People see what was ordered while they wait.
        output.document(&written.document)?;
    }
    let outcome = act::wait(shell, &written, how.timeout).await?;
    let code = match outcome.outcome {
        OrderOutcome::Done | OrderOutcome::Accepted => 0,
        OrderOutcome::Refused | OrderOutcome::Void => REFUSED,
    };
    if text {
        output.write(&crate::render::outcome(&outcome))?;
    } else {
        written.document.outcome = Some(outcome);
        output.document(&written.document)?;
    }
    Ok(code)
}

/// Says what an order costs before it is given. Nothing stops when nobody can hear it.
fn warn(change: &Change) {
    for note in &change.notes {
        let _ = writeln!(std::io::stderr(), "warning: {note}");
    }
}
