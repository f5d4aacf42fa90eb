//! What people order by annotations on a `StandbyCluster`, read and checked as text. Whether an order
//! is safe, and what is done about it, is decided in [`crate::plan`].

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use standby_api::names;
use standby_core::{Epoch, Index};

/// An order that names a node and the epoch it was decided in: `<pod>@<epoch>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeOrder {
    /// The pod.
    pub node: String,
    /// The epoch in which the person decided: for another one it is void.
    pub epoch: Epoch,
}

/// Consent to promote a node that may lack acknowledged writes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LossConsent {
    /// `<namespace>/<name>` of the cluster.
    pub cluster: String,
    /// The recorded epoch in which the person decided.
    pub epoch: u64,
    /// The pod to promote.
    pub node: String,
    /// The highest index whose loss is accepted.
    pub loses_up_to: u64,
    /// Who consents.
    pub by: String,
    /// Why.
    pub why: String,
}

impl LossConsent {
    /// The highest index whose loss is accepted.
    #[must_use]
    pub fn up_to(&self) -> Index {
        Index(self.loses_up_to)
    }
}

/// Consent to continue a lost view although some node cannot be asked (V10).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecoveryConsent {
    /// `<namespace>/<name>` of the cluster.
    pub cluster: String,
    /// The highest epoch that nodes report.
    pub epoch: u64,
    /// The highest index whose loss is accepted: needed when nobody who can go on has every
    /// acknowledged write.
    pub loses_up_to: Option<u64>,
    /// Who consents.
    pub by: String,
    /// Why.
    pub why: String,
}

/// Why an order cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Not `<pod>@<epoch>`.
    #[error("it must be <pod>@<epoch>, for example db-2@17")]
    NodeAtEpoch,
    /// Not `<pod>@<uid>, …`.
    #[error("it must be <pod>@<pod uid>, separated by commas; {given:?} is not")]
    PodAtUid {
        /// The part that is wrong.
        given: String,
    },
    /// Neither `true` nor `false`.
    #[error("it must be \"true\" or \"false\"")]
    TrueOrFalse,
    /// No such JSON.
    #[error(
        "it must be JSON such as {{\"cluster\":\"shop/db\",\"epoch\":17,{more}\"by\":\"…\",\"why\":\"…\"}}: {problem}"
    )]
    Json {
        /// The fields beyond those that every consent has.
        more: &'static str,
        /// What the parser says.
        problem: String,
    },
    /// A text that is empty or too long.
    #[error("{field} must have between 1 and {max} characters")]
    Length {
        /// The field.
        field: &'static str,
        /// The most.
        max: usize,
    },
}

/// An order as it stands on the resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The annotation's name without its prefix.
    pub order: &'static str,
    /// Its value.
    pub value: String,
    /// Why it cannot be understood, if it cannot.
    pub error: Option<OrderError>,
}

/// Every order on one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// Promote this node: `failover.mode: Manual`.
    pub promote: Option<NodeOrder>,
    /// Hand the role over, to this node or to [`names::SWITCHOVER_ANY`].
    pub switchover: Option<NodeOrder>,
    /// Promote a node that may lack writes.
    pub accept_loss: Option<LossConsent>,
    /// Continue a lost view without everybody.
    pub accept_recovery: Option<RecoveryConsent>,
    /// Pods that get no role.
    pub fenced: BTreeSet<String>,
    /// Pods, each with the uid of the object that is to be replaced.
    pub restart: BTreeSet<(String, String)>,
    /// Change nothing.
    pub paused: bool,
    /// What stands there, word for word, in order of the annotations' names.
    pub given: Vec<Given>,
}

/// The longest `by` of a consent: the schema's limit.
const BY_LENGTH_MAX: usize = 256;
/// The longest `why` of a consent: the schema's limit.
const WHY_LENGTH_MAX: usize = 1_000;

/// The annotations that are orders.
const ORDERS: [&str; 7] = [
    names::ANNOTATION_ACCEPT_DATA_LOSS,
    names::ANNOTATION_ACCEPT_RECOVERY,
    names::ANNOTATION_FENCE,
    names::ANNOTATION_PAUSED,
    names::ANNOTATION_PROMOTE,
    names::ANNOTATION_RESTART,
    names::ANNOTATION_SWITCHOVER,
];

/// The annotation's name without its prefix.
#[must_use]
pub fn short(annotation: &'static str) -> &'static str {
    annotation
        .strip_prefix("standby.dev/")
        .unwrap_or(annotation)
}

impl Orders {
    /// Reads the orders among the annotations of a `StandbyCluster`. One that cannot be understood is
    /// listed with what is wrong, and otherwise ignored.
    #[must_use]
    pub fn read(annotations: &BTreeMap<String, String>) -> Self {
        let mut orders = Self::default();
        for annotation in ORDERS {
            let Some(value) = annotations.get(annotation).map(|text| text.trim()) else {
                continue;
            };
            // What was taken back by an empty value is not there.
            if value.is_empty() {
                continue;
            }
            let error = orders.take(annotation, value).err();
            orders.given.push(Given {
                order: short(annotation),
                value: value.to_owned(),
                error,
            });
        }
        orders
    }

    fn take(&mut self, annotation: &str, value: &str) -> Result<(), OrderError> {
        match annotation {
            names::ANNOTATION_PROMOTE => self.promote = Some(node_at_epoch(value)?),
            names::ANNOTATION_SWITCHOVER => self.switchover = Some(node_at_epoch(value)?),
            names::ANNOTATION_ACCEPT_DATA_LOSS => {
                let more = "\"node\":\"db-3\",\"losesUpTo\":1234,";
                let consent: LossConsent = json(value, more)?;
                within(&consent.by, &consent.why)?;
                self.accept_loss = Some(consent);
            }
            names::ANNOTATION_ACCEPT_RECOVERY => {
                let consent: RecoveryConsent = json(value, "")?;
                within(&consent.by, &consent.why)?;
                self.accept_recovery = Some(consent);
            }
            names::ANNOTATION_FENCE => self.fenced = parts(value).map(str::to_owned).collect(),
            names::ANNOTATION_RESTART => {
                self.restart = parts(value).map(pod_at_uid).collect::<Result<_, _>>()?;
            }
            names::ANNOTATION_PAUSED => {
                self.paused = match value {
                    "true" => true,
                    "false" => false,
                    _ => return Err(OrderError::TrueOrFalse),
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether this pod gets no role.
    #[must_use]
    pub fn fences(&self, pod: &str) -> bool {
        self.fenced.contains(pod)
    }

    /// Whether exactly this pod object is to be replaced.
    #[must_use]
    pub fn restarts(&self, pod: &str, uid: &str) -> bool {
        self.restart.contains(&(pod.to_owned(), uid.to_owned()))
    }
}

fn parts(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

fn node_at_epoch(value: &str) -> Result<NodeOrder, OrderError> {
    let (node, epoch) = value.split_once('@').ok_or(OrderError::NodeAtEpoch)?;
    let epoch = epoch.parse().map_err(|_| OrderError::NodeAtEpoch)?;
    if node.is_empty() {
        return Err(OrderError::NodeAtEpoch);
    }
    Ok(NodeOrder {
        node: node.to_owned(),
        epoch: Epoch(epoch),
    })
}

fn pod_at_uid(part: &str) -> Result<(String, String), OrderError> {
    match part.split_once('@') {
        Some((pod, uid)) if !pod.is_empty() && !uid.is_empty() => {
            Ok((pod.to_owned(), uid.to_owned()))
        }
        _ => Err(OrderError::PodAtUid {
            given: part.to_owned(),
        }),
    }
}

fn json<'a, T: Deserialize<'a>>(value: &'a str, more: &'static str) -> Result<T, OrderError> {
    serde_json::from_str(value).map_err(|error| OrderError::Json {
        more,
        problem: error.to_string(),
    })
}

fn within(by: &str, why: &str) -> Result<(), OrderError> {
    let fits = |text: &str, max: usize| (1..=max).contains(&text.trim().chars().count());
    if !fits(by, BY_LENGTH_MAX) {
        return Err(OrderError::Length {
            field: "by",
            max: BY_LENGTH_MAX,
        });
    }
    if !fits(why, WHY_LENGTH_MAX) {
        return Err(OrderError::Length {
            field: "why",
            max: WHY_LENGTH_MAX,
        });
    }
    Ok(())
}
