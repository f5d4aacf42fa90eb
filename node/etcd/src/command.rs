//! What is written to the log for each write. Everything that must not be decided twice (lease ids,
//! times to live) was decided on the primary and stands here.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use standby_core::Epoch;

pub use crate::pb::commandpb::command::Command;
use crate::pb::commandpb::{Command as Envelope, Compact, GrantLease, RevokeLease, Sweep};
use crate::pb::etcdserverpb::{DeleteRangeRequest, PutRequest, TxnRequest};

/// The encoding, in the first byte. A node that meets another one stops: a newer version wrote it.
const VERSION: u8 = 1;

/// A payload that is no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The payload has no version.
    #[error("the payload is empty")]
    Empty,
    /// A newer version wrote it.
    #[error("command encoding {given} is not known, only {VERSION}")]
    Version {
        /// The version byte.
        given: u8,
    },
    /// The message behind the version is damaged.
    #[error("the command cannot be read: {0}")]
    Message(#[from] prost::DecodeError),
    /// The message is of a kind that this version does not know.
    #[error("the command is of a kind that is not known")]
    Kind,
}

/// The log's payload for `command`.
#[must_use]
pub fn encode(command: Command) -> Bytes {
    let envelope = Envelope {
        command: Some(command),
    };
    let mut payload = BytesMut::with_capacity(1 + envelope.encoded_len());
    payload.put_u8(VERSION);
    envelope.encode_raw(&mut payload);
    payload.freeze()
}

/// The command in a payload. Its byte fields are slices of the payload.
///
/// # Errors
/// When it is not one, or of a newer version.
pub fn decode(mut payload: Bytes) -> Result<Command, DecodeError> {
    if payload.is_empty() {
        return Err(DecodeError::Empty);
    }
    match payload.get_u8() {
        VERSION => Envelope::decode(payload)?.command.ok_or(DecodeError::Kind),
        given => Err(DecodeError::Version { given }),
    }
}

/// Whether the command is let through when space is short: it frees some, or leads to that.
#[must_use]
pub fn frees_space(command: &Command) -> bool {
    match command {
        Command::DeleteRange(_)
        | Command::Compact(_)
        | Command::RevokeLease(_)
        | Command::Sweep(_) => true,
        Command::Txn(txn) => !has_puts(txn),
        Command::Put(_) | Command::GrantLease(_) => false,
    }
}

fn has_puts(txn: &TxnRequest) -> bool {
    use crate::pb::etcdserverpb::request_op::Request;
    txn.success
        .iter()
        .chain(&txn.failure)
        .any(|op| match &op.request {
            Some(Request::RequestPut(_)) => true,
            Some(Request::RequestTxn(nested)) => has_puts(nested),
            _ => false,
        })
}

impl From<PutRequest> for Command {
    fn from(request: PutRequest) -> Self {
        Self::Put(request)
    }
}

impl From<DeleteRangeRequest> for Command {
    fn from(request: DeleteRangeRequest) -> Self {
        Self::DeleteRange(request)
    }
}

impl From<TxnRequest> for Command {
    fn from(request: TxnRequest) -> Self {
        Self::Txn(request)
    }
}

/// Forgets the versions before `revision`.
#[must_use]
pub fn compact(revision: i64) -> Command {
    Command::Compact(Compact { revision })
}

/// Grants the lease `id`, decided on the primary.
#[must_use]
pub fn grant_lease(id: i64, ttl_s: i64) -> Command {
    Command::GrantLease(GrantLease { id, ttl_s })
}

/// Ends the lease `id`, as a client asked for.
#[must_use]
pub fn revoke_lease(id: i64) -> Command {
    Command::RevokeLease(RevokeLease {
        id,
        ..RevokeLease::default()
    })
}

/// Ends the lease `id` that the entry `granted_index` granted, because it ran out in `epoch`. Written in
/// a later epoch, this ends nothing: the lease may have been renewed there.
#[must_use]
pub fn expire_lease(id: i64, granted_index: u64, epoch: Epoch) -> Command {
    Command::RevokeLease(RevokeLease {
        id,
        expired: true,
        granted_index,
        epoch: epoch.0,
    })
}

/// Goes on with the deletions of a compaction.
#[must_use]
pub fn sweep() -> Command {
    Command::Sweep(Sweep {})
}
