//! Sending the whole state to a node that is far behind, and taking it in.
//!
//! A piece holds pairs of the engine, ascending, and the number of its format. The format's own key
//! travels last: an engine without it counts as empty, so that a restart in the middle of a restore
//! never finds half a state.

use std::ops::Bound;

use bytes::Bytes;
use prost::Message;
use standby_core::Position;
use standby_interface::{MachineError, SnapshotChunk, SnapshotSource};
use standby_store::engine::{Batch, Engine, EngineSnapshot};

use super::{incomprehensible, records, storage};
use crate::limits::SNAPSHOT_CHUNK_BYTES;
use crate::pb::statepb;

/// The format of the pieces.
const FORMAT: u32 = 1;

/// A consistent image, read piece by piece.
pub(super) struct Source {
    image: Box<dyn EngineSnapshot>,
    position: Position,
    /// The last key sent.
    after: Option<Bytes>,
    done: bool,
}

impl Source {
    pub fn new(image: Box<dyn EngineSnapshot>, position: Position) -> Self {
        Self {
            image,
            position,
            after: None,
            done: false,
        }
    }
}

impl SnapshotSource for Source {
    fn position(&self) -> Position {
        self.position
    }

    fn next_chunk(&mut self) -> Result<Option<SnapshotChunk>, MachineError> {
        if self.done {
            return Ok(None);
        }
        let from = self
            .after
            .as_ref()
            .map_or(Bound::Unbounded, |key| Bound::Excluded(&key[..]));
        let mut chunk = statepb::SnapshotChunk {
            format: FORMAT,
            pairs: Vec::new(),
        };
        let mut bytes = 0;
        self.done = true;
        for pair in self.image.range(from, Bound::Unbounded) {
            let (key, value) = pair.map_err(storage)?;
            bytes += key.len() + value.len();
            chunk.pairs.push(statepb::Pair { key, value });
            if bytes >= SNAPSHOT_CHUNK_BYTES {
                self.done = false;
                break;
            }
        }
        let Some(last) = chunk.pairs.last() else {
            return Ok(None);
        };
        self.after = Some(last.key.clone());
        Ok(Some(Bytes::from(chunk.encode_to_vec())))
    }
}

/// A restore that has begun.
pub(super) struct Restore {
    last: Option<Bytes>,
}

impl Restore {
    /// Empties the engine. The format goes first and durably, so that a restart finds it empty.
    pub fn begin(engine: &dyn Engine) -> Result<Self, MachineError> {
        let mut batch = Batch::default();
        batch.remove(records::META_FORMAT);
        engine.write(batch).map_err(storage)?;
        engine.persist().map_err(storage)?;
        engine.clear().map_err(storage)?;
        engine.persist().map_err(storage)?;
        Ok(Self { last: None })
    }

    /// Takes in the next piece.
    pub fn take(&mut self, engine: &dyn Engine, chunk: Bytes) -> Result<(), MachineError> {
        let damaged = |what: String| incomprehensible(Position::START, what);
        let chunk = statepb::SnapshotChunk::decode(chunk)
            .map_err(|error| damaged(format!("piece of a snapshot: {error}")))?;
        if chunk.format != FORMAT {
            let given = chunk.format;
            return Err(damaged(format!(
                "snapshot format {given} is not known, only {FORMAT}"
            )));
        }
        let mut batch = Batch::default();
        for pair in chunk.pairs {
            if self.last.as_ref().is_some_and(|last| *last >= pair.key) {
                return Err(damaged(
                    "the pieces of a snapshot are out of order".to_owned(),
                ));
            }
            self.last = Some(pair.key.clone());
            if &pair.key[..] != records::META_FORMAT {
                batch.put(pair.key, pair.value);
            }
        }
        engine.write(batch).map_err(storage)
    }

    /// Makes the restored state durable, and only then valid.
    pub fn finish(engine: &dyn Engine, position: Position) -> Result<(), MachineError> {
        let mut batch = Batch::default();
        batch.put(records::META_APPLIED, records::encode_position(position));
        engine.write(batch).map_err(storage)?;
        engine.persist().map_err(storage)?;
        let mut batch = Batch::default();
        batch.put(
            records::META_FORMAT,
            records::encode_number(records::FORMAT),
        );
        engine.write(batch).map_err(storage)?;
        engine.persist().map_err(storage)
    }
}
