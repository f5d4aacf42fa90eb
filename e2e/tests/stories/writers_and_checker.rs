//! The writers and the checker are right about something known: a real etcd that is killed by
//! SIGKILL under load and comes back loses nothing, and the writers saw it was away.

use standby_e2e::error::{Result, ensure};
use standby_e2e::etcd;
use standby_e2e::workload::{Load, Plan, Target, Workload, now_us};

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let folder = stage
        .cluster
        .layout
        .folder()
        .join(format!("etcd-under-test-{}", now_us()));
    std::fs::create_dir_all(&folder).map_err(standby_e2e::error::Error::file("make", &folder))?;
    let mut members = etcd::start(&stage.cluster.programs, &folder, 1).await?;
    let member = &mut members[0];

    let workload = Workload::start(Plan::new(Target::plain(&member.url), "w")).await?;
    workload.more(500).await?;
    let at_us = now_us();
    member.kill().await?;
    member.start()?;
    workload.more(500).await?;
    let gap = workload.longest_gap(at_us);
    let (history, verdict) = workload.finish().await?;

    ensure(verdict.is_clean(), || {
        format!("etcd lost something: {:?}", verdict.examples)
    })?;
    ensure(gap.is_some_and(|gap| gap.millis() > 10.0), || {
        "nobody saw etcd away".to_owned()
    })?;
    ensure(verdict.acknowledged_writes >= 1000, || {
        "writes are missing".to_owned()
    })?;
    ensure(verdict.watch_reopened > 0, || {
        "the watch survived a SIGKILL".to_owned()
    })?;
    ensure(history.seen.len() >= verdict.acknowledged_writes, || {
        "too few events".to_owned()
    })?;
    eprintln!(
        "       {} acknowledged, {} in doubt, gap {:.0} ms",
        verdict.acknowledged_writes,
        verdict.writes_in_doubt,
        gap.map_or(0.0, |gap| gap.millis())
    );
    Ok(())
}
