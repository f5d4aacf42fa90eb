//! A small file that is replaced as a whole and carries its own checksum: one line that says what it
//! is, then JSON.
//!
//! ```text
//! standby-state 1 crc32c 1a2b3c4d bytes 57
//! {"view":…}
//! ```

use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::VolumeError;
use crate::disk::Disk;
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

/// The directory that holds such files.
#[derive(Clone, Copy)]
pub(super) struct Folder<'a> {
    pub disk: &'a dyn Disk,
    /// How it is called in errors.
    pub path: &'a Path,
}

/// A value with its checksum, as it stands in a file.
pub(super) fn text(kind: Kind, value: &impl Serialize) -> Vec<u8> {
    let body = serde_json::to_vec(value).expect("plain structures can be written as JSON");
    let crc = crc32c::crc32c(&body);
    let mut text = format!(
        "{} {} crc32c {crc:08x} bytes {}\n",
        kind.magic,
        kind.version,
        body.len()
    )
    .into_bytes();
    text.extend(body);
    text.push(b'\n');
    text
}

/// Replaces the file, durably: a crash leaves the old one or the new one.
pub(super) fn write(
    kind: Kind,
    folder: Folder<'_>,
    name: &str,
    value: &impl Serialize,
) -> Result<(), VolumeError> {
    replace(folder, name, &text(kind, value))
}

/// Replaces what a file holds, durably: a crash leaves the old one or the new one.
pub(super) fn replace(folder: Folder<'_>, name: &str, text: &[u8]) -> Result<(), VolumeError> {
    let Folder { disk, path: dir } = folder;
    let unfinished = format!("{name}{UNFINISHED}");
    let path = dir.join(&unfinished);
    // A crash may have left one.
    match disk.remove(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(VolumeError::io("remove", &path)(error));
        }
        Ok(()) | Err(_) => {}
    }
    let file = disk
        .create(&unfinished)
        .map_err(VolumeError::io("make", &path))?;
    file.write_at(text, 0)
        .and_then(|()| file.sync())
        .map_err(VolumeError::io("write", &path))?;
    disk.rename(&unfinished, name)
        .map_err(VolumeError::io("replace", &dir.join(name)))?;
    disk.sync_names().map_err(VolumeError::io("sync", dir))
}

/// All that the file holds, up to a bound. Nothing only if there is no file of that name.
fn content(disk: &dyn Disk, name: &str) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let bytes = file.size()?.min(SEALED_FILE_MAX_BYTES);
    let mut text = vec![0; usize::try_from(bytes).expect("the bound is small")];
    let read = file.read_at(&mut text, 0)?;
    text.truncate(read);
    Ok(Some(text))
}

/// Reads the file. Nothing only if there is no file of that name.
pub(super) fn read<T: DeserializeOwned>(
    kind: Kind,
    folder: Folder<'_>,
    name: &str,
) -> Result<Option<T>, VolumeError> {
    let path = &folder.path.join(name);
    let text = content(folder.disk, name).map_err(VolumeError::io("read", path))?;
    let Some(text) = text else { return Ok(None) };
    from_text(kind, path, &text).map(Some)
}

/// The value that stands in a text; `path` is what errors call it. What follows the value is not looked at.
pub(super) fn from_text<T: DeserializeOwned>(
    kind: Kind,
    path: &Path,
    text: &[u8],
) -> Result<T, VolumeError> {
    let damaged = |what: String| VolumeError::Damaged {
        path: path.to_owned(),
        what,
    };
    let (version, body) = unseal(kind, text).map_err(|what| damaged(what.to_owned()))?;
    if version != kind.version {
        let known = kind.version;
        return Err(VolumeError::Version {
            path: path.to_owned(),
            found: version,
            known,
        });
    }
    serde_json::from_slice(body).map_err(|error| damaged(error.to_string()))
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
