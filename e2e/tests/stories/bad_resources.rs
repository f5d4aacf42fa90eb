//! Ten mistakes that people make: each is refused by the API server with a text that says what was
//! given and what would be right. `UPDATE_GOLDEN=1` writes the texts anew.

use serde_json::{Value, json};
use standby_e2e::error::{Error, Result, ensure};
use standby_e2e::parts::repository;

use crate::Stage;

pub async fn run(stage: &Stage) -> Result<()> {
    let mut texts = Vec::new();
    for (title, name, spec) in mistakes() {
        let text = refusal(stage, name, &spec).await?;
        texts.push(format!("# {title}\n{text}\n"));
    }
    let found = texts.join("\n");
    let golden = repository().join("e2e/tests/golden/bad_resources.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return std::fs::write(&golden, found).map_err(Error::file("write", golden));
    }
    let wanted = std::fs::read_to_string(&golden).map_err(Error::file("read", golden))?;
    ensure(found == wanted, || {
        format!("the texts changed; they are now:\n{found}")
    })
}

fn mistakes() -> Vec<(&'static str, &'static str, Value)> {
    let storage = json!({"size": "1Gi"});
    vec![
        ("no storage", "db", json!({})),
        (
            "a size that is no quantity",
            "db",
            json!({"storage": {"size": "ten gigabytes"}}),
        ),
        (
            "a size too small to work with",
            "db",
            json!({"storage": {"size": "1Mi"}}),
        ),
        (
            "too many instances",
            "db",
            json!({"storage": storage, "instances": 10}),
        ),
        (
            "one copy that must be strict",
            "db",
            json!({"storage": storage, "instances": 1}),
        ),
        (
            "an unknown durability",
            "db",
            json!({"storage": storage, "durability": "strict"}),
        ),
        (
            "a quota as large as the disk",
            "db",
            json!({"storage": storage, "etcd": {"quotaBackendBytes": 1_073_741_824}}),
        ),
        (
            "silence shorter than two heartbeats",
            "db",
            json!({
                "storage": storage,
                "failover": {"detection": {"heartbeatIntervalMs": 500, "silenceMinMs": 600}},
            }),
        ),
        (
            "a name that no Service can have",
            "3-db",
            json!({"storage": storage}),
        ),
        (
            "a name too long for what is made from it",
            "a-name-that-is-much-longer-than-forty-letters",
            json!({"storage": storage}),
        ),
    ]
}

async fn refusal(stage: &Stage, name: &str, spec: &Value) -> Result<String> {
    let document = json!({
        "apiVersion": "standby.dev/v1alpha1",
        "kind": "StandbyCluster",
        "metadata": {"name": name, "namespace": stage.namespace},
        "spec": spec,
    });
    match stage.cluster.api.apply_text(&document.to_string()).await {
        Ok(_) => Err(Error::Wrong(format!("the API server took {document}"))),
        Err(Error::Failed { stderr, .. }) => Ok(stderr.trim().to_owned()),
        Err(other) => Err(other),
    }
}
