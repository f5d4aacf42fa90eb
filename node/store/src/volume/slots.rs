//! A small file that is changed in place and never half changed: two slots of a fixed size, each with a sealed
//! value and its number. The higher number counts; what is stored next goes into the other slot.
//!
//! To replace a whole file a file system has to write its journal twice, which takes ten times as long as one
//! write and one sync; a failover waits for two stored views. Never decides what is stored.
//!
//! One slot alone is enough to tell what was stored last: a torn write leaves the other, which then is the
//! newest that anybody acted on. [`Slots::settle`] writes the newest into both, after which either may be
//! damaged.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::VolumeError;
use super::sealed::{self, Folder, Kind};
use crate::disk::DiskFile;
use crate::limits::SLOT_BYTES;

/// A value and how many were stored before it.
#[derive(Serialize, Deserialize)]
struct Numbered<T> {
    number: u64,
    stored: T,
}

/// What stands in a file of two slots.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    number: u64,
    newest: u64,
    /// The newest value as it stands in its slot.
    text: Vec<u8>,
    /// It stands in both.
    settled: bool,
}

/// What a slot holds.
enum Slot<T> {
    Unused,
    Damaged(VolumeError),
    Holds(Numbered<T>, Vec<u8>),
}

fn at(slot: u64) -> u64 {
    slot * SLOT_BYTES as u64
}

fn slot_of<T: DeserializeOwned>(
    kind: Kind,
    folder: Folder<'_>,
    name: &str,
    file: &dyn DiskFile,
    slot: u64,
) -> Result<Slot<T>, VolumeError> {
    let path = folder.path.join(name);
    let mut text = vec![0; SLOT_BYTES];
    let read = file
        .read_at(&mut text, at(slot))
        .map_err(VolumeError::io("read", &path))?;
    text.truncate(read);
    if read == SLOT_BYTES && text.iter().all(|byte| *byte == 0) {
        return Ok(Slot::Unused);
    }
    match sealed::from_text(kind, &path, &text) {
        Ok(numbered) => Ok(Slot::Holds(numbered, text)),
        Err(newer @ VolumeError::Version { .. }) => Err(newer),
        Err(damage) => Ok(Slot::Damaged(damage)),
    }
}

/// Reads the file. Nothing only if there is no file of that name.
pub(super) fn read<T: DeserializeOwned>(
    kind: Kind,
    folder: Folder<'_>,
    name: &str,
) -> Result<Option<(T, Slots)>, VolumeError> {
    let path = folder.path.join(name);
    let file = match folder.disk.open(name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(VolumeError::io("open", &path)(error)),
    };
    let mut found: Option<(T, Slots)> = None;
    let mut damage = None;
    for slot in [0, 1] {
        match slot_of::<T>(kind, folder, name, file.as_ref(), slot)? {
            Slot::Unused => {}
            Slot::Damaged(error) => damage = Some(error),
            Slot::Holds(Numbered { number, stored }, text) => {
                if let Some((_, before)) = &mut found
                    && before.number >= number
                {
                    before.settled = before.number == number;
                    continue;
                }
                let slots = Slots {
                    number,
                    newest: slot,
                    text,
                    settled: false,
                };
                found = Some((stored, slots));
            }
        }
    }
    match (found, damage) {
        (Some(found), _) => Ok(Some(found)),
        (None, Some(damage)) => Err(damage),
        (None, None) => Err(VolumeError::Damaged {
            path,
            what: "nothing stands in it".to_owned(),
        }),
    }
}

fn sealed_text<T: Serialize>(kind: Kind, number: u64, value: &T) -> Vec<u8> {
    let stored = value;
    let mut text = sealed::text(kind, &Numbered { number, stored });
    assert!(
        text.len() <= SLOT_BYTES,
        "a view and the addresses of at most ten nodes fit into a slot"
    );
    text.resize(SLOT_BYTES, 0);
    text
}

impl Slots {
    /// Makes the file, durably, with this value: a crash leaves no file of that name, or the whole one.
    pub(super) fn create(
        kind: Kind,
        folder: Folder<'_>,
        name: &str,
        value: &impl Serialize,
    ) -> Result<Self, VolumeError> {
        let text = sealed_text(kind, 1, value);
        // Both slots have their place on the disk from now on.
        sealed::replace(folder, name, &[&text[..], &text[..]].concat())?;
        Ok(Self {
            number: 1,
            newest: 0,
            text,
            settled: true,
        })
    }

    /// Stores a value, durably: a crash leaves this one or the one before.
    pub(super) fn store(
        &mut self,
        kind: Kind,
        folder: Folder<'_>,
        name: &str,
        value: &impl Serialize,
    ) -> Result<(), VolumeError> {
        let (number, slot) = (self.number + 1, 1 - self.newest);
        let text = sealed_text(kind, number, value);
        overwrite(folder, name, slot, &text)?;
        *self = Self {
            number,
            newest: slot,
            text,
            settled: false,
        };
        Ok(())
    }

    /// Writes the newest value into the other slot too, durably, if it is not there.
    pub(super) fn settle(&mut self, folder: Folder<'_>, name: &str) -> Result<(), VolumeError> {
        if !self.settled {
            overwrite(folder, name, 1 - self.newest, &self.text)?;
            self.settled = true;
        }
        Ok(())
    }
}

fn overwrite(folder: Folder<'_>, name: &str, slot: u64, text: &[u8]) -> Result<(), VolumeError> {
    let path = folder.path.join(name);
    let file = folder.disk.open(name);
    let file = file.map_err(VolumeError::io("open", &path))?;
    file.write_at(text, at(slot))
        .and_then(|()| file.sync())
        .map_err(VolumeError::io("write", &path))
}
