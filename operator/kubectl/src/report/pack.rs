//! Packs a report into a zip archive, with a manifest of what is in it and what was left out.

use std::io::{Cursor, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::Entry;
use crate::document::{Head, LeftOut, ReportDocument, ReportFile};
use crate::error::Result;
use crate::render;

/// The document about these files.
#[must_use]
pub fn document(
    head: Head,
    time: Timestamp,
    entries: &[Entry],
    left_out: Vec<LeftOut>,
) -> ReportDocument {
    ReportDocument {
        head,
        time,
        plugin_version: env!("CARGO_PKG_VERSION"),
        archive: None,
        files: entries
            .iter()
            .map(|entry| ReportFile {
                file: entry.file.clone(),
                what: entry.what.clone(),
                bytes: entry.content.len(),
            })
            .collect(),
        left_out,
    }
}

/// The archive: the manifest as text and as JSON, and the files below a folder of that name.
pub fn archive(folder: &str, document: &ReportDocument, entries: &[Entry]) -> Result<Vec<u8>> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(modified(document.time))
        .unix_permissions(0o600);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let text = render::manifest(document);
    let json = serde_json::to_string_pretty(document)?;
    let manifests = [
        ("MANIFEST.txt", text.as_str()),
        ("manifest.json", json.as_str()),
    ];
    let files = entries
        .iter()
        .map(|entry| (entry.file.as_str(), entry.content.as_str()));
    for (name, content) in manifests.into_iter().chain(files) {
        archive.start_file(format!("{folder}/{name}"), options)?;
        archive.write_all(content.as_bytes())?;
    }
    Ok(archive.finish()?.into_inner())
}

/// Zip knows years from 1980 to 2107, and no time zone: UTC.
fn modified(time: Timestamp) -> DateTime {
    let time = time.to_zoned(TimeZone::UTC);
    let part = |number: i8| u8::try_from(number).unwrap_or_default();
    let year = u16::try_from(time.year()).unwrap_or_default();
    DateTime::from_date_and_time(
        year,
        part(time.month()),
        part(time.day()),
        part(time.hour()),
        part(time.minute()),
        part(time.second()),
    )
    .unwrap_or_default()
}
