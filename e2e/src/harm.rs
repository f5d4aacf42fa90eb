//! One fault of many, to be done to whoever has a role just now: what `soak` draws from, and what
//! `bench detection` measures.

use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use standby_api::names::SWITCHOVER_ANY;

use crate::cluster::Cluster;
use crate::cluster::control_plane::Program;
use crate::cluster::layout::HostName;
use crate::error::Result;
use crate::faults::{self, Delay, Direction, Fault, host_of};
use crate::product::{
    NODE_CONTAINER, OPERATOR_CONTAINER, Product, leading_operator, operator_pods,
};

/// What can be done to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// SIGKILL to the primary.
    PrimaryKilled,
    /// SIGKILL to the synchronous standby.
    StandbyKilled,
    /// SIGKILL to a replica.
    ReplicaKilled,
    /// SIGSTOP to the primary.
    PrimaryStopped,
    /// SIGSTOP to the standby.
    StandbyStopped,
    /// The primary's host loses power and link.
    PrimaryHostGone,
    /// The standby's host loses power and link.
    StandbyHostGone,
    /// The primary's volume hangs.
    PrimaryFrozen,
    /// The standby's volume hangs.
    StandbyFrozen,
    /// Nothing that the primary's host sends arrives.
    PrimaryMute,
    /// Nothing that is sent to the primary's host arrives.
    PrimaryDeaf,
    /// Primary and standby do not hear each other.
    PairParted,
    /// No operator hears the primary, nor it them.
    OperatorsParted,
    /// The leading operator is killed.
    LeaderKilled,
    /// The leading operator is stopped.
    LeaderStopped,
    /// The API server dies.
    ApiServerKilled,
    /// The primary's pod is deleted.
    PodDeleted,
    /// Somebody orders a switchover.
    Switchover,
    /// The primary's wall clock is hours ahead.
    ClockJumped,
    /// Packets to the primary's host come up to 300 ms late.
    Jitter,
    /// One packet in ten to the primary's host is lost.
    PacketsLost,
    /// The primary gets a fifth of a processor.
    Starved,
    /// The primary's synchronous writes are throttled.
    SlowDisk,
}

/// All of them.
pub const ALL: [Harm; 23] = [
    Harm::PrimaryKilled,
    Harm::StandbyKilled,
    Harm::ReplicaKilled,
    Harm::PrimaryStopped,
    Harm::StandbyStopped,
    Harm::PrimaryHostGone,
    Harm::StandbyHostGone,
    Harm::PrimaryFrozen,
    Harm::StandbyFrozen,
    Harm::PrimaryMute,
    Harm::PrimaryDeaf,
    Harm::PairParted,
    Harm::OperatorsParted,
    Harm::LeaderKilled,
    Harm::LeaderStopped,
    Harm::ApiServerKilled,
    Harm::PodDeleted,
    Harm::Switchover,
    Harm::ClockJumped,
    Harm::Jitter,
    Harm::PacketsLost,
    Harm::Starved,
    Harm::SlowDisk,
];

/// How late packets come at most.
const JITTER_MAX: Duration = Duration::from_millis(300);
/// One packet in so many is lost.
const LOST_EACH: u32 = 10;
/// What a starved process gets, in thousandths of one processor.
const STARVED: u64 = 200;
/// What a slow disk writes, in bytes a second.
const SLOW: u64 = 300_000;
/// How far a clock jumps, in seconds.
const JUMP: i32 = 5 * 3600;

impl Harm {
    /// The name in reports.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// Does it. It lasts as long as what is returned; `faults::heal` undoes the rest.
    pub fn strike<'a>(self, product: &'a Product<'_>) -> BoxFuture<'a, Result<Vec<Fault>>> {
        Box::pin(async move {
            match self.to_node(product).await? {
                Some(faults) => Ok(faults),
                None => Box::pin(self.to_surroundings(product)).await,
            }
        })
    }

    /// What is done to a process or a volume of a node; nothing for the rest.
    async fn to_node(self, product: &Product<'_>) -> Result<Option<Vec<Fault>>> {
        let cluster = product.cluster;
        let fault = match self {
            Self::PrimaryKilled => return kill(cluster, &product.primary().await?),
            Self::StandbyKilled => return kill(cluster, &product.standby().await?),
            Self::ReplicaKilled => return kill(cluster, &product.replica().await?),
            Self::PrimaryStopped => {
                faults::stop_container(cluster, &product.primary().await?, NODE_CONTAINER)?
            }
            Self::StandbyStopped => {
                faults::stop_container(cluster, &product.standby().await?, NODE_CONTAINER)?
            }
            Self::PrimaryFrozen => freeze(product, &product.primary().await?).await?,
            Self::StandbyFrozen => freeze(product, &product.standby().await?).await?,
            Self::ClockJumped => {
                faults::jump_clock(cluster, &product.primary().await?, NODE_CONTAINER, JUMP)?
            }
            Self::Starved => {
                faults::starve(cluster, &product.primary().await?, NODE_CONTAINER, STARVED)?
            }
            Self::SlowDisk => {
                let primary = product.primary().await?;
                let claim = product.claim(&primary).await?;
                faults::throttle(cluster, (&primary, NODE_CONTAINER), &claim, SLOW)?
            }
            _ => return Ok(None),
        };
        Ok(Some(vec![fault]))
    }

    /// What is done to hosts, to the network, to the operator and to Kubernetes.
    async fn to_surroundings(self, product: &Product<'_>) -> Result<Vec<Fault>> {
        let cluster = product.cluster;
        let host =
            async || -> Result<HostName> { Ok(host_of(cluster, &product.primary().await?)?.name) };
        let fault = match self {
            Self::PrimaryHostGone => return power_off(cluster, &product.primary().await?).await,
            Self::StandbyHostGone => return power_off(cluster, &product.standby().await?).await,
            Self::PrimaryMute => {
                faults::one_way(cluster, host().await?, Direction::Outgoing).await?
            }
            Self::PrimaryDeaf => {
                faults::one_way(cluster, host().await?, Direction::Incoming).await?
            }
            Self::PairParted => {
                let (primary, standby) = (product.primary().await?, product.standby().await?);
                let cuts = faults::part_pods_both(cluster, &primary, &standby).await?;
                return Ok(cuts.into());
            }
            Self::OperatorsParted => return part_operators(product).await,
            Self::LeaderStopped => {
                let leader = leading_operator(cluster).await?;
                faults::stop_container(cluster, &leader, OPERATOR_CONTAINER)?
            }
            Self::Jitter => {
                let delay = Delay {
                    least: Duration::ZERO,
                    most: JITTER_MAX,
                };
                faults::delay_packets(cluster, host().await?, delay).await?
            }
            Self::PacketsLost => faults::lose_packets(cluster, host().await?, LOST_EACH).await?,
            _ => return self.by_order(product).await,
        };
        Ok(vec![fault])
    }

    /// What needs no undoing: somebody dies, or somebody wants something.
    async fn by_order(self, product: &Product<'_>) -> Result<Vec<Fault>> {
        let cluster = product.cluster;
        match self {
            Self::LeaderKilled => {
                let leader = leading_operator(cluster).await?;
                faults::kill_container(cluster, &leader, OPERATOR_CONTAINER)?;
            }
            Self::ApiServerKilled => Program::ApiServer.kill(cluster.layout).await?,
            Self::PodDeleted => delete_primary(product).await?,
            Self::Switchover => {
                let epoch = product.status().await?.epoch.unwrap_or(0);
                product.order_switchover(SWITCHOVER_ANY, epoch).await?;
            }
            other => unreachable!("{other:?} is done to a node or to its surroundings"),
        }
        Ok(Vec::new())
    }
}

fn kill(cluster: &Cluster, pod: &Pod) -> Result<Option<Vec<Fault>>> {
    faults::kill_container(cluster, pod, NODE_CONTAINER)?;
    Ok(Some(Vec::new()))
}

async fn power_off(cluster: &Cluster, pod: &Pod) -> Result<Vec<Fault>> {
    host_of(cluster, pod)?.power_off().await?;
    Ok(Vec::new())
}

async fn freeze(product: &Product<'_>, pod: &Pod) -> Result<Fault> {
    let claim = product.claim(pod).await?;
    faults::freeze(product.cluster, pod, &claim).await
}

async fn part_operators(product: &Product<'_>) -> Result<Vec<Fault>> {
    let primary = product.primary().await?;
    let mut cuts = Vec::new();
    for operator in operator_pods(product.cluster).await? {
        cuts.extend(faults::part_pods_both(product.cluster, &operator, &primary).await?);
    }
    Ok(cuts)
}

async fn delete_primary(product: &Product<'_>) -> Result<()> {
    let name = product.primary().await?.name_any();
    let words = [
        "delete",
        "pod",
        &name,
        "--wait=false",
        "-n",
        &product.namespace,
    ];
    product.cluster.api.kubectl(&words).await.map(drop)
}
