//! What a node answers to clients, as `node/etcd/src/services` does: writes go through the log, reads
//! wait for proof of primacy, leases' times live on the primary.

use bytes::Bytes;
use standby_core::replica::{Input, ReadTicket};
use standby_etcd::command;
use standby_etcd::lessor::{Expired, Renewal};
use standby_etcd::limits::{LEASE_EXPIRIES_PER_S, LEASE_TICK_MS, MIN_LEASE_TTL_S, SWEEPS_PER_TICK};
use standby_etcd::pb::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, compare,
    request_op,
};

use super::{ProcRef, World};
use crate::clients::{Asker, Failure, Reply, Request, What};

/// The log's payload for a request that writes.
fn payload(what: &What) -> Option<Bytes> {
    let put = |key: &Bytes, value: u64, lease: i64| PutRequest {
        key: key.clone(),
        value: Bytes::copy_from_slice(&value.to_le_bytes()),
        lease,
        ..PutRequest::default()
    };
    Some(match what {
        What::Put { key, value, lease } => command::encode(put(key, *value, *lease).into()),
        What::Delete { key } => command::encode(
            DeleteRangeRequest {
                key: key.clone(),
                ..DeleteRangeRequest::default()
            }
            .into(),
        ),
        What::Swap { key, was, value } => {
            let compare = Compare {
                result: compare::CompareResult::Equal.into(),
                target: compare::CompareTarget::Mod.into(),
                key: key.clone(),
                target_union: Some(compare::TargetUnion::ModRevision(*was)),
                ..Compare::default()
            };
            let op = |request| RequestOp {
                request: Some(request),
            };
            let read = RangeRequest {
                key: key.clone(),
                ..RangeRequest::default()
            };
            let txn = TxnRequest {
                compare: vec![compare],
                success: vec![op(request_op::Request::RequestPut(put(key, *value, 0)))],
                failure: vec![op(request_op::Request::RequestRange(read))],
            };
            command::encode(txn.into())
        }
        What::Compact { revision } => command::encode(command::compact(*revision)),
        What::Grant { id, ttl } => {
            command::encode(command::grant_lease(*id, (*ttl).max(MIN_LEASE_TTL_S)))
        }
        What::Revoke { id } => command::encode(command::revoke_lease(*id)),
        What::Range { .. } | What::KeepAlive { .. } => return None,
    })
}

impl World {
    /// A request arrives.
    pub(super) fn asked(&mut self, proc: ProcRef, request: Request) {
        let Some(process) = self.proc_mut(proc) else {
            // The host says at once that nobody has this connection any more, if it runs.
            return self.reset(proc, request.asker);
        };
        if let Some(payload) = payload(&request.what) {
            if !process.replica.accepts_proposals() {
                return self.answer(proc, request.asker, Reply::Failed(Failure::NotPrimary));
            }
            let full = self.volumes[process_volume(self, proc)].full;
            if full
                && !matches!(
                    request.what,
                    What::Delete { .. } | What::Compact { .. } | What::Revoke { .. }
                )
            {
                return self.answer(proc, request.asker, Reply::Failed(Failure::Refused));
            }
            let process = self.proc_mut(proc).expect("looked up above");
            process.waiting.push_back((payload, request.asker));
            return self.propose_waiting(proc);
        }
        match &request.what {
            What::Range {
                serializable: true, ..
            } => self.read(proc, &request),
            _ => self.read_with_proof(proc, request),
        }
    }

    fn read_with_proof(&mut self, proc: ProcRef, request: Request) {
        let now = self.now;
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        let local = process.clock.at(now);
        let replica = &process.replica;
        if local < replica.read_lease() && process.applied().index >= replica.commit() {
            self.report.leased_reads += 1;
            return self.read(proc, &request);
        }
        let Some(ticket) = self.ticket(proc) else {
            return;
        };
        if let Some(process) = self.proc_mut(proc) {
            process.reads.insert(ticket, request);
        }
        self.step(proc, Input::Read(ticket));
    }

    /// A read has proof of primacy; what it must see is applied.
    pub(super) fn read_ready(&mut self, proc: ProcRef, ticket: ReadTicket) {
        let request = self.proc_mut(proc).and_then(|p| p.reads.remove(&ticket));
        if let Some(request) = request {
            self.read(proc, &request);
        }
    }

    fn read(&mut self, proc: ProcRef, request: &Request) {
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        let reply = match &request.what {
            What::Range { key, end, .. } => {
                let range = RangeRequest {
                    key: key.clone(),
                    range_end: end.clone(),
                    ..RangeRequest::default()
                };
                match process.view.range(&range) {
                    Ok(response) => Reply::Range(response),
                    // While a snapshot is taken in there is nothing to read.
                    Err(_) => Reply::Failed(Failure::Refused),
                }
            }
            What::KeepAlive { id } => self.renew(proc, *id),
            _ => return,
        };
        self.answer(proc, request.asker, reply);
    }

    // === leases ===

    fn attend_lessor(&mut self, proc: ProcRef) {
        let now = self.now;
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        let local = process.clock.at(now);
        if process.replica.serves() {
            let epoch = process.replica.epoch();
            process.lessor.promote(epoch, &process.view, local);
        } else {
            process.lessor.demote();
        }
    }

    fn renew(&mut self, proc: ProcRef, id: i64) -> Reply {
        self.attend_lessor(proc);
        let now = self.now;
        let Some(process) = self.proc_mut(proc) else {
            return Reply::Failed(Failure::Unknown);
        };
        let local = process.clock.at(now);
        match process.lessor.renew(id, &process.view, local) {
            Renewal::Renewed(ttl) => Reply::Renewed(ttl),
            Renewal::Unknown => Reply::Renewed(0),
            Renewal::RanOut => Reply::Failed(Failure::Refused),
            Renewal::NotPrimary => Reply::Failed(Failure::NotPrimary),
        }
    }

    /// Leases that ran out are ended by an entry each; a compaction's deletions go on.
    pub(super) fn look_at_leases(&mut self, proc: ProcRef) {
        self.attend_lessor(proc);
        let now = self.now;
        let Some(process) = self.proc_mut(proc) else {
            return;
        };
        if !process.replica.serves() {
            return;
        }
        let local = process.clock.at(now);
        let ticks = usize::try_from(1_000 / LEASE_TICK_MS).expect("a few ticks a second");
        let most = LEASE_EXPIRIES_PER_S / ticks;
        let expired = process.lessor.take_expired(&process.view, local, most);
        for Expired {
            id,
            granted_index,
            epoch,
        } in expired
        {
            let entry = command::encode(command::expire_lease(id, granted_index, epoch));
            process.waiting.push_back((entry, Asker::NOBODY));
        }
        if process.view.is_sweeping() {
            for _ in 0..SWEEPS_PER_TICK.min(2) {
                let entry = command::encode(command::sweep());
                process.waiting.push_back((entry, Asker::NOBODY));
            }
        }
        self.propose_waiting(proc);
    }
}

fn process_volume(world: &World, proc: ProcRef) -> usize {
    world.proc(proc).expect("the caller looked it up").volume
}
