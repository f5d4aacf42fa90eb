//! A state machine that remembers what it was given, in memory: what it saved last survives its node.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use standby_core::{Entry, EntryKind, Epoch, Index, Position};
use standby_interface::{MachineError, SnapshotSource, StateMachine};

/// Entries in one piece of a snapshot: so few that it takes a while.
const PIECE_ENTRIES: usize = 1;

/// The state at one position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// What was applied last.
    pub position: Position,
    /// Every command, in order.
    pub commands: Vec<(Position, Bytes)>,
}

/// What a node's state is and what of it would survive.
#[derive(Debug, Default)]
pub struct Store {
    /// As applied, for tests to look at.
    pub now: Image,
    /// As saved.
    pub saved: Image,
    /// Pieces of snapshots that were taken in, ever.
    pub pieces: usize,
    /// Snapshots that were taken in whole, ever.
    pub restored: usize,
}

/// The state machine of one run of a node.
pub struct Machine(Arc<Mutex<Store>>);

impl Machine {
    /// Goes on from what was saved.
    pub fn open(store: &Arc<Mutex<Store>>) -> Self {
        let mut found = store.lock();
        found.now = found.saved.clone();
        Self(Arc::clone(store))
    }
}

struct Pieces {
    image: Image,
    next: usize,
}

impl SnapshotSource for Pieces {
    fn position(&self) -> Position {
        self.image.position
    }

    fn next_chunk(&mut self) -> Result<Option<Bytes>, MachineError> {
        let left = &self.image.commands[self.next..];
        let piece = &left[..left.len().min(PIECE_ENTRIES)];
        self.next += piece.len();
        let mut bytes = BytesMut::new();
        for (position, command) in piece {
            bytes.put_u64(position.epoch.0);
            bytes.put_u64(position.index.0);
            bytes.put_u32(u32::try_from(command.len()).expect("a small command"));
            bytes.put_slice(command);
        }
        Ok((!bytes.is_empty()).then(|| bytes.freeze()))
    }
}

impl StateMachine for Machine {
    type Outcome = ();

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<()>, MachineError> {
        let now = &mut self.0.lock().now;
        for entry in entries {
            assert_eq!(entry.position.index, now.position.index.next(), "in order");
            now.position = entry.position;
            if entry.kind == EntryKind::Data {
                now.commands.push((entry.position, entry.payload.clone()));
            }
        }
        Ok(vec![(); entries.len()])
    }

    fn applied(&self) -> Position {
        self.0.lock().now.position
    }

    fn checkpoint(&mut self) -> Result<Position, MachineError> {
        let mut store = self.0.lock();
        store.saved = store.now.clone();
        Ok(store.saved.position)
    }

    fn snapshot(&self) -> Result<Box<dyn SnapshotSource>, MachineError> {
        let image = self.0.lock().now.clone();
        Ok(Box::new(Pieces { image, next: 0 }))
    }

    fn begin_restore(&mut self) -> Result<(), MachineError> {
        let mut store = self.0.lock();
        (store.now, store.saved) = (Image::default(), Image::default());
        Ok(())
    }

    fn restore_chunk(&mut self, mut chunk: Bytes) -> Result<(), MachineError> {
        let mut store = self.0.lock();
        store.pieces += 1;
        while chunk.has_remaining() {
            let position = Position::new(Epoch(chunk.get_u64()), Index(chunk.get_u64()));
            let bytes = usize::try_from(chunk.get_u32()).expect("a small command");
            store.now.commands.push((position, chunk.split_to(bytes)));
        }
        Ok(())
    }

    fn finish_restore(&mut self, position: Position) -> Result<(), MachineError> {
        let mut store = self.0.lock();
        store.now.position = position;
        store.saved = store.now.clone();
        store.restored += 1;
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}
