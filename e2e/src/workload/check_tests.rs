//! The judge is judged: each kind of wrong is found, and nothing else.

use std::collections::BTreeMap;

use super::{Stored, Verdict, compare};
use crate::workload::history::{History, Put, Seen};
use crate::workload::writer;

fn put(key: &str, revision: Option<i64>) -> Put {
    let at = revision.unwrap_or(0) * 1000;
    Put {
        key: key.into(),
        begun_us: at,
        ended_us: at,
        revision,
        doubt: None,
    }
}

fn seen(key: &str, revision: i64) -> Seen {
    Seen {
        key: key.into(),
        revision,
        at_us: 0,
    }
}

fn stored(keys: &[(&str, i64)]) -> BTreeMap<String, Stored> {
    keys.iter()
        .map(|(key, revision)| {
            let value = writer::value(key, 8);
            (
                (*key).to_owned(),
                Stored {
                    value,
                    revision: *revision,
                    version: 1,
                },
            )
        })
        .collect()
}

fn good() -> History {
    History {
        puts: vec![put("a", Some(2)), put("b", Some(3))],
        seen: vec![seen("a", 2), seen("b", 3)],
        watch_reopened: 0,
    }
}

#[test]
fn a_whole_history_is_clean() {
    let verdict = compare(&good(), &stored(&[("a", 2), ("b", 3)]));
    assert!(verdict.is_clean());
    assert_eq!(verdict.acknowledged_writes, 2);
}

#[test]
fn an_acknowledged_key_that_is_gone_is_lost() {
    let verdict = compare(&good(), &stored(&[("a", 2)]));
    assert_eq!(verdict.lost_writes, 1);
    assert_eq!(verdict.watch_events_untrue, 1);
}

#[test]
fn an_acknowledged_key_at_another_revision_is_lost() {
    let verdict = compare(&good(), &stored(&[("a", 2), ("b", 4)]));
    assert_eq!(verdict.lost_writes, 1);
}

#[test]
fn a_write_in_doubt_may_be_there_or_not() {
    let mut history = good();
    history.puts.push(put("c", None));
    history.puts.push(put("d", None));
    history.seen.push(seen("c", 4));
    let verdict = compare(&history, &stored(&[("a", 2), ("b", 3), ("c", 4)]));
    assert!(verdict.is_clean());
    assert_eq!(
        (verdict.writes_in_doubt, verdict.doubtful_writes_stored),
        (2, 1)
    );
}

#[test]
fn an_event_that_never_came_is_missed_and_one_that_came_twice_is_doubled() {
    let mut history = good();
    history.seen = vec![seen("a", 2), seen("a", 2)];
    let verdict = compare(&history, &stored(&[("a", 2), ("b", 3)]));
    let wanted = Verdict {
        acknowledged_writes: 2,
        watch_events_missed: 1,
        watch_events_doubled: 1,
        examples: verdict.examples.clone(),
        ..Verdict::default()
    };
    assert_eq!(verdict, wanted);
}

#[test]
fn an_event_out_of_order_is_late() {
    let mut history = good();
    history.seen.reverse();
    assert_eq!(
        compare(&history, &stored(&[("a", 2), ("b", 3)])).watch_events_late,
        1
    );
}

#[test]
fn the_longest_gap_is_the_one_after_the_fault() {
    let mut history = good();
    history.puts = vec![put("a", Some(1)), put("b", Some(9)), put("c", Some(12))];
    let gap = history.longest_gap(0).unwrap();
    assert_eq!((gap.from_us, gap.to_us), (1000, 9000));
    let gap = history.longest_gap(9000).unwrap();
    assert_eq!((gap.from_us, gap.to_us), (9000, 12000));
}
