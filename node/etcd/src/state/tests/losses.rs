//! Acknowledged writes were given up by consent: what a client can see of that.

use std::sync::Mutex;

use standby_core::NewHistory;

use super::*;
use crate::state::EventSink;
use crate::watch::{History, HistoryError, RevisionEvents, Want};

/// What watchers were told: revisions, and jumps as negative numbers.
#[derive(Default)]
struct Told(Mutex<Vec<i64>>);

impl EventSink for Told {
    fn applied(&self, revisions: &[RevisionEvents]) {
        let revisions = revisions.iter().map(|events| events.revision);
        self.0.lock().unwrap().extend(revisions);
    }

    fn listens(&self) -> bool {
        true
    }

    fn skipped(&self, _: i64) {}

    fn jumped(&self, revision: i64) {
        self.0.lock().unwrap().push(-revision);
    }

    fn restored(&self, _: i64) {}
}

impl Machine {
    fn opening(&self, ahead: u64, epoch: u64, beyond: u64) -> Entry {
        let index = Index(self.state.applied().index.0 + 1 + ahead);
        let history = NewHistory {
            epoch: Epoch(epoch),
            beyond,
        };
        Entry::open_history(Position::new(Epoch(1), index), history)
    }

    fn lose(&mut self, epoch: u64, beyond: u64) {
        let opening = self.opening(0, epoch, beyond);
        self.state.apply(&[opening]).unwrap();
    }

    fn at(&self, revision: i64) -> Result<RangeResponse, EtcdError> {
        self.range(&RangeRequest {
            revision,
            ..range("a", "")
        })
    }
}

/// `a` was put at revision 2, and 10 entries may have been written behind that and lost.
fn after_a_loss() -> Machine {
    let mut m = Machine::new();
    m.put(put("a", "1")).unwrap();
    m.lose(7, 10);
    m
}

#[test]
fn the_revision_jumps_above_everything_that_may_have_been_lost() {
    let mut m = after_a_loss();
    assert_eq!(m.state.view().current_revision(), 13);
    assert_eq!(m.put(put("a", "2")).unwrap().header.unwrap().revision, 14);
}

#[test]
fn what_survived_is_read_and_revisions_before_the_jump_are_compacted() {
    let m = after_a_loss();
    let kv = m.at(0).unwrap().kvs.remove(0);
    assert_eq!((kv.value, kv.mod_revision), (bytes("1"), 2));
    assert_eq!(m.at(13).unwrap().kvs.len(), 1);
    for lost_or_before in [2, 3, 12] {
        assert_eq!(m.at(lost_or_before), Err(EtcdError::Compacted));
    }
    assert_eq!(m.at(14), Err(EtcdError::FutureRevision));
    let all = |_: &Bytes| Want::Events;
    let history = m.state.view().read(5, 13, &all, 1 << 20);
    assert!(matches!(
        history,
        Err(HistoryError::Compacted { compacted: 13 })
    ));
}

#[test]
fn a_transaction_that_compares_with_a_lost_revision_fails() {
    let mut m = after_a_loss();
    for lost in 3..=13 {
        let unchanged = compare(
            "a",
            CompareTarget::Mod,
            CompareResult::Equal,
            TargetUnion::ModRevision(lost),
        );
        let request = TxnRequest {
            compare: vec![unchanged],
            success: vec![op(Request::RequestPut(put("b", "1")))],
            ..TxnRequest::default()
        };
        assert!(!m.txn(request).unwrap().succeeded);
    }
}

#[test]
fn later_epochs_say_it_again_and_nothing_jumps_twice() {
    let mut m = after_a_loss();
    m.lose(7, 400);
    assert_eq!(m.state.view().current_revision(), 13);
    assert_eq!(m.state.view().history(), 7);
    m.lose(9, 4);
    assert_eq!(m.state.view().current_revision(), 18);
    assert_eq!(m.state.view().history(), 9);
}

#[test]
fn watchers_are_told_between_what_lies_before_and_behind() {
    let mut m = Machine::new();
    let told = Arc::new(Told::default());
    m.state.set_event_sink(Arc::<Told>::clone(&told));
    let entries = [
        m.entry(0, put("a", "1").into()),
        m.opening(1, 7, 10),
        m.entry(2, put("a", "2").into()),
    ];
    assert_eq!(m.state.apply(&entries).unwrap().len(), 3);
    assert_eq!(*told.0.lock().unwrap(), [2, -13, 14]);
}

#[test]
fn the_history_survives_a_restart_and_travels_in_a_snapshot() {
    let mut m = after_a_loss();
    m.reopen();
    assert_eq!(m.state.view().history(), 7);
    assert_eq!(m.at(12), Err(EtcdError::Compacted));
    let mut source = m.state.snapshot().unwrap();
    let mut other = Machine::new();
    other.state.begin_restore().unwrap();
    while let Some(piece) = source.next_chunk().unwrap() {
        other.state.restore_chunk(piece).unwrap();
    }
    other.state.finish_restore(source.position()).unwrap();
    assert_eq!(other.state.view().history(), 7);
    assert_eq!(other.state.view().current_revision(), 13);
    assert_eq!(other.at(12), Err(EtcdError::Compacted));
}

#[test]
fn an_opening_of_a_newer_version_is_not_passed_over() {
    let mut m = Machine::new();
    let mut opening = m.opening(0, 7, 10);
    opening.payload = Bytes::from_static(b"\x02something");
    assert!(m.state.apply(&[opening]).is_err());
}
