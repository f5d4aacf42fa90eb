//! What a report says about itself: on the terminal, and as a text inside it.

use crate::document::{LeftOut, ReportDocument};

/// What is said when it was written.
pub(super) fn report(document: &ReportDocument) -> String {
    let bytes: usize = document.files.iter().map(|file| file.bytes).sum();
    format!(
        "{}: wrote {} with {} files ({} KiB before packing)\nLeft out:\n{}\
         Look through it before you hand it on: MANIFEST.txt says what is in it.\n",
        document.head.full_name(),
        document.archive.as_deref().unwrap_or("nothing"),
        document.files.len(),
        bytes.div_ceil(1024),
        left_out(&document.left_out),
    )
}

/// `MANIFEST.txt`.
#[must_use]
pub fn manifest(document: &ReportDocument) -> String {
    let files = document
        .files
        .iter()
        .map(|file| format!("  {}: {}\n", file.file, file.what))
        .collect::<Vec<_>>()
        .concat();
    format!(
        "Report about {}, made {} by kubectl-standby {}\n\n\
         What is in it:\n{files}\nWhat was left out:\n{}",
        document.head.full_name(),
        document.time,
        document.plugin_version,
        left_out(&document.left_out),
    )
}

fn left_out(left: &[LeftOut]) -> String {
    left.iter()
        .map(|left| format!("  {}: {}\n", left.what, left.why))
        .collect::<Vec<_>>()
        .concat()
}
