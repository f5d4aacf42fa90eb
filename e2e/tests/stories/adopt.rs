//! A cluster is deleted with its volumes kept; another of the same name adopts them and has everything.

use standby_e2e::audit::judge;
use standby_e2e::error::Result;
use standby_e2e::limits::NAMESPACE_GONE_TIMEOUT;
use standby_e2e::product::{Product, sample};
use standby_e2e::scene::Scene;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let api = &stage.cluster.api;
    let text = sample("db") + "    deletionPolicy: Retain\n";
    let mut scene = Scene::open_with(&stage.cluster, &stage.namespace, &text).await?;
    scene.strike();
    let limit = format!("--timeout={}s", NAMESPACE_GONE_TIMEOUT.as_secs());
    let delete = [
        "delete",
        "standbycluster",
        "db",
        "-n",
        &stage.namespace,
        &limit,
    ];
    api.kubectl(&delete).await?;
    let again = Product::apply(&stage.cluster, &stage.namespace, &text).await?;
    // Its Services and its certificates are new, so the old clients cannot go on: others ask at the end.
    let record = scene.load.finish_at(&again).await?;
    let verdict = judge(&record, &stage.namespace).await?;
    eprintln!("       {verdict}");
    verdict.must_be_clean()
}
