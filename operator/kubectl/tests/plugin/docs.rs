//! The examples in docs/kubectl.md are the golden files: each stands after a line
//! `<!-- golden: NAME -->`, in a fenced block whose first line may be the command.

use crate::golden::{folder, rewrites};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/kubectl.md");

/// The page with every example replaced by its golden file.
fn with_examples(page: &str) -> String {
    let mut out = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        out += line;
        out.push('\n');
        let Some(name) = line
            .strip_prefix("<!-- golden: ")
            .and_then(|rest| rest.strip_suffix(" -->"))
        else {
            continue;
        };
        let fence = lines.next().expect("an example follows its name");
        assert!(fence.starts_with("```"), "after {line} stands {fence:?}");
        out += fence;
        out.push('\n');
        for line in lines.by_ref().take_while(|line| *line != "```") {
            if line.starts_with("$ ") {
                out += line;
                out.push('\n');
            }
        }
        out += &std::fs::read_to_string(folder().join(name)).unwrap_or_default();
        out += "```\n";
    }
    out
}

#[test]
fn the_examples_of_the_page_are_what_the_plugin_prints() {
    let page = std::fs::read_to_string(PAGE).expect("the page");
    let right = with_examples(&page);
    if rewrites() {
        std::fs::write(PAGE, right).expect("the page is written");
    } else {
        assert_eq!(
            page, right,
            "docs/kubectl.md is stale: run with STANDBY_REWRITE_GOLDEN=1, twice"
        );
    }
}

#[test]
fn every_verb_stands_on_the_page() {
    use clap::CommandFactory;
    let page = std::fs::read_to_string(PAGE).expect("the page");
    for verb in standby_kubectl::cli::Arguments::command().get_subcommands() {
        let name = verb.get_name();
        assert!(
            page.contains(&format!("`{name}")) || page.contains(&format!("standby {name}")),
            "docs/kubectl.md does not tell of {name}"
        );
    }
}
