use std::sync::Mutex;

use super::*;
use crate::pb::mvccpb::event::EventType;
use crate::state::EventSink;
use crate::watch::{History, HistoryError, RevisionEvents, Want};

#[derive(Default)]
struct Told(Mutex<Vec<RevisionEvents>>);

impl EventSink for Told {
    fn applied(&self, revisions: &[RevisionEvents]) {
        self.0.lock().unwrap().extend_from_slice(revisions);
    }

    fn jumped(&self, _: i64) {}

    fn listens(&self) -> bool {
        true
    }

    fn skipped(&self, _: i64) {}

    fn restored(&self, _: i64) {}
}

/// A machine whose watchers were told of a put, an overwrite of two keys, and a deletion.
fn machine() -> (Machine, Arc<Told>) {
    let told = Arc::new(Told::default());
    let mut m = Machine::new();
    m.state.set_event_sink(Arc::<Told>::clone(&told));
    m.put(put("a", "1")).unwrap();
    let request = TxnRequest {
        success: vec![
            op(Request::RequestPut(put("a", "2"))),
            op(Request::RequestPut(put("b", "1"))),
        ],
        ..TxnRequest::default()
    };
    m.txn(request).unwrap();
    m.delete(delete("a", ""));
    (m, told)
}

fn history(
    m: &Machine,
    from: i64,
    limit_bytes: usize,
) -> Result<Vec<RevisionEvents>, HistoryError> {
    let all = |_: &Bytes| Want::WithPrevious;
    m.state
        .view()
        .read(from, i64::MAX, &all, limit_bytes)
        .map(|chunk| chunk.revisions)
}

#[test]
fn watchers_are_told_each_revision_whole_with_what_was_before() {
    let (_, told) = machine();
    let told = told.0.lock().unwrap();
    let revisions: Vec<i64> = told.iter().map(|events| events.revision).collect();
    assert_eq!(revisions, [2, 3, 4]);
    let second = &told[1].events;
    assert_eq!(second.len(), 2);
    assert_eq!(second[0].prev_kv.as_ref().unwrap().value, bytes("1"));
    assert_eq!(second[1].prev_kv, None);
    let deletion = &told[2].events[0];
    let kv = deletion.kv.as_ref().unwrap();
    assert_eq!(deletion.r#type(), EventType::Delete);
    assert_eq!((kv.mod_revision, kv.version, kv.value.len()), (4, 0, 0));
    assert_eq!(deletion.prev_kv.as_ref().unwrap().value, bytes("2"));
}

#[test]
fn history_tells_the_same_as_watchers_were_told() {
    let (mut m, told) = machine();
    assert_eq!(history(&m, 2, 1 << 20).unwrap(), *told.0.lock().unwrap());
    m.reopen();
    assert_eq!(history(&m, 2, 1 << 20).unwrap(), *told.0.lock().unwrap());
}

#[test]
fn history_ends_early_after_a_whole_revision() {
    let (m, _) = machine();
    let all = |_: &Bytes| Want::Events;
    let chunk = m.state.view().read(3, 4, &all, 1).unwrap();
    assert_eq!((chunk.revisions.len(), chunk.covered), (1, 3));
    assert_eq!(chunk.revisions[0].events.len(), 2);
}

#[test]
fn history_below_the_compacted_revision_is_refused() {
    let (mut m, told) = machine();
    m.compact(3).unwrap();
    m.run(command::sweep());
    assert!(matches!(
        history(&m, 2, 1 << 20),
        Err(HistoryError::Compacted { compacted: 3 })
    ));
    let later = history(&m, 4, 1 << 20).unwrap();
    assert_eq!(
        later,
        told.0.lock().unwrap()[2..],
        "what comes after keeps its previous values"
    );
}

#[test]
fn a_watch_from_the_compacted_revision_sees_the_deletion_there() {
    let (mut m, _) = machine();
    m.compact(4).unwrap();
    m.run(command::sweep());
    m.reopen();
    let events = history(&m, 4, 1 << 20).unwrap();
    assert_eq!(events[0].events[0].r#type(), EventType::Delete);
}
