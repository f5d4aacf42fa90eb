//! A small file that is replaced as a whole and carries its own checksum: one line that says what it
//! is, then JSON.
//!
//! ```text
//! standby-state 1 crc32c 1a2b3c4d bytes 57
//! {"view":…}
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::VolumeError;
use crate::disk::sync_directory;
use crate::limits::SEALED_FILE_MAX_BYTES;

/// Ends the name of a file that is being written.
const UNFINISHED: &str = ".new";

/// What a file is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub magic: &'static str,
    pub version: u32,
}

/// Whether a name is that of a file whose writing a crash has cut off.
pub(super) fn is_unfinished(name: &str) -> bool {
    name.ends_with(UNFINISHED)
}

/// Replaces the file, durably: a crash leaves the old one or the new one.
pub(super) fn write(
    kind: Kind,
    dir: &Path,
    name: &str,
    value: &impl Serialize,
) -> Result<(), VolumeError> {
    let body = serde_json::to_vec(value).expect("plain structures can be written as JSON");
    let crc = crc32c::crc32c(&body);
    let head = format!(
        "{} {} crc32c {crc:08x} bytes {}\n",
        kind.magic,
        kind.version,
        body.len()
    );
    let unfinished = dir.join(format!("{name}{UNFINISHED}"));
    let path = dir.join(name);
    let mut file = File::create(&unfinished).map_err(VolumeError::io("make", &unfinished))?;
    file.write_all(head.as_bytes())
        .and_then(|()| file.write_all(&body))
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .map_err(VolumeError::io("write", &unfinished))?;
    fs::rename(&unfinished, &path).map_err(VolumeError::io("replace", &path))?;
    sync_directory(dir).map_err(VolumeError::io("sync", dir))
}

/// Reads the file. Nothing only if there is no file of that name.
pub(super) fn read<T: DeserializeOwned>(kind: Kind, path: &Path) -> Result<Option<T>, VolumeError> {
    let mut text = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(SEALED_FILE_MAX_BYTES).read_to_end(&mut text));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(VolumeError::Io {
                doing: "read",
                path: path.to_owned(),
                source,
            });
        }
    }
    let damaged = |what: String| VolumeError::Damaged {
        path: path.to_owned(),
        what,
    };
    let (version, body) = unseal(kind, &text).map_err(|what| damaged(what.to_owned()))?;
    if version != kind.version {
        let known = kind.version;
        return Err(VolumeError::Version {
            path: path.to_owned(),
            found: version,
            known,
        });
    }
    serde_json::from_slice(body)
        .map(Some)
        .map_err(|error| damaged(error.to_string()))
}

/// The version and the checked body.
fn unseal(kind: Kind, text: &[u8]) -> Result<(u32, &[u8]), &'static str> {
    let end = text
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or("it has no first line")?;
    let head = std::str::from_utf8(&text[..end]).map_err(|_| "its first line is no text")?;
    let words: Vec<&str> = head.split(' ').collect();
    let [magic, version, "crc32c", crc, "bytes", bytes] = words[..] else {
        return Err("its first line is not of the expected form");
    };
    if magic != kind.magic {
        return Err("it is a file of another kind");
    }
    let version = version.parse().map_err(|_| "its version is no number")?;
    let bytes: usize = bytes.parse().map_err(|_| "its length is no number")?;
    let crc = u32::from_str_radix(crc, 16).map_err(|_| "its checksum is no number")?;
    let body = text[end + 1..].get(..bytes).ok_or("it is cut short")?;
    if crc32c::crc32c(body) != crc {
        return Err("its checksum does not match");
    }
    Ok((version, body))
}
