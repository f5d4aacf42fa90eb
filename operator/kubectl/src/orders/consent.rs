//! Promotions and recoveries that a person decides, and the consent that goes with those which may
//! lose acknowledged writes. What may be lost is what the operator's options say; it is never guessed.

use kube::ResourceExt;
use serde::Serialize;
use standby_api::{OptionStatus, StandbyCluster, StandbyClusterStatus, names};

use super::{Change, Consent, Goal, Loss, awake, epoch, full_name, node_of};
use crate::error::{Error, Result};

/// The longest reason, in characters: with the rest of the consent it must fit into the status.
pub const REASON_LENGTH_MAX: usize = 500;
/// The option that promotes a node which may lack acknowledged writes.
const ACTION_LOSS: &str = "acceptDataLoss";
/// The option that promotes a node which has everything.
const ACTION_PROMOTE: &str = "promote";
/// The option that lets a node have a role again.
const ACTION_UNFENCE: &str = "unfence";
/// The option that continues a lost view.
const ACTION_RECOVERY: &str = "acceptRecovery";

/// The value of `standby.dev/accept-data-loss`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LossOrder<'a> {
    cluster: &'a str,
    epoch: i64,
    node: &'a str,
    loses_up_to: i64,
    by: &'a str,
    why: &'a str,
}

/// The value of `standby.dev/accept-recovery`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RecoveryOrder<'a> {
    cluster: &'a str,
    epoch: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    loses_up_to: Option<i64>,
    by: &'a str,
    why: &'a str,
}

/// Promotes a node that has every acknowledged write.
pub(super) fn promote(cluster: &StandbyCluster, node: &str) -> Result<Change> {
    let status = awake(cluster, "changed")?;
    let row = node_of(cluster, status, node)?;
    let offered = option(status, ACTION_PROMOTE, Some(node));
    if status.primary.as_deref() == Some(node) && offered.is_none() {
        let message = format!("{node} is primary already");
        return Ok(Change::new("promote", message, Goal::Nothing));
    }
    if !row.promotable && offered.is_none() {
        return Err(refuse(cluster, status, node, &row.promotable_reason));
    }
    if offered.is_none() && holds(status, names::CONDITION_AVAILABLE) {
        return Err(Error::Refused {
            why: "the primary works: there is nothing to decide".into(),
            instead: Some(format!(
                "for a planned move: kubectl standby -n {} switchover {} --to {node}",
                cluster.namespace().unwrap_or_default(),
                cluster.name_any(),
            )),
        });
    }
    let epoch = match offered.and_then(|option| option.epoch) {
        Some(epoch) => epoch,
        None => epoch(cluster, status)?,
    };
    let value = format!("{node}@{epoch}");
    let message = format!("{node} becomes primary, in epoch {epoch}, without losing anything");
    let goal = Goal::answer(names::ANNOTATION_PROMOTE, &value);
    let change =
        Change::new("promote", message, goal).annotate(names::ANNOTATION_PROMOTE, Some(value));
    Ok(match offered {
        Some(option) => change.note(option.cost.clone()),
        None => change,
    })
}

/// Why a node cannot be promoted without consent, and how to consent.
fn refuse(
    cluster: &StandbyCluster,
    status: &StandbyClusterStatus,
    node: &str,
    reason: &str,
) -> Error {
    let Some(option) = option(status, ACTION_LOSS, Some(node)) else {
        return Error::Refused {
            why: format!("{node} cannot be promoted now: {reason}"),
            instead: Some(if status.options.is_empty() {
                "`kubectl standby why` tells what could take over; no person's decision is \
                 awaited now"
                    .into()
            } else {
                "`kubectl standby status` lists what can be done now".into()
            }),
        };
    };
    let command = command(&full_name(cluster), option).unwrap_or_default();
    Error::Refused {
        why: format!(
            "{node} may lack acknowledged writes ({reason}). What it would cost: {}",
            option.cost
        ),
        instead: Some(format!("if that must be: {command}")),
    }
}

/// The plugin's command for an option of the operator, of the cluster `NAMESPACE/NAME`; none: the
/// plugin has none.
#[must_use]
pub fn command(cluster: &str, option: &OptionStatus) -> Option<String> {
    let node = option.node.as_deref();
    let words = match (option.action.as_str(), node) {
        (ACTION_PROMOTE, Some(node)) => format!("promote {cluster} {node}"),
        (ACTION_UNFENCE, Some(node)) => {
            let namespace = cluster
                .split_once('/')
                .map_or("", |(namespace, _)| namespace);
            format!("unfence {node} -n {namespace}")
        }
        (ACTION_LOSS, Some(node)) => {
            let index = option.loses_up_to.map(|index| index.to_string());
            format!(
                "promote {cluster} {node} --accept-data-loss --loses-up-to {} --cluster {cluster} \
                 --reason TEXT",
                index.as_deref().unwrap_or("INDEX")
            )
        }
        (ACTION_RECOVERY, _) => {
            let index = option.loses_up_to;
            let loss = index.map_or_else(String::new, |index| format!(" --loses-up-to {index}"));
            format!("recover {cluster}{loss} --cluster {cluster} --reason TEXT")
        }
        _ => return None,
    };
    Some(format!("kubectl standby {words}"))
}

fn holds(status: &StandbyClusterStatus, kind: &str) -> bool {
    status
        .conditions
        .iter()
        .any(|condition| condition.type_ == kind && condition.status == "True")
}

/// Promotes a node that may lack acknowledged writes.
pub(super) fn promote_with_loss(
    cluster: &StandbyCluster,
    node: &str,
    loss: &Loss,
) -> Result<Change> {
    check(cluster, &loss.consent)?;
    let status = awake(cluster, "changed")?;
    let row = node_of(cluster, status, node)?;
    if row.promotable {
        return Err(Error::Refused {
            why: format!("nothing needs to be lost: {node} can be promoted without"),
            instead: Some("leave out --accept-data-loss".into()),
        });
    }
    let Some(option) = option(status, ACTION_LOSS, Some(node)) else {
        return Err(Error::Refused {
            why: format!(
                "the operator does not offer to promote {node} with a loss now ({})",
                row.promotable_reason
            ),
            instead: Some("`kubectl standby status` lists what can be done now".into()),
        });
    };
    enough(option, Some(loss.loses_up_to))?;
    let epoch = match option.epoch {
        Some(epoch) => epoch,
        None => epoch(cluster, status)?,
    };
    let value = serde_json::to_string(&LossOrder {
        cluster: &full_name(cluster),
        epoch,
        node,
        loses_up_to: loss.loses_up_to,
        by: &loss.consent.by,
        why: &loss.consent.reason,
    })?;
    let message = format!(
        "{node} becomes primary; what it lacks, up to index {} at most, is lost",
        loss.loses_up_to
    );
    let goal = Goal::answer(names::ANNOTATION_ACCEPT_DATA_LOSS, &value);
    let mut change = Change::new("promote", message, goal)
        .annotate(names::ANNOTATION_ACCEPT_DATA_LOSS, Some(value))
        .note(option.cost.clone());
    if option.loses_up_to.is_none() {
        change = change.note("nobody can tell how much may be lost");
    }
    Ok(change.note(format!(
        "recorded for ever as the consent of {}",
        loss.consent.by
    )))
}

/// Whether as much is accepted as may be lost.
fn enough(option: &OptionStatus, accepted: Option<i64>) -> Result<()> {
    let Some(must) = option.loses_up_to else {
        return Ok(());
    };
    if accepted.is_some_and(|accepted| accepted >= must) {
        return Ok(());
    }
    let was = accepted.map_or_else(|| "left out".to_owned(), |index| index.to_string());
    Err(Error::Refused {
        why: format!(
            "--loses-up-to must be at least {must}, was {was}: {}",
            option.cost
        ),
        instead: Some(format!("if that must be, say --loses-up-to {must}")),
    })
}

/// Continues a lost view.
pub(super) fn recover(
    cluster: &StandbyCluster,
    given: &Consent,
    loses_up_to: Option<i64>,
) -> Result<Change> {
    check(cluster, given)?;
    let status = awake(cluster, "recovered")?;
    let Some(option) = option(status, ACTION_RECOVERY, None) else {
        return Err(Error::Refused {
            why: "no view was lost that waits for a person".into(),
            instead: Some("`kubectl standby status` lists what can be done now".into()),
        });
    };
    enough(option, loses_up_to)?;
    let epoch = match option.epoch {
        Some(epoch) => epoch,
        None => epoch(cluster, status)?,
    };
    let value = serde_json::to_string(&RecoveryOrder {
        cluster: &full_name(cluster),
        epoch,
        loses_up_to,
        by: &given.by,
        why: &given.reason,
    })?;
    let message = format!("the view is continued above epoch {epoch}");
    let goal = Goal::answer(names::ANNOTATION_ACCEPT_RECOVERY, &value);
    Ok(Change::new("recover", message, goal)
        .annotate(names::ANNOTATION_ACCEPT_RECOVERY, Some(value))
        .note(option.cost.clone())
        .note(format!("recorded for ever as the consent of {}", given.by)))
}

/// Whether the person means this cluster, and says why.
fn check(cluster: &StandbyCluster, consent: &Consent) -> Result<()> {
    let is = full_name(cluster);
    if consent.confirm != is {
        return Err(Error::Refused {
            why: format!(
                "--cluster must name the cluster this is about, {is}, was {}",
                consent.confirm
            ),
            instead: Some("look again whether it is the right cluster".into()),
        });
    }
    let length = consent.reason.trim().chars().count();
    if length == 0 || length > REASON_LENGTH_MAX {
        return Err(Error::Usage(format!(
            "--reason must have 1 to {REASON_LENGTH_MAX} characters, has {length}"
        )));
    }
    Ok(())
}

fn option<'a>(
    status: &'a StandbyClusterStatus,
    action: &str,
    node: Option<&str>,
) -> Option<&'a OptionStatus> {
    status.options.iter().find(|option| {
        option.action == action && (node.is_none() || option.node.as_deref() == node)
    })
}
