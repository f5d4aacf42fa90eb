//! The files under `crds/` are what the types say.

use std::path::PathBuf;

use serde_json::Value;

/// Set to anything, it makes the test write the files instead of comparing them.
const REWRITE: &str = "STANDBY_REWRITE_GOLDEN";

/// A client-side `kubectl apply` keeps the whole object in an annotation of at most this size.
const APPLY_BYTES_MAX: usize = 256 * 1024;

fn folders() -> impl Iterator<Item = PathBuf> {
    let top = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    standby_api::crds::FOLDERS
        .into_iter()
        .map(move |folder| top.join(folder))
}

fn walk(value: &Value, visit: &mut impl FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(map) => {
            visit(map);
            map.values().for_each(|value| walk(value, visit));
        }
        Value::Array(items) => items.iter().for_each(|value| walk(value, visit)),
        _ => {}
    }
}

#[test]
fn the_files_are_what_the_types_say() {
    let rewrite = std::env::var_os(REWRITE).is_some();
    for (folder, (name, yaml)) in folders().flat_map(|folder| {
        standby_api::crds()
            .into_iter()
            .map(move |crd| (folder.clone(), crd))
    }) {
        let path = folder.join(name);
        if rewrite {
            std::fs::write(&path, &yaml).expect("the folder can be written");
        }
        let file = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            file == yaml,
            "{} is not what the types say: run cargo xtask crds",
            path.display()
        );
    }
}

#[test]
fn no_file_stands_there_without_a_type() {
    let known: Vec<String> = standby_api::crds()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    for entry in folders().flat_map(|folder| std::fs::read_dir(folder).unwrap()) {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(
            known.contains(&name),
            "{} belongs to no type: remove it",
            path.display()
        );
    }
}

#[test]
fn the_api_server_has_nothing_to_warn_about() {
    for definition in standby_api::crds::definitions() {
        walk(&definition, &mut |map| {
            let format = map.get("format").and_then(Value::as_str);
            let known = [None, Some("int32"), Some("int64"), Some("date-time")];
            assert!(known.contains(&format), "format {format:?} in {map:?}");
            assert!(
                !map.contains_key("uniqueItems"),
                "structural schemas forbid it: {map:?}"
            );
            assert!(
                map.get("nullable").and_then(Value::as_bool).is_none(),
                "{map:?}"
            );
        });
    }
}

#[test]
fn the_files_are_small_enough_for_a_client_side_apply() {
    for (name, yaml) in standby_api::crds() {
        assert!(
            yaml.len() < APPLY_BYTES_MAX / 4,
            "{name} has {} bytes",
            yaml.len()
        );
    }
}

#[test]
fn every_string_and_list_has_a_bound() {
    for definition in standby_api::crds::definitions() {
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        // Conditions are Kubernetes' own type; only the operator writes the status.
        walk(
            &schema["properties"]["spec"],
            &mut |map| match map.get("type").and_then(Value::as_str) {
                Some("string") => assert!(
                    map.contains_key("maxLength") || map.contains_key("enum") || map.len() == 1,
                    "{map:?}"
                ),
                Some("array") => assert!(map.contains_key("maxItems"), "{map:?}"),
                _ => {}
            },
        );
    }
}
