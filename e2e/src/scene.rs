//! What every failure story has in common: a Ready cluster under judged load, a moment at which
//! something is done to it, how long writers waited, and a clean and Ready end without a person.

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use standby_api::StandbyClusterStatus;

use crate::audit::{Audit, Record, Verdict, judge};
use crate::cluster::Cluster;
use crate::error::{Error, Result, ensure};
use crate::faults;
use crate::limits::CLUSTER_READY_TIMEOUT;
use crate::product::{Product, sample};
use crate::workload::{Load, now_us};

/// How many writes must be acknowledged for "writes go".
const WRITES: usize = 100;
/// The same while a fault lasts that makes most of them fail.
const FEW_WRITES: usize = 5;

/// A cluster under judged load.
pub struct Scene<'a> {
    /// The cluster.
    pub product: Product<'a>,
    /// Its load.
    pub load: Audit,
    /// Its status before anything was done to it.
    pub before: StandbyClusterStatus,
    /// The pod of the primary then.
    pub primary: Pod,
    /// The pod of the synchronous standby then.
    pub standby: Pod,
    struck_us: i64,
}

impl<'a> Scene<'a> {
    /// A Ready cluster of three nodes, and writes that go.
    pub async fn open(cluster: &'a Cluster, namespace: &str) -> Result<Self> {
        Self::open_with(cluster, namespace, &sample("db")).await
    }

    /// A Ready cluster as that text says, and writes that go.
    pub async fn open_with(cluster: &'a Cluster, namespace: &str, text: &str) -> Result<Self> {
        let product = Product::apply(cluster, namespace, text).await?;
        let load = Audit::start(&product).await?;
        load.more(WRITES).await?;
        let mut scene = Self {
            before: product.status().await?,
            primary: product.primary().await?,
            standby: product.standby().await?,
            struck_us: now_us(),
            product,
            load,
        };
        scene.strike();
        Ok(scene)
    }

    /// Looks anew at who is who: for a second act.
    pub async fn look_again(&mut self) -> Result<()> {
        self.product.ready(CLUSTER_READY_TIMEOUT).await?;
        self.load.more(WRITES).await?;
        self.product.one_primary().await?;
        self.before = self.product.status().await?;
        self.primary = self.product.primary().await?;
        self.standby = self.product.standby().await?;
        self.strike();
        Ok(())
    }

    /// Now: gaps are counted from here.
    pub fn strike(&mut self) {
        self.struck_us = now_us();
    }

    /// When it was struck, in microseconds since 1970.
    pub fn struck_us(&self) -> i64 {
        self.struck_us
    }

    /// The view's number before.
    pub fn epoch(&self) -> i64 {
        self.before.epoch.unwrap_or(0)
    }

    /// Waits until writes go, and says for how long they did not since the strike.
    pub async fn writes_go(&self, title: &str) -> Result<f64> {
        self.load.more(WRITES).await?;
        self.gap_ms(title)
    }

    /// The longest wait of the writers since the strike.
    fn gap_ms(&self, title: &str) -> Result<f64> {
        let gap = self.load.longest_gap(self.struck_us);
        let gap = gap.ok_or_else(|| Error::Wrong("nothing was written".to_owned()))?;
        eprintln!("       {title}: writers waited {:.0} ms", gap.millis());
        Ok(gap.millis())
    }

    /// Lets the load run for that long since the strike; writers wait at no time for more than `max_ms`.
    pub async fn writes_go_on(&self, title: &str, for_us: i64, max_ms: f64) -> Result<()> {
        while now_us() - self.struck_us < for_us {
            self.load.more(FEW_WRITES).await?;
        }
        let gap_ms = self.gap_ms(title)?;
        ensure(gap_ms <= max_ms, || {
            format!("writers waited {gap_ms:.0} ms, more than {max_ms:.0} ms")
        })
    }

    /// Waits for a failover since the last look; the old primary is not the new one.
    pub async fn failed_over(&self) -> Result<()> {
        let failover = self.product.failover_after(self.epoch()).await?;
        let now = self.product.status().await?.primary;
        ensure(now != self.before.primary, || {
            format!("{now:?} is still primary after {failover:?}")
        })
    }

    /// The primary is the same one, and was all the time.
    pub async fn same_primary(&self) -> Result<()> {
        let now = self.product.status().await?;
        let newest = now.failovers.first().map_or(0, |failover| failover.epoch);
        ensure(
            now.primary == self.before.primary && newest <= self.epoch(),
            || {
                format!(
                    "{:?} led in {:?}, now {:?} in {:?}: {:?}",
                    self.before.primary, self.before.epoch, now.primary, now.epoch, now.failovers
                )
            },
        )
    }

    /// Undoes every fault; the cluster is Ready and Safe again without a person, every node is healthy,
    /// writes go, and the history is clean.
    pub fn close(self) -> BoxFuture<'a, Result<Verdict>> {
        Box::pin(async move {
            let name = self.product.namespace.clone();
            let verdict = judge(&self.end().await?, &name).await?;
            eprintln!("       {verdict}");
            verdict.must_be_clean()?;
            Ok(verdict)
        })
    }

    /// The same without the judgement.
    pub fn end(self) -> BoxFuture<'a, Result<Record>> {
        Box::pin(async move {
            let Self { product, load, .. } = self;
            faults::heal(product.cluster).await?;
            product.ready(CLUSTER_READY_TIMEOUT).await?;
            for node in product.status().await?.nodes {
                product.healthy(&node.name).await?;
            }
            product.one_primary().await?;
            load.more(WRITES).await?;
            load.finish().await
        })
    }

    /// The name of the primary before.
    pub fn primary_name(&self) -> String {
        self.primary.name_any()
    }
}
