//! What docs/operating.md calls by name exists: conditions' reasons, states, faults and Events. A word of
//! the documentation that no source knows is a word that nobody will ever see.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const GUIDE: &str = include_str!("../../../docs/operating.md");

fn sources(folder: &Path, text: &mut String) {
    let entries = std::fs::read_dir(folder).expect("a folder of sources");
    let paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    for path in paths {
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            text.push_str(&std::fs::read_to_string(&path).expect("a source"));
        }
    }
}

/// The text of the sections with those headings, up to the next heading of any level.
fn sections(headings: &[&str]) -> String {
    let mut inside = false;
    let lines = GUIDE.lines().filter(|line| {
        if line.starts_with('#') {
            inside = headings.contains(&line.trim_start_matches(['#', ' ']));
        }
        inside
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Words in backticks that are made like a reason: `FailoverBlocked`.
fn reasons(text: &str) -> BTreeSet<&str> {
    let is_reason = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_uppercase())
            && word.chars().all(|c| c.is_ascii_alphanumeric())
            && word.chars().any(|c| c.is_ascii_lowercase())
    };
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(is_reason)
        .collect()
}

/// Kinds and values that stand in the same sections and are not ours.
const OTHERS: [&str; 3] = ["True", "False", "Unknown"];

fn known() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    for folder in ["src", "../src", "../api/src"] {
        sources(&root.join(folder), &mut text);
    }
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_reason_and_event_of_the_guide_is_in_the_sources() {
    let text = sections(&["Conditions", "What the status says", "Fields", "Events"]);
    let named = reasons(&text);
    assert!(named.len() > 30, "the sections were not found: {named:?}");
    let known = known();
    let unknown: Vec<_> = named
        .iter()
        .filter(|word| !OTHERS.contains(word) && !known.contains(**word))
        .collect();
    assert!(unknown.is_empty(), "no source knows {unknown:?}");
}

#[test]
fn every_event_that_is_told_is_in_the_guide() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    for folder in ["src", "../src"] {
        sources(&root.join(folder), &mut text);
    }
    let guide = sections(&["Events"]);
    let documented = reasons(&guide);
    let told: BTreeSet<&str> = text
        .split(".tell(")
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
        .collect();
    assert!(told.len() > 5, "no Event was found in the sources");
    let missing: Vec<_> = told.difference(&documented).collect();
    assert!(missing.is_empty(), "the guide does not name {missing:?}");
}
