//! Somebody edits the view by hand so that a node without everything would be promoted: the API
//! server itself refuses, and says why.

use kube::api::Api;
use serde_json::{Value, json};
use standby_api::{NodeStatus, StandbyView};
use standby_e2e::error::{Error, Result, ensure};
use standby_e2e::product::Product;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let product = Product::create(&stage.cluster, &stage.namespace, "db").await?;
    let views: Api<StandbyView> = stage.cluster.api.objects(&stage.namespace);
    let view = views.get("db").await?.spec;
    let replica = product.replica().await?.metadata.name.unwrap_or_default();
    let status = product.status().await?;
    let row = status.nodes.iter().find(|node| node.name == replica);
    let lagging = row
        .and_then(id)
        .ok_or_else(|| Error::Wrong(format!("{replica} has no volume")))?;

    let promote = json!({
        "epoch": view.epoch + 1, "primary": lagging, "synchronous": [], "alone": false,
        "complete": [lagging],
    });
    refused(stage, &promote, "could lose acknowledged writes (V3)").await?;
    let smuggle = json!({
        "epoch": view.epoch + 1, "primary": view.primary, "synchronous": [],
        "complete": [view.primary, lagging],
    });
    refused(stage, &smuggle, "nothing may enter complete").await?;
    let jump = json!({"epoch": view.epoch + 2});
    refused(stage, &jump, "one more than recorded").await?;
    let back = json!({"epoch": view.epoch - 1});
    refused(stage, &back, "one more than recorded").await?;
    let other = json!({"epoch": view.epoch + 1, "clusterId": "another"});
    refused(stage, &other, "clusterId must not change").await?;

    let after = views.get("db").await?.spec;
    ensure(after == view, || format!("the view changed to {after:?}"))
}

fn id(node: &NodeStatus) -> Option<String> {
    node.volume
        .as_ref()
        .map(|volume| format!("{}/{volume}", node.name))
}

async fn refused(stage: &Stage, change: &Value, why: &str) -> Result<()> {
    let patch = json!({"spec": change}).to_string();
    let edit = [
        "patch",
        "standbyview",
        "db",
        "--type=merge",
        "-n",
        &stage.namespace,
        "-p",
        &patch,
    ];
    match stage.cluster.api.kubectl(&edit).await {
        Ok(_) => Err(Error::Wrong(format!("the API server took {change}"))),
        Err(error) => {
            let text = error.to_string();
            ensure(text.contains(why), || {
                format!("refused {change}, but not because {why}: {text}")
            })
        }
    }
}
