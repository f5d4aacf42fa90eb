//! Everything a person does with `kubectl standby`, under load: look, switch over, fence, restart, pack a
//! report; and what it refuses, with the exit codes that its page promises.

use serde_json::Value;
use standby_e2e::error::{Error, Result, ensure};
use standby_e2e::limits::CLUSTER_READY_TIMEOUT;
use standby_e2e::plugin::{Ended, Plugin};
use standby_e2e::scene::Scene;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let mut scene = Scene::open(&stage.cluster, &stage.namespace).await?;
    let plugin = Plugin::of(&stage.cluster)?;
    let here = ["-n", stage.namespace.as_str()];
    let in_namespace = |words: &[&'static str]| [words, &here].concat();
    let primary = scene.primary_name();

    // The only cluster of the namespace needs no name.
    let status: Value = plugin.json(&in_namespace(&["status"])).await?;
    ensure(status["status"]["primary"] == primary, || {
        format!("status says {}", status["status"]["primary"])
    })?;
    ensure(status["operators"][0]["leads"] == true, || {
        format!("no operator leads: {}", status["operators"])
    })?;
    let why: Value = plugin.json(&in_namespace(&["why"])).await?;
    ensure(why["failover"]["verdict"] == "NotNeeded", || {
        format!("why says {}", why["failover"])
    })?;
    plugin.text(&in_namespace(&["plan"])).await?;

    let absent = ["switchover", "--to", "db-99"];
    refused(&plugin.run(&in_namespace(&absent)).await?, 3, "db-99")?;
    let working = [&["promote", "db", primary.as_str()][..], &here].concat();
    let ended = plugin.run(&working).await?;
    ensure(ended.code == 0 && ended.printed.contains("already"), || {
        format!("the primary is promoted: {ended:?}")
    })?;

    scene.strike();
    let order = ["switchover", "--wait"];
    let change: Value = plugin.json(&in_namespace(&order)).await?;
    ensure(change["outcome"]["outcome"] == "Done", || {
        format!("the switchover: {change}")
    })?;
    scene.product.ready(CLUSTER_READY_TIMEOUT).await?;
    let now = scene.product.status().await?.primary;
    ensure(now.as_ref() != Some(&primary), || {
        format!("{primary} is still primary")
    })?;
    scene.writes_go("a switchover by the plugin").await?;

    let standby = scene.product.status().await?.synchronous;
    let standby = standby
        .first()
        .ok_or_else(|| Error::Wrong("nobody is synchronous".to_owned()))?;
    for words in [
        &["fence", standby.as_str(), "--wait"][..],
        &["unfence", "--all"],
    ] {
        plugin.text(&[words, &here].concat()).await?;
    }
    scene.product.ready(CLUSTER_READY_TIMEOUT).await?;
    let restart = ["restart", standby.as_str(), "--wait", "--timeout", "3m"];
    plugin.text(&[&restart[..], &here].concat()).await?;
    scene.product.ready(CLUSTER_READY_TIMEOUT).await?;

    let file = stage.cluster.layout.kubeconfig();
    let file = file.with_file_name(format!("report-{}.zip", std::process::id()));
    let shown = file.to_string_lossy();
    let report = [&["report", "--file", shown.as_ref()][..], &here].concat();
    let report: Value = plugin.json(&report).await?;
    std::fs::remove_file(&file).map_err(Error::file("remove", &file))?;
    let files = report["files"].to_string();
    for part in ["cluster.yaml", "view.yaml", "logs/nodes/", "logs/operator/"] {
        ensure(files.contains(part), || {
            format!("the report lacks {part}: {files}; {}", report["leftOut"])
        })?;
    }
    scene.close().await.map(drop)
}

fn refused(ended: &Ended, code: i32, about: &str) -> Result<()> {
    ensure(ended.code == code && ended.said.contains(about), || {
        format!("exit code {code} about {about} was expected: {ended:?}")
    })
}
