//! Building the part in memory from the engine, by one pass over it.

use std::collections::HashMap;
use std::ops::Bound;

use bytes::Bytes;
use prost::Message;
use standby_core::Position;
use standby_interface::MachineError;
use standby_store::engine::Engine;

use super::core::{Core, NOT_COMPACTED, Sweep};
use super::write::Head;
use super::{incomprehensible, records, storage};
use crate::pb::statepb;

/// The state in `engine`. An engine without a format is empty, or was left in the middle of a restore
/// and counts as empty.
pub(super) fn load(engine: &dyn Engine) -> Result<(Core, Head), MachineError> {
    let mut core = Core::empty();
    let Some(format) = number(engine, records::META_FORMAT)? else {
        engine.clear().map_err(storage)?;
        let mut batch = standby_store::engine::Batch::default();
        batch.put(
            records::META_FORMAT,
            records::encode_number(records::FORMAT),
        );
        engine.write(batch).map_err(storage)?;
        return Ok((core, Head::EMPTY));
    };
    if format != records::FORMAT {
        let known = records::FORMAT;
        return Err(incomprehensible(
            Position::START,
            format!("the state's format is {format}, this version knows {known}: it is newer"),
        ));
    }
    if let Some(applied) = engine.get(records::META_APPLIED).map_err(storage)? {
        core.applied = records::decode_position(&applied)
            .ok_or_else(|| incomprehensible(Position::START, "the applied position is damaged"))?;
    }
    let mut head = Head::EMPTY;
    if let Some(revision) = number(engine, records::META_REVISION)? {
        head.revision = revision;
    }
    if let Some(compacted) = number(engine, records::META_COMPACTED)? {
        head.compacted = compacted;
    }
    core.readable = head.revision;
    core.compacted = head.compacted;
    let swept = number(engine, records::META_SWEPT)?.unwrap_or(NOT_COMPACTED);
    if swept != head.compacted {
        core.sweep = Some(Sweep {
            revision: head.compacted,
            after: None,
        });
    }
    let leased = load_index(engine, &mut core)?;
    load_leases(engine, &mut core)?;
    for (key, lease) in leased {
        core.leases.bind(&key, lease);
    }
    Ok((core, head))
}

/// The epoch that the history in `engine` is named by.
pub(super) fn history(engine: &dyn Engine) -> Result<u64, MachineError> {
    let epoch = number(engine, records::META_HISTORY)?.unwrap_or(0);
    Ok(u64::try_from(epoch).unwrap_or(0))
}

fn number(engine: &dyn Engine, name: &'static [u8]) -> Result<Option<i64>, MachineError> {
    let Some(bytes) = engine.get(name).map_err(storage)? else {
        return Ok(None);
    };
    let what = || format!("{} is damaged", String::from_utf8_lossy(name));
    let number =
        records::decode_number(&bytes).ok_or_else(|| incomprehensible(Position::START, what()))?;
    Ok(Some(number))
}

/// Fills the index; returns the lease of each living key that has one.
fn load_index(engine: &dyn Engine, core: &mut Core) -> Result<HashMap<Bytes, i64>, MachineError> {
    let position = core.applied;
    let mut leased = HashMap::new();
    let (from, to) = (&[records::RECORD][..], &[records::RECORD + 1][..]);
    for pair in engine.range(Bound::Included(from), Bound::Excluded(to)) {
        let (key, record) = pair.map_err(storage)?;
        let rev = records::record_rev(&key)
            .ok_or_else(|| incomprehensible(position, format!("{key:?} is no record's key")))?;
        if rev.main > core.readable {
            let newest = core.readable;
            let what = format!(
                "a record of revision {} lies beyond the newest, {newest}",
                rev.main
            );
            return Err(incomprehensible(position, what));
        }
        let kv = records::decode_record(rev, record).map_err(|error| {
            incomprehensible(
                position,
                format!("record {}.{}: {error}", rev.main, rev.sub),
            )
        })?;
        core.index
            .restore(&kv.key, rev, kv.create_revision, kv.version);
        if records::is_deletion(&kv) || kv.lease == 0 {
            leased.remove(&kv.key);
        } else {
            leased.insert(Bytes::copy_from_slice(&kv.key), kv.lease);
        }
    }
    Ok(leased)
}

fn load_leases(engine: &dyn Engine, core: &mut Core) -> Result<(), MachineError> {
    let (from, to) = (&[records::LEASE][..], &[records::LEASE + 1][..]);
    for pair in engine.range(Bound::Included(from), Bound::Excluded(to)) {
        let (key, value) = pair.map_err(storage)?;
        let id = records::lease_id(&key)
            .ok_or_else(|| incomprehensible(core.applied, format!("{key:?} is no lease's key")))?;
        let lease = statepb::Lease::decode(value)
            .map_err(|error| incomprehensible(core.applied, format!("lease {id}: {error}")))?;
        core.leases.grant(id, lease.ttl_s, lease.granted_index);
    }
    Ok(())
}
