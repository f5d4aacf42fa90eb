//! The chart: helm's own lint, what it renders for some values (compared with files), and what its
//! schema refuses.
//!
//! Needs a `helm`: named by `STANDBY_HELM`, on the path, or in the cache of `cargo xtask`. Without one
//! the tests fail where `CI` is set and say so elsewhere. Run with `STANDBY_REWRITE_GOLDEN=1` to write
//! the files.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const RELEASE: [&str; 4] = [
    "standby",
    "--namespace",
    "standby-system",
    "--kube-version=1.34.0",
];

fn chart() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../charts/standby")
}

fn helm() -> Option<PathBuf> {
    let named = std::env::var_os("STANDBY_HELM").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("helm"));
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let built = cache
        .map(|cache| cache.join("standby/bin"))
        .into_iter()
        .flat_map(|folder| {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries
                .filter(|entry| entry.file_name().to_string_lossy().starts_with("helm-"))
                .map(|entry| entry.path().join("helm"))
                .collect::<Vec<_>>()
        });
    let found = named
        .into_iter()
        .chain(on_path)
        .chain(built)
        .find(|file| file.is_file());
    assert!(
        found.is_some() || std::env::var_os("CI").is_none(),
        "no helm: set STANDBY_HELM, or run `cargo xtask up` once, which builds it"
    );
    if found.is_none() {
        eprintln!("no helm found, nothing checked: set STANDBY_HELM or run `cargo xtask up` once");
    }
    found
}

fn run(helm: &Path, arguments: &[&str]) -> Output {
    // Nothing of the person's own helm setup, and nothing left in it.
    let home = std::env::temp_dir().join("standby-helm-test");
    Command::new(helm)
        .args(arguments)
        .current_dir(chart())
        .env("HELM_CACHE_HOME", home.join("cache"))
        .env("HELM_CONFIG_HOME", home.join("config"))
        .env("HELM_DATA_HOME", home.join("data"))
        .output()
        .expect("helm can be started")
}

fn text(output: &Output) -> String {
    let all = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8(all).expect("helm prints text")
}

fn render(helm: &Path, values: &str, more: &[&str]) -> String {
    let file = format!("tests/values/{values}.yaml");
    let fixed = [
        &["template"],
        &RELEASE[..1],
        &["."],
        &RELEASE[1..],
        &["--values", &file],
    ]
    .concat();
    let output = run(helm, &[fixed.as_slice(), more].concat());
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).expect("helm prints text")
}

#[test]
fn helm_finds_nothing_wrong_with_the_chart() {
    let Some(helm) = helm() else { return };
    for values in ["default", "everything", "least"] {
        let file = format!("tests/values/{values}.yaml");
        let output = run(&helm, &["lint", ".", "--strict", "--values", &file]);
        assert!(output.status.success(), "{}", text(&output));
    }
}

#[test]
fn what_is_rendered_is_what_the_files_say() {
    let Some(helm) = helm() else { return };
    for values in ["default", "everything", "least"] {
        let path = chart().join(format!("tests/golden/{values}.yaml"));
        // The custom resources are compared by the tests of the API crate.
        let yaml = render(&helm, values, &["--set", "crds.install=false"]);
        if std::env::var_os("STANDBY_REWRITE_GOLDEN").is_some() {
            std::fs::write(&path, &yaml).expect("the folder can be written");
        }
        let file = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            file == yaml,
            "{} is not what helm renders: look at it, then run with STANDBY_REWRITE_GOLDEN=1",
            path.display()
        );
    }
}

#[test]
fn the_custom_resources_come_along_and_stay_unless_told_otherwise() {
    let Some(helm) = helm() else { return };
    let with = render(&helm, "default", &[]);
    for name in ["standbyclusters.standby.dev", "standbyviews.standby.dev"] {
        let kept = format!("  annotations:\n    helm.sh/resource-policy: keep\n  name: {name}\n");
        assert!(with.contains(&kept), "{name} would go with the release");
    }
    let bare = render(&helm, "default", &["--set", "crds.keep=false"]);
    assert!(!bare.contains("helm.sh/resource-policy"));
    assert_eq!(bare.matches("kind: CustomResourceDefinition").count(), 2);
    assert!(!render(&helm, "least", &[]).contains("CustomResourceDefinition"));
}

#[test]
fn with_a_list_of_namespaces_the_operator_has_no_rights_elsewhere() {
    let Some(helm) = helm() else { return };
    let all = render(&helm, "everything", &["--set", "crds.install=false"]);
    let documents = all
        .split("\n---\n")
        .filter(|text| text.contains("\nkind: ClusterRole\n"));
    let operator: Vec<&str> = documents
        .filter(|text| !text.contains("aggregate-to"))
        .collect();
    assert_eq!(operator.len(), 1);
    for resource in ["secrets", "pods", "standbyclusters]"] {
        assert!(
            !operator[0].contains(resource),
            "{resource} in the whole of Kubernetes"
        );
    }
}

#[test]
fn wrong_values_are_refused_with_their_name() {
    let Some(helm) = helm() else { return };
    for (value, name) in [
        ("replicaCount=0", "/replicaCount"),
        ("replicaCuont=2", "replicaCuont"),
        ("logFormat=xml", "/logFormat"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("watchNamespaces={Shop}", "/watchNamespaces/0"),
        ("fullnameOverride=My_Standby", "/fullnameOverride"),
        ("fullnameOverride=7up", "/fullnameOverride"),
        (
            "metrics.service=false,metrics.serviceMonitor.enabled=true",
            "Set metrics.service=true",
        ),
    ] {
        let output = run(&helm, &["template", "standby", ".", "--set", value]);
        assert!(!output.status.success(), "{value} was taken");
        assert!(text(&output).contains(name), "{value}: {}", text(&output));
    }
}
