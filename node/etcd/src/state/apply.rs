//! Applying: a group of entries becomes one batch of the engine, with the position of the last one.

use std::sync::atomic::Ordering;

use standby_core::{Entry, EntryKind, Epoch, NewHistory, Position};
use standby_interface::MachineError;

use super::core::{Core, Sweep};
use super::index::Swept;
use super::write::{Group, Head, WriteTxn};
use super::{EtcdState, Outcome, incomprehensible, records, storage, txn};
use crate::command::{self, Command};
use crate::error::EtcdError;
use crate::limits::{MAX_LEASE_TTL_S, SWEEP_KEYS_PER_APPLY, SWEEP_VERSIONS_PER_APPLY};
use crate::pb::commandpb::{GrantLease, RevokeLease};
use crate::pb::etcdserverpb::{
    CompactionResponse, LeaseGrantResponse, LeaseRevokeResponse, PutRequest, PutResponse,
    TxnRequest, TxnResponse,
};
use crate::pb::statepb;
use prost::Message;

impl EtcdState {
    /// Applies the entries to memory and engine. Nothing of them is readable before the group is
    /// published.
    pub(super) fn apply_group(
        &mut self,
        entries: &[Entry],
    ) -> Result<(Vec<Outcome>, Group), MachineError> {
        let before = self.head;
        let mut group = Group {
            events: self
                .sink
                .as_ref()
                .filter(|sink| sink.listens())
                .map(|_| Vec::with_capacity(entries.len())),
            begins: before.revision,
            ..Group::default()
        };
        self.sweep(&mut group);
        let mut outcomes = Vec::with_capacity(entries.len());
        for entry in entries {
            outcomes.push(self.apply_entry(entry, &mut group)?);
        }
        let batch = &mut group.batch;
        if self.head.revision != before.revision {
            batch.put(
                records::META_REVISION,
                records::encode_number(self.head.revision),
            );
        }
        if self.head.compacted != before.compacted {
            batch.put(
                records::META_COMPACTED,
                records::encode_number(self.head.compacted),
            );
        }
        batch.put(
            records::META_APPLIED,
            records::encode_position(self.applied),
        );
        self.shared
            .engine
            .write(std::mem::take(batch))
            .map_err(storage)?;
        if self.head.compacted != before.compacted {
            // Only now: until the group is readable, readers are below the compacted revision.
            self.shared.core.write().sweep = Some(Sweep {
                revision: self.head.compacted,
                after: None,
            });
        }
        Ok((outcomes, group))
    }

    fn apply_entry(&mut self, entry: &Entry, group: &mut Group) -> Result<Outcome, MachineError> {
        let position = entry.position;
        assert!(
            position.index == self.applied.index.next() && position.epoch >= self.applied.epoch,
            "entry {position} does not follow {}: none may be skipped or applied twice",
            self.applied
        );
        let outcome = match entry.kind {
            EntryKind::Open => {
                self.begin_history(entry, group)?;
                Outcome::Opened
            }
            EntryKind::Data => {
                let command = command::decode(entry.payload.clone())
                    .map_err(|error| incomprehensible(position, error.to_string()))?;
                self.run(command, position, group)
                    .map_err(|error| MachineError::Storage(Box::new(error)))?
            }
        };
        self.applied = position;
        Ok(outcome)
    }

    /// What etcd does with a store that was restored from a backup, with the same means: the revision
    /// jumps above every one that a client may have seen in a history that was given up, so that none
    /// is given twice, and all below is compacted, so that no watch or read goes on as if nothing had
    /// happened.
    fn begin_history(&mut self, entry: &Entry, group: &mut Group) -> Result<(), MachineError> {
        let Some(history) = new_history(entry)? else {
            return Ok(());
        };
        if history.epoch.0 <= self.shared.history.load(Ordering::Relaxed) {
            return Ok(());
        }
        // An entry adds one revision at most. One more, so that what is read at the jump itself, and
        // watched from behind it, can only be of the new history.
        let jump = i64::try_from(history.beyond).ok();
        let jumped = jump.and_then(|jump| self.head.revision.checked_add(jump)?.checked_add(1));
        let revision = jumped.ok_or_else(|| {
            let what = format!("a jump by {} is too far", history.beyond);
            incomprehensible(entry.position, what)
        })?;
        self.head = Head {
            revision,
            compacted: revision,
        };
        let epoch = i64::try_from(history.epoch.0)
            .map_err(|_| incomprehensible(entry.position, "an epoch beyond 63 bits"))?;
        let number = records::encode_number(epoch);
        group.batch.put(records::META_HISTORY, number);
        group.history = Some(history.epoch.0);
        Ok(())
    }

    /// Runs one command. An error is the storage's; what a client is refused is an outcome.
    fn run(
        &mut self,
        command: Command,
        position: Position,
        group: &mut Group,
    ) -> Result<Outcome, EtcdError> {
        let mut core = self.shared.core.write();
        let txn = WriteTxn::new(&mut core, &*self.shared.engine, group, self.head);
        let (outcome, revision) = match command {
            Command::Put(request) => {
                let (put, revision) = put(txn, request)?;
                (Outcome::Put(put), revision)
            }
            Command::DeleteRange(request) => {
                let mut txn = txn;
                let response = txn::delete_range(&mut txn, &request)?;
                (Outcome::DeleteRange(Ok(response)), txn.finish())
            }
            Command::Txn(request) => {
                let (response, revision) = transaction(txn, request)?;
                (Outcome::Txn(response), revision)
            }
            Command::RevokeLease(request) => {
                let (response, revision) = revoke(txn, &request, position.epoch)?;
                (Outcome::RevokeLease(response), revision)
            }
            Command::GrantLease(request) => {
                let index = position.index.0;
                let granted = grant(&mut core, group, &request, index, self.head.revision);
                (Outcome::GrantLease(granted), self.head.revision)
            }
            Command::Compact(request) => {
                let compacted = compact(&mut self.head, request.revision);
                (Outcome::Compact(compacted), self.head.revision)
            }
            Command::Sweep(_) => (Outcome::Swept, self.head.revision),
        };
        self.head.revision = revision;
        Ok(outcome)
    }

    /// Does a bounded part of the deletions a compaction left to do. What is deleted can no longer be
    /// asked for, so that it does not matter when it happens.
    fn sweep(&self, group: &mut Group) {
        let mut dropped = Vec::new();
        {
            let mut core = self.shared.core.write();
            let Some(Sweep { revision, after }) = core.sweep.take() else {
                return;
            };
            let bounds = (SWEEP_KEYS_PER_APPLY, SWEEP_VERSIONS_PER_APPLY);
            match core.index.sweep(revision, after, bounds, &mut dropped) {
                Swept::UpTo(after) => core.sweep = Some(Sweep { revision, after }),
                Swept::All => {
                    let swept = records::encode_number(revision);
                    group.batch.put(records::META_SWEPT, swept);
                }
            }
        }
        for rev in dropped {
            group.batch.remove(records::record_key(rev));
        }
    }
}

/// What an entry that opens an epoch says of a new history.
pub(super) fn new_history(entry: &Entry) -> Result<Option<NewHistory>, MachineError> {
    if entry.kind != EntryKind::Open || entry.payload.is_empty() {
        return Ok(None);
    }
    let history = NewHistory::decode(&entry.payload);
    let unknown = || incomprehensible(entry.position, "what opens the epoch: it is newer");
    history.map(Some).ok_or_else(unknown)
}

impl Head {
    /// Of an empty store.
    pub(super) const EMPTY: Self = Self {
        revision: super::core::FIRST_REVISION,
        compacted: super::core::NOT_COMPACTED,
    };
}

/// Keeps storage failures apart from what a client is refused.
fn refusal<T>(result: Result<T, EtcdError>) -> Result<Result<T, EtcdError>, EtcdError> {
    match result {
        Err(error @ EtcdError::Storage(_)) => Err(error),
        result => Ok(result),
    }
}

type Run<T> = Result<(Result<T, EtcdError>, i64), EtcdError>;

fn put(mut txn: WriteTxn<'_>, request: PutRequest) -> Run<PutResponse> {
    if let Err(refused) = refusal(txn::check_put(&txn, &request))? {
        return Ok((Err(refused), txn.base()));
    }
    let response = txn::put(&mut txn, request)?;
    Ok((Ok(response), txn.finish()))
}

fn transaction(mut txn: WriteTxn<'_>, request: TxnRequest) -> Run<TxnResponse> {
    let mut path = txn::path(&txn, &request)?;
    if let Err(refused) = refusal(txn::check(&txn, &request, &mut path.clone()))? {
        return Ok((Err(refused), txn.base()));
    }
    let mut response = txn::run(&mut txn, request, &mut path)?;
    let revision = txn.finish();
    response.header = txn::header(revision);
    Ok((Ok(response), revision))
}

/// Deletes the keys of the lease, sorted, in one revision, and the lease. What is to end it because it ran
/// out must have been written in the `epoch` in which it did: in a later one it may have been renewed.
fn revoke(mut txn: WriteTxn<'_>, request: &RevokeLease, epoch: Epoch) -> Run<LeaseRevokeResponse> {
    let in_time = request.epoch == 0 || request.epoch == epoch.0;
    let meant = |index| index == request.granted_index && in_time;
    let lease = txn.core.leases.get(request.id);
    let lease = lease.filter(|lease| !request.expired || meant(lease.granted_index));
    let Some(lease) = lease else {
        let revision = txn.base();
        let gone = LeaseRevokeResponse {
            header: txn::header(revision),
        };
        let answer = if request.expired {
            Ok(gone)
        } else {
            Err(EtcdError::LeaseNotFound)
        };
        return Ok((answer, revision));
    };
    let keys: Vec<_> = lease.keys.iter().cloned().collect();
    for key in keys {
        txn.delete_range(&key, &[])?;
    }
    txn.forget_lease(request.id);
    let revision = txn.finish();
    Ok((
        Ok(LeaseRevokeResponse {
            header: txn::header(revision),
        }),
        revision,
    ))
}

fn grant(
    core: &mut Core,
    group: &mut Group,
    request: &GrantLease,
    granted_index: u64,
    revision: i64,
) -> Result<LeaseGrantResponse, EtcdError> {
    let GrantLease { id, ttl_s } = *request;
    if id == 0 {
        return Err(EtcdError::LeaseNotFound);
    }
    if ttl_s > MAX_LEASE_TTL_S {
        return Err(EtcdError::LeaseTtlTooLarge);
    }
    if core.leases.contains(id) {
        return Err(EtcdError::LeaseExists);
    }
    core.leases.grant(id, ttl_s, granted_index);
    group.batch.put(
        records::lease_key(id),
        statepb::Lease {
            ttl_s,
            granted_index,
        }
        .encode_to_vec(),
    );
    Ok(LeaseGrantResponse {
        header: txn::header(revision),
        id,
        ttl: ttl_s,
        error: String::new(),
    })
}

fn compact(head: &mut Head, revision: i64) -> Result<CompactionResponse, EtcdError> {
    if revision <= head.compacted {
        return Err(EtcdError::Compacted);
    }
    if revision > head.revision {
        return Err(EtcdError::FutureRevision);
    }
    head.compacted = revision;
    Ok(CompactionResponse {
        header: txn::header(head.revision),
    })
}
