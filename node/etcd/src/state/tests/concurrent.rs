//! Readers beside the one that applies.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;
use crate::watch::{History, HistoryError, Want};

const REVISIONS: i64 = 3_000;
const KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// Writes all keys in each revision, and compacts close behind.
fn write(m: &mut Machine) {
    for n in 0..REVISIONS {
        let puts = KEYS.map(|key| op(Request::RequestPut(put(key, &n.to_string()))));
        let request = TxnRequest {
            success: puts.to_vec(),
            ..TxnRequest::default()
        };
        let group = [
            m.entry(0, request.into()),
            m.entry(1, command::compact(m.revision())),
        ];
        m.state.apply(&group).unwrap();
    }
}

/// Ends the readers, also when the writer fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn readers_never_see_part_of_a_revision() {
    let mut m = Machine::new();
    let view = m.state.view();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = || {
            let mut last = 0;
            while !done.load(Ordering::Relaxed) {
                let answer = view
                    .range(&range("a", "z"))
                    .expect("the newest is readable");
                let revision = answer.header.unwrap().revision;
                assert!(revision >= last, "time does not run backwards");
                last = revision;
                let expected = if revision == 1 { 0 } else { KEYS.len() };
                assert_eq!(answer.kvs.len(), expected);
                assert!(answer.kvs.iter().all(|kv| kv.mod_revision == revision));
            }
        };
        let watcher = || {
            let all = |_: &Bytes| Want::WithPrevious;
            while !done.load(Ordering::Relaxed) {
                let from = view.current_revision();
                match view.read(from + 1, i64::MAX, &all, usize::MAX) {
                    Ok(chunk) => {
                        assert!(chunk.revisions.iter().all(|r| r.events.len() == KEYS.len()));
                    }
                    Err(HistoryError::Compacted { compacted }) => assert!(compacted > from),
                    Err(error) => panic!("{error}"),
                }
            }
        };
        scope.spawn(reader);
        scope.spawn(watcher);
        let _ends = Done(&done);
        write(&mut m);
    });
    assert_eq!(view.current_revision(), REVISIONS + 1);
}
