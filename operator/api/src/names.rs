//! The names that operator, nodes, chart and tests have in common.
//!
//! This module holds constants only; how an object's name follows from its cluster's name is decided
//! where the object is built.

/// The API group of both kinds.
pub const GROUP: &str = "standby.dev";
/// The only version served.
pub const VERSION: &str = "v1alpha1";

/// Label: the `StandbyCluster` an object belongs to.
pub const LABEL_CLUSTER: &str = "standby.dev/cluster";
/// Label: the node (pod name) an object belongs to.
pub const LABEL_INSTANCE: &str = "standby.dev/instance";
/// Label of a pod: `primary`, `synchronous` or `replica`. For people and dashboards; nothing selects
/// by it.
pub const LABEL_ROLE: &str = "standby.dev/role";

/// Value of `app.kubernetes.io/name`.
pub const APP_NAME: &str = "standby";
/// Value of `app.kubernetes.io/managed-by` and of `endpointslice.kubernetes.io/managed-by`.
pub const MANAGED_BY: &str = "standby-operator";
/// Value of `app.kubernetes.io/component` on everything that belongs to storage nodes.
pub const COMPONENT_NODE: &str = "node";
/// Value of `app.kubernetes.io/component` on the operator itself.
pub const COMPONENT_OPERATOR: &str = "operator";

/// Annotation of a volume claim: the cluster identity its volume was made under (V10).
pub const ANNOTATION_CLUSTER_ID: &str = "standby.dev/cluster-id";
/// Annotation of a pod: the hash of what it was built from, to notice a changed specification.
pub const ANNOTATION_BUILT_FROM: &str = "standby.dev/built-from";
/// Annotation of a certificate Secret: when it is to be renewed (RFC 3339).
pub const ANNOTATION_RENEW_AT: &str = "standby.dev/renew-at";
/// Annotation of the CA's Secret set by a person to `true`: put a new CA in its place.
pub const ANNOTATION_ROTATE_CA: &str = "standby.dev/rotate-ca";
/// Annotation of the CA's Secret: since when every certificate has agreed with it (RFC 3339).
pub const ANNOTATION_CA_SETTLED: &str = "standby.dev/ca-settled-at";
/// Annotation of a `StandbyCluster` set by a person, `<pod>@<epoch>`: promote this node now. Answers
/// a cluster in `failover.mode: Manual`; an order for another epoch is void.
pub const ANNOTATION_PROMOTE: &str = "standby.dev/promote";
/// Annotation of a `StandbyCluster` set by a person, `<pod>@<epoch>` or `any@<epoch>`: hand the
/// primary's role to this node, or to the best one (V8). An order for another epoch is void.
pub const ANNOTATION_SWITCHOVER: &str = "standby.dev/switchover";
/// The word that stands for the best node in [`ANNOTATION_SWITCHOVER`].
pub const SWITCHOVER_ANY: &str = "any";
/// Annotation of a `StandbyCluster` set by a person: consent, as JSON, to promote a node that may
/// lack acknowledged writes: `{"cluster":"<namespace>/<name>","epoch":N,"node":"<pod>",
/// "losesUpTo":INDEX,"by":"…","why":"…"}`. Valid for that cluster and epoch, and only if `losesUpTo`
/// is at least the highest index that may be lost as the operator knows it.
pub const ANNOTATION_ACCEPT_DATA_LOSS: &str = "standby.dev/accept-data-loss";
/// Annotation of a `StandbyCluster` set by a person: consent, as JSON, to continue a lost view
/// although some node cannot be asked (V10): as [`ANNOTATION_ACCEPT_DATA_LOSS`] without `node` and
/// `losesUpTo`; `epoch` is the highest one that nodes report.
pub const ANNOTATION_ACCEPT_RECOVERY: &str = "standby.dev/accept-recovery";
/// Annotation of a `StandbyCluster` set by a person: pods, separated by commas, that get no role.
pub const ANNOTATION_FENCE: &str = "standby.dev/fence";
/// Annotation of a `StandbyCluster` set by a person: `<pod>@<pod uid>`, separated by commas: pod
/// objects to be replaced, the primary's after a switchover.
pub const ANNOTATION_RESTART: &str = "standby.dev/restart";
/// Annotation of a `StandbyCluster` set by a person to `true`: the operator watches and reports, and
/// changes nothing.
pub const ANNOTATION_PAUSED: &str = "standby.dev/paused";
/// Annotation of a `StandbyView`, written with the view itself: every loss of data and recovery that
/// was ever consented to, as the JSON of `status.dataLoss`.
pub const ANNOTATION_LOSSES: &str = "standby.dev/data-loss";

/// Finalizer on the `StandbyView`, held while its cluster lives, and on the `StandbyCluster`, held
/// until its volumes are let go of.
pub const FINALIZER_VIEW: &str = "standby.dev/view";

/// The longest name a `StandbyCluster` may have: names and labels of its pods derive from it.
pub const CLUSTER_NAME_LENGTH_MAX: usize = 40;
/// The most nodes a cluster may have.
pub const INSTANCES_MAX: i32 = 9;
/// The most failovers kept in the status.
pub const FAILOVERS_MAX: usize = 10;
/// The most steps that `status.next` tells of.
pub const NEXT_MAX: usize = 16;
/// The most orders of people kept in the status.
pub const ORDERS_MAX: usize = 10;
/// The most options that `status.options` tells of.
pub const OPTIONS_MAX: usize = 16;
/// The most losses of data kept in the status. None is ever dropped: with so many, a further consent
/// is refused.
pub const LOSSES_MAX: usize = 32;

/// Condition: every node runs and the cluster is available and safe.
pub const CONDITION_READY: &str = "Ready";
/// Condition: writes are being accepted.
pub const CONDITION_AVAILABLE: &str = "Available";
/// Condition: losing the primary now would lose nothing.
pub const CONDITION_SAFE: &str = "Safe";
/// Condition: the operator is changing something.
pub const CONDITION_RECONCILING: &str = "Reconciling";
/// Condition: the operator cannot go on without a person.
pub const CONDITION_STALLED: &str = "Stalled";
