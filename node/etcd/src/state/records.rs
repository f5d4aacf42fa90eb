//! How the state lies in the engine: one ordered keyspace, a letter before each kind of key.
//!
//! | key | value |
//! |---|---|
//! | `k` revision (8 bytes, big-endian) sub (4 bytes, big-endian) | the `mvccpb.KeyValue`; a deletion has only its key |
//! | `l` lease id (8 bytes, big-endian) | `statepb.Lease` |
//! | `m` + name | format, applied position, revision, compacted and swept revision, history |
//!
//! Big-endian, so that the engine's order is the order of revisions.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use standby_core::{Epoch, Index, Position};

use super::index::Rev;
use crate::pb::mvccpb::KeyValue;

/// The layout described above.
pub(crate) const FORMAT: i64 = 1;

pub(crate) const META_FORMAT: &[u8] = b"mformat";
pub(crate) const META_APPLIED: &[u8] = b"mapplied";
pub(crate) const META_REVISION: &[u8] = b"mrevision";
pub(crate) const META_COMPACTED: &[u8] = b"mcompacted";
pub(crate) const META_SWEPT: &[u8] = b"mswept";
/// The epoch that the history is named by; absent while nothing was ever given up.
pub(crate) const META_HISTORY: &[u8] = b"mhistory";

/// Keys from here on are written again and again; those below, the records, once and ascending.
pub const REWRITTEN_FROM: &[u8] = b"l";

pub(crate) const RECORD: u8 = b'k';
pub(crate) const LEASE: u8 = b'l';

/// Where the record of `rev` lies.
pub(crate) fn record_key(rev: Rev) -> Bytes {
    let mut key = BytesMut::with_capacity(13);
    key.put_u8(RECORD);
    key.put_i64(rev.main);
    key.put_u32(rev.sub);
    key.freeze()
}

/// The revision whose record lies at `key`, if it is a record's.
pub(crate) fn record_rev(key: &[u8]) -> Option<Rev> {
    let (&kind, rest) = key.split_first()?;
    let (main, sub) = rest.split_at_checked(8)?;
    (kind == RECORD).then_some(())?;
    let main = i64::from_be_bytes(main.try_into().ok()?);
    let sub = u32::from_be_bytes(sub.try_into().ok()?);
    Some(Rev { main, sub })
}

/// Where the lease `id` lies.
pub(crate) fn lease_key(id: i64) -> Bytes {
    let mut key = BytesMut::with_capacity(9);
    key.put_u8(LEASE);
    key.put_i64(id);
    key.freeze()
}

/// The lease that lies at `key`, if it is a lease's.
pub(crate) fn lease_id(key: &[u8]) -> Option<i64> {
    let (&kind, rest) = key.split_first()?;
    (kind == LEASE).then_some(())?;
    Some(i64::from_be_bytes(rest.try_into().ok()?))
}

/// A record as it is kept. Slices of it are what reads and watches hand out, so that a value is held
/// in memory once, whatever buffer it came in.
pub(crate) fn encode_record(kv: &KeyValue) -> Bytes {
    Bytes::from(kv.encode_to_vec())
}

/// The record of `rev`. A deletion gets its revision back, which is not kept with it.
pub(crate) fn decode_record(rev: Rev, record: Bytes) -> Result<KeyValue, prost::DecodeError> {
    let mut kv = KeyValue::decode(record)?;
    if is_deletion(&kv) {
        kv.mod_revision = rev.main;
    }
    Ok(kv)
}

/// Whether a record is of a deletion: a put has version 1 at least.
pub(crate) const fn is_deletion(kv: &KeyValue) -> bool {
    kv.version == 0
}

pub(crate) fn encode_number(number: i64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

pub(crate) fn decode_number(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.try_into().ok()?))
}

pub(crate) fn encode_position(position: Position) -> Bytes {
    let mut bytes = BytesMut::with_capacity(16);
    bytes.put_u64(position.epoch.0);
    bytes.put_u64(position.index.0);
    bytes.freeze()
}

pub(crate) fn decode_position(bytes: &[u8]) -> Option<Position> {
    let (epoch, index) = bytes.split_at_checked(8)?;
    let epoch = u64::from_be_bytes(epoch.try_into().ok()?);
    let index = u64::from_be_bytes(index.try_into().ok()?);
    Some(Position::new(Epoch(epoch), Index(index)))
}
