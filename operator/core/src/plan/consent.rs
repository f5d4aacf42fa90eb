//! Consent of people to what no rule allows by itself: promoting a node that may lack acknowledged
//! writes, and continuing a lost view without everybody (V10). Whether a consent holds is decided here
//! alone; the API server checks it once more.

use standby_api::{DataLoss, names};
use standby_core::{Index, NodeId, View};

use super::handover;
use crate::limits;
use crate::memory::Memory;
use crate::observe::{NodeFacts, NodeReport, Observation};
use crate::orders::{LossConsent, RecoveryConsent};

/// A loss that a person accepted, as it is recorded with the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedLoss {
    /// Who is promoted.
    pub node: NodeId,
    /// What is kept for ever.
    pub record: DataLoss,
}

impl AcceptedLoss {
    /// The highest index that may be lost.
    #[must_use]
    pub fn up_to(&self) -> Index {
        let up_to = self.record.loses_up_to.unwrap_or_default();
        Index(u64::try_from(up_to).unwrap_or_default())
    }
}

/// The highest index that may have been acknowledged, as far as anybody has ever told this operator: what
/// is known to be committed, and what nodes with every acknowledged write hold.
#[must_use]
pub fn at_risk(observation: &Observation, memory: &Memory, view: &View) -> Index {
    reports(observation)
        .map(|report| known(view, report))
        .fold(memory.highest, Index::max)
}

/// What one report proves may have been acknowledged.
pub(crate) fn known(view: &View, report: &NodeReport) -> Index {
    if view.complete.contains(&report.node) {
        report.commit.max(report.last.index)
    } else {
        report.commit
    }
}

fn reports(observation: &Observation) -> impl Iterator<Item = &NodeReport> {
    let facts = observation.nodes.values();
    facts.filter_map(|facts: &NodeFacts| facts.report.as_ref())
}

/// `<namespace>/<name>`, as a consent must name the cluster.
#[must_use]
pub fn cluster_named(observation: &Observation) -> String {
    let cluster = &observation.cluster;
    format!("{}/{}", cluster.namespace, cluster.name)
}

/// The nodes that could be promoted at the price of what they lack, the one that lacks least first.
#[must_use]
pub fn lacking<'a>(observation: &'a Observation, view: &View) -> Vec<&'a NodeReport> {
    let mut nodes: Vec<&NodeReport> = observation
        .nodes
        .values()
        .filter_map(NodeFacts::live)
        .filter(|report| !view.complete.contains(&report.node))
        .filter(|report| handover::unfit(observation, view, &report.node.name).is_none())
        .collect();
    nodes.sort_by_key(|report| (std::cmp::Reverse(report.last), report.node.clone()));
    nodes
}

/// The loss that a person accepted in this very situation, if that consent holds.
pub(super) fn accepted_loss(
    observation: &Observation,
    memory: &Memory,
    view: &View,
) -> Option<AcceptedLoss> {
    let consent = observation.cluster.orders.accept_loss.as_ref()?;
    check_loss(observation, memory, view, consent).ok()
}

/// Whether a consent to loss holds now, in a situation in which it is needed; or why not.
pub fn check_loss(
    observation: &Observation,
    memory: &Memory,
    view: &View,
    consent: &LossConsent,
) -> Result<AcceptedLoss, String> {
    let cluster = cluster_named(observation);
    if consent.cluster != cluster {
        return Err(format!(
            "cluster must be {cluster:?}, was {:?}",
            consent.cluster
        ));
    }
    if consent.epoch != view.epoch.0 {
        return Err(format!(
            "epoch must be the recorded one, {}, was {}",
            view.epoch, consent.epoch
        ));
    }
    full(observation)?;
    if view.complete.iter().any(|node| {
        node.name == consent.node
            && observation
                .node(&node.name)
                .and_then(NodeFacts::live)
                .is_none_or(|report| report.node == *node)
    }) {
        return Err(format!(
            "{} has every acknowledged write: use {}={}@{}",
            consent.node,
            names::ANNOTATION_PROMOTE,
            consent.node,
            view.epoch
        ));
    }
    if let Some(why) = handover::unfit(observation, view, &consent.node) {
        return Err(why);
    }
    let report = observation.node(&consent.node).and_then(NodeFacts::live);
    let Some(report) = report else {
        return Err(format!("{} cannot be reached", consent.node));
    };
    let highest = at_risk(observation, memory, view);
    if consent.up_to() < highest {
        return Err(format!(
            "losesUpTo must be at least {highest}, the highest entry that may be lost, was {}",
            consent.loses_up_to
        ));
    }
    let most = highest.0.saturating_add(limits::LOSS_BEYOND_KNOWN_MAX);
    if consent.loses_up_to > most {
        return Err(format!(
            "losesUpTo must be at most {most}, far more than is known to exist, was {}",
            consent.loses_up_to
        ));
    }
    Ok(AcceptedLoss {
        node: report.node.clone(),
        record: DataLoss {
            epoch: whole(view.epoch.next().0),
            node: consent.node.clone(),
            from: whole(report.last.index.0),
            loses_up_to: Some(whole(consent.loses_up_to)),
            by: consent.by.clone(),
            why: consent.why.clone(),
            time: time(observation),
        },
    })
}

/// What is kept is never dropped: when no more fits, no more can be consented to.
fn full(observation: &Observation) -> Result<(), String> {
    if observation.losses.len() >= names::LOSSES_MAX {
        return Err(format!(
            "{} losses are recorded already and none is ever dropped: make a new cluster",
            names::LOSSES_MAX
        ));
    }
    Ok(())
}

/// Whether a consent to recovery holds, when the highest view that nodes report is `highest` and, if
/// nobody who can go on has every acknowledged write, `at_risk` may be lost; or why not.
pub fn check_recovery<'a>(
    observation: &'a Observation,
    highest: &View,
    at_risk: Option<Index>,
) -> Option<Result<&'a RecoveryConsent, String>> {
    let consent = observation.cluster.orders.accept_recovery.as_ref()?;
    let cluster = cluster_named(observation);
    if consent.cluster != cluster {
        let given = &consent.cluster;
        return Some(Err(format!("cluster must be {cluster:?}, was {given:?}")));
    }
    if consent.epoch != highest.epoch.0 {
        return Some(Err(format!(
            "epoch must be {}, the highest that nodes report, was {}",
            highest.epoch, consent.epoch
        )));
    }
    if let Some(at_risk) = at_risk.filter(|risk| consent.loses_up_to.is_none_or(|it| it < risk.0)) {
        let given = consent.loses_up_to;
        return Some(Err(format!(
            "losesUpTo must be at least {at_risk}, the highest entry that may be lost, since no node \
             with every write acknowledged in epoch {} can go on; it was {}",
            highest.epoch,
            given.map_or_else(|| "left out".to_owned(), |given| given.to_string())
        )));
    }
    Some(full(observation).map(|()| consent))
}

/// What a recovery without everybody leaves behind.
pub(super) fn recovered(
    observation: &Observation,
    memory: &Memory,
    consent: &RecoveryConsent,
    next: &View,
) -> DataLoss {
    let highest = at_risk(observation, memory, next);
    let from = observation
        .live(&next.primary)
        .map_or(0, |report| report.last.index.0);
    DataLoss {
        epoch: whole(next.epoch.0),
        node: next.primary.name.clone(),
        from: whole(from),
        // Nobody can tell what those who cannot be asked acknowledged: a bound that nothing reaches.
        loses_up_to: Some(whole(
            highest.0.saturating_add(limits::RECOVERY_UNKNOWN_ENTRIES),
        )),
        by: consent.by.clone(),
        why: consent.why.clone(),
        time: time(observation),
    }
}

fn time(observation: &Observation) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(observation.wall)
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
