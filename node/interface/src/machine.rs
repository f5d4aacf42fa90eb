//! The state machine a protocol keeps over the log.

use bytes::Bytes;
use standby_core::{Entry, Position};

/// A failure of the state machine's storage. There is no way on: the process ends, and recovery
/// replays the log.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The storage under the state machine failed.
    #[error("state: {0}")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An entry or a snapshot cannot be understood: a newer version wrote it, or it is damaged.
    #[error("state at {position}: cannot be understood: {what}")]
    Incomprehensible {
        /// The entry or the snapshot's position.
        position: Position,
        /// What is wrong with it.
        what: String,
    },
}

/// One piece of a snapshot, opaque to replication. At most a few hundred KiB.
pub type SnapshotChunk = Bytes;

/// A consistent image of the state at one position, read piece by piece while writes go on.
pub trait SnapshotSource: Send {
    /// The position the image stands for.
    fn position(&self) -> Position;
    /// The next piece; `None` at the end.
    fn next_chunk(&mut self) -> Result<Option<SnapshotChunk>, MachineError>;
}

/// A deterministic state machine over the commit log. It is given committed entries only, each once,
/// in order, so that nothing it applies is ever undone (V6). Time, identifiers and chance were
/// decided on the primary and stand in the payload.
pub trait StateMachine: Send + 'static {
    /// What an applied entry produced, for the client that proposed it.
    type Outcome: Send + 'static;

    /// Applies entries, and stores the position of the last one atomically with their effect (F4).
    /// Returns one outcome per entry. Not durable before [`StateMachine::checkpoint`].
    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Self::Outcome>, MachineError>;

    /// The position of the last applied entry.
    fn applied(&self) -> Position;

    /// Makes everything applied durable, and says up to where: the log may be cut below.
    fn checkpoint(&mut self) -> Result<Position, MachineError>;

    /// Opens a consistent image of the state as applied now.
    fn snapshot(&self) -> Result<Box<dyn SnapshotSource>, MachineError>;

    /// Forgets everything, to be filled by [`StateMachine::restore_chunk`]. Until
    /// [`StateMachine::finish_restore`] a restart finds an empty state, never a half one.
    fn begin_restore(&mut self) -> Result<(), MachineError>;

    /// Takes in the next piece of a snapshot.
    fn restore_chunk(&mut self, chunk: SnapshotChunk) -> Result<(), MachineError>;

    /// Ends a restore: durable, and applied up to `position`.
    fn finish_restore(&mut self, position: Position) -> Result<(), MachineError>;

    /// Bytes of disk the state takes.
    fn disk_bytes(&self) -> u64;
}
