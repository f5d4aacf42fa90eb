//! A report: what is in it, and above all what is not.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use zip::ZipArchive;

use crate::fixtures::healthy;
use crate::server::Server;
use crate::shell::run;

/// Stands wherever something must not get out.
const HIDDEN: &str = "hunter2";

fn full() -> Server {
    let mut cluster = healthy();
    cluster["metadata"]["annotations"] = json!({
        "team": HIDDEN,
        "kubectl.kubernetes.io/last-applied-configuration": HIDDEN,
    });
    cluster["spec"]["podMetadata"] = json!({"annotations": {"vault": HIDDEN}});
    let server = Server::with(&[cluster]);
    let container = |name: &str| json!([{"name": name, "restartCount": 1, "ready": true, "image": "x", "imageID": "x"}]);
    let pod = |name: &str, namespace: &str, container_name: &str| {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "uid": name,
                "annotations": {"x": HIDDEN}, "managedFields": []},
            "spec": {"nodeName": "host-1", "containers": [{"name": container_name,
                "args": ["--password", HIDDEN],
                "env": [{"name": "STANDBY_NAME", "value": name}, {"name": "X", "value": HIDDEN}]}]},
            "status": {"containerStatuses": container(container_name)}})
    };
    server.change(|state| {
        let mut put = |path: &str, object: Value| {
            state.objects.insert(path.into(), object);
        };
        put(
            "/apis/standby.dev/v1alpha1/namespaces/shop/standbyviews/db",
            json!({"kind": "StandbyView", "metadata": {"name": "db"}, "spec": {"epoch": 7}}),
        );
        put(
            "/api/v1/namespaces/shop/pods/db-1",
            pod("db-1", "shop", "node"),
        );
        put(
            "/api/v1/namespaces/standby-system/pods/standby-x",
            pod("standby-x", "standby-system", "operator"),
        );
        put(
            "/api/v1/namespaces/shop/secrets/db-ca",
            json!({"kind": "Secret", "metadata": {"name": "db-ca"}, "data": {"tls.key": HIDDEN}}),
        );
        let event = |about: &str, message: &str| {
            json!({"kind": "Event", "metadata": {}, "type": "Warning", "reason": "Failover",
                "lastTimestamp": "2026-11-21T09:30:00Z", "message": message,
                "involvedObject": {"kind": "StandbyCluster", "name": about}})
        };
        put(
            "/api/v1/namespaces/shop/events/1",
            event("db", "db-2 took over"),
        );
        put(
            "/api/v1/namespaces/shop/events/2",
            event("dbx", "of another cluster"),
        );
        put(
            "/api/v1/nodes/host-1",
            json!({"metadata": {"name": "host-1", "annotations": {"x": HIDDEN},
                "labels": {"topology.kubernetes.io/zone": "zone-a"}},
                "spec": {"unschedulable": true}, "status": {"conditions": []}}),
        );
        put("/version", json!({"gitVersion": "v1.34.1"}));
        for (namespace, name) in [("shop", "db-1"), ("standby-system", "standby-x")] {
            let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/log");
            let log = format!("a line\nAuthorization: Bearer {HIDDEN}{HIDDEN}\n");
            state.texts.insert(path, log);
        }
    });
    server
}

/// The files of an archive without their folder.
fn unpacked(path: &Path) -> Vec<(String, String)> {
    let file = std::fs::File::open(path).expect("the archive");
    let mut archive = ZipArchive::new(file).expect("a zip archive");
    (0..archive.len())
        .map(|index| {
            let mut file = archive.by_index(index).expect("a file");
            let name = file.name().expect("a name").into_owned();
            let name = name.split_once('/').expect("a folder").1.to_owned();
            let mut content = String::new();
            file.read_to_string(&mut content).expect("text");
            (name, content)
        })
        .collect()
}

fn content<'a>(files: &'a [(String, String)], name: &str) -> &'a str {
    let file = files.iter().find(|(file, _)| file == name);
    &file
        .unwrap_or_else(|| panic!("{name} is missing of {:?}", names(files)))
        .1
}

fn names(files: &[(String, String)]) -> Vec<&str> {
    files.iter().map(|(name, _)| name.as_str()).collect()
}

async fn made(server: &Server) -> Vec<(String, String)> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("report.zip");
    let line = format!("report db --file {}", path.display());
    let (printed, code) = run(server, &line).await.expect("it succeeds");
    assert_eq!(code, 0, "{printed}");
    let mode = std::fs::metadata(&path)
        .expect("the file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    unpacked(&path)
}

#[tokio::test]
async fn a_report_holds_what_support_needs() {
    let files = made(&full()).await;
    for name in [
        "MANIFEST.txt",
        "manifest.json",
        "status.txt",
        "plan.txt",
        "why.txt",
        "cluster.yaml",
        "view.yaml",
        "pods.yaml",
        "claims.yaml",
        "services.yaml",
        "endpointslices.yaml",
        "events.txt",
        "events.yaml",
        "hosts.yaml",
        "versions.yaml",
        "operator/pods.yaml",
        "operator/standby-system-deployment.yaml",
        "logs/nodes/db-1.node.log",
        "logs/nodes/db-1.node.previous.log",
        "logs/operator/standby-x.operator.log",
    ] {
        content(&files, name);
    }
    assert!(content(&files, "events.txt").contains("db-2 took over"));
    assert!(!content(&files, "events.txt").contains("another cluster"));
    assert!(content(&files, "hosts.yaml").contains("zone-a"));
    assert!(content(&files, "pods.yaml").contains("STANDBY_NAME"));
    assert!(content(&files, "logs/nodes/db-1.node.log").starts_with("a line\n"));
}

#[tokio::test]
async fn nothing_secret_is_in_a_report_or_even_asked_for() {
    let server = full();
    for (name, text) in made(&server).await {
        assert!(!text.contains(HIDDEN), "{name} holds a secret: {text}");
    }
    let asked = server.change(|state| state.asked.clone());
    for one in asked {
        let secret = one.path.contains("/secrets") || one.path.contains("/configmaps");
        assert!(!secret, "{} was asked for", one.path);
    }
}

#[tokio::test]
async fn the_manifest_names_every_file_and_what_was_left_out() {
    let server = full();
    server.change(|state| state.forbidden = vec!["/api/v1/nodes"]);
    let files = made(&server).await;
    let manifest: Value = serde_json::from_str(content(&files, "manifest.json")).expect("JSON");
    let listed: Vec<&str> = manifest["files"]
        .as_array()
        .expect("files")
        .iter()
        .map(|file| file["file"].as_str().expect("a name"))
        .collect();
    let there: Vec<&str> = names(&files).into_iter().skip(2).collect();
    assert_eq!(listed, there);
    let left = manifest["leftOut"].to_string();
    assert!(left.contains("Secrets"), "{left}");
    assert!(left.contains("not allowed to list nodes"), "{left}");
    assert!(content(&files, "MANIFEST.txt").contains("not allowed to list nodes"));
}

#[tokio::test]
async fn a_file_that_is_there_is_not_written_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("report.zip");
    std::fs::write(&path, "mine").expect("written");
    let line = format!("report db --file {}", path.display());
    let error = run(&full(), &line).await.expect_err("it is refused");
    assert_eq!(error.exit_code(), 1);
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "mine");
}
