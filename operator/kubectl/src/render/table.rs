//! Tables without lines, as kubectl prints them, and pairs of a name and what there is to say.

use comfy_table::{ContentArrangement, Table, presets};

/// Blanks between two columns.
const GAP: u16 = 2;

/// What stands for something that is not known.
pub(super) const NONE: &str = "-";

/// A table with its header; every row has as many cells as the header.
pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = bare();
    table.set_header(header.to_vec());
    for row in rows {
        assert_eq!(
            row.len(),
            header.len(),
            "every row has a cell for each column"
        );
        table.add_row(row.iter().map(|text| one_line(text)));
    }
    finish(&mut table)
}

/// Names and what there is to say about them.
pub(super) fn pairs(rows: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let mut table = bare();
    for (name, text) in rows {
        table.add_row([name.to_owned(), one_line(&text)]);
    }
    finish(&mut table)
}

/// A text that may be missing.
pub(super) fn or_none(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty())
        .unwrap_or(NONE)
        .to_owned()
}

pub(super) fn yes_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

/// A row must stay a row, and a terminal must not take orders from a text that others wrote.
pub(super) fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn bare() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn finish(table: &mut Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    table
        .to_string()
        .lines()
        .flat_map(|line| [line.trim_end(), "\n"])
        .collect()
}
