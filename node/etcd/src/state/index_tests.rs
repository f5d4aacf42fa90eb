use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const ALL: (usize, usize) = (usize::MAX, usize::MAX);

fn rev(main: i64, sub: u32) -> Rev {
    Rev { main, sub }
}

/// A key put at 2 and 4, deleted at 6, put again at 8.
fn index() -> KeyIndex {
    let mut index = KeyIndex::default();
    index.put(b"k", rev(2, 0));
    index.put(b"k", rev(4, 1));
    index.delete(b"k", rev(6, 0));
    index.put(b"k", rev(8, 0));
    index
}

fn at(index: &KeyIndex, revision: i64) -> Option<(i64, i64, i64)> {
    let located = index.get(b"k", revision)?;
    Some((located.modified.main, located.created, located.version))
}

#[test]
fn a_key_is_found_as_it_was_at_each_revision() {
    let index = index();
    let expected = [
        (1, None),
        (2, Some((2, 2, 1))),
        (3, Some((2, 2, 1))),
        (4, Some((4, 2, 2))),
        (5, Some((4, 2, 2))),
        (6, None),
        (7, None),
        (8, Some((8, 8, 1))),
        (99, Some((8, 8, 1))),
    ];
    for (revision, found) in expected {
        assert_eq!(at(&index, revision), found, "at {revision}");
    }
}

#[test]
fn compaction_keeps_what_can_still_be_read() {
    // Compacted at, revisions dropped.
    let expected: [(i64, &[i64]); 7] = [
        (1, &[]),
        (2, &[]),
        (4, &[2]),
        (5, &[2]),
        (6, &[2, 4]),
        (7, &[2, 4, 6]),
        (9, &[2, 4, 6]),
    ];
    for (revision, gone) in expected {
        let mut compacted = index();
        let mut dropped = Vec::new();
        assert_eq!(
            compacted.sweep(revision, None, ALL, &mut dropped),
            Swept::All
        );
        let dropped: Vec<i64> = dropped.into_iter().map(|rev| rev.main).collect();
        assert_eq!(dropped, gone, "compacted at {revision}");
        for later in revision..10 {
            assert_eq!(
                at(&compacted, later),
                at(&index(), later),
                "{revision}, read at {later}"
            );
        }
    }
}

#[test]
fn the_deletion_at_the_compacted_revision_goes_with_the_next_compaction() {
    let mut index = KeyIndex::default();
    index.put(b"k", rev(2, 0));
    index.delete(b"k", rev(3, 0));
    let mut dropped = Vec::new();
    index.sweep(3, None, ALL, &mut dropped);
    assert_eq!(dropped, [rev(2, 0)]);
    assert_eq!(index.len(), 1, "a watch from 3 must see the deletion");
    index.sweep(4, None, ALL, &mut dropped);
    assert_eq!(dropped, [rev(2, 0), rev(3, 0)]);
    assert_eq!(index.len(), 0);
}

#[test]
fn a_sweep_goes_on_where_it_stopped() {
    let mut index = KeyIndex::default();
    for key in [b"a", b"b", b"c"] {
        index.put(key, rev(2, 0));
        index.put(key, rev(3, 0));
    }
    let mut dropped = Vec::new();
    let swept = index.sweep(3, None, (2, 10), &mut dropped);
    assert_eq!(swept, Swept::UpTo(Some(Key::from(&b"b"[..]))));
    assert_eq!(dropped.len(), 2);
    let Swept::UpTo(after) = swept else { return };
    assert_eq!(index.sweep(3, after, (2, 10), &mut dropped), Swept::All);
    assert_eq!(dropped.len(), 3);
}

#[test]
fn a_key_with_many_versions_is_swept_in_parts() {
    let mut whole = Vec::new();
    index().sweep(7, None, ALL, &mut whole);
    let mut index = index();
    let mut parts = Vec::new();
    for part in 1.. {
        let mut dropped = Vec::new();
        let swept = index.sweep(7, None, (10, 1), &mut dropped);
        assert!(dropped.len() <= 1);
        parts.extend(dropped);
        assert_eq!(at(&index, 7), None);
        assert_eq!(at(&index, 8), Some((8, 8, 1)));
        if swept == Swept::All {
            break;
        }
        assert_eq!(swept, Swept::UpTo(None), "part {part}");
    }
    assert_eq!(parts, whole, "oldest first");
}

#[test]
fn an_index_built_again_answers_the_same() {
    let mut again = KeyIndex::default();
    // The put at 2 is compacted away; the rest stands in the records.
    again.restore(b"k", rev(4, 1), 2, 2);
    again.restore(b"k", rev(6, 0), 0, 0);
    again.restore(b"k", rev(8, 0), 8, 1);
    for revision in 4..10 {
        assert_eq!(
            at(&again, revision),
            at(&index(), revision),
            "at {revision}"
        );
    }
}

#[test]
fn a_range_ends_before_its_end() {
    let mut index = KeyIndex::default();
    for (sub, key) in [b"a", b"b", b"c"].into_iter().enumerate() {
        index.put(key, rev(2, u32::try_from(sub).unwrap()));
    }
    let expected: [(&[u8], &[u8], &str); 6] = [
        (b"a", b"", "a"),
        (b"a", b"c", "ab"),
        (b"b", b"\0", "bc"),
        (b"\0", b"\0", "abc"),
        (b"c", b"a", ""),
        (b"d", b"", ""),
    ];
    for (key, end, found) in expected {
        let mut keys = Vec::new();
        index.visit(KeyRange::new(key, end), 2, |key, _| {
            keys.extend_from_slice(key);
        });
        assert_eq!(keys, found.as_bytes(), "{key:?} to {end:?}");
    }
}

#[derive(Clone, Debug)]
enum Op {
    Put(u8),
    Delete(u8),
    /// So many revisions back, in steps of so many keys and versions.
    Compact(i64, usize, usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => any::<u8>().prop_map(Op::Put),
        4 => any::<u8>().prop_map(Op::Delete),
        1 => (0..40_i64, 1..9_usize, 1..9_usize).prop_map(|(back, keys, revs)| Op::Compact(back, keys, revs)),
    ];
    prop::collection::vec(op, 0..300)
}

/// What every key was at every revision: the revision that made it, or nothing.
type Model = Vec<BTreeMap<u8, i64>>;

fn assert_like_model(index: &KeyIndex, model: &Model, revision: usize) {
    let at = i64::try_from(revision).unwrap();
    let mut found = BTreeMap::new();
    let mut before = None;
    index.visit(KeyRange::new(b"\0", b"\0"), at, |key, located| {
        assert!(before < Some(key[0]), "ascending");
        before = Some(key[0]);
        found.insert(key[0], located.modified.main);
    });
    assert_eq!(found, model[revision], "at {revision}");
    for key in 0..=u8::MAX {
        let single = index.get(&[key], at).map(|located| located.modified.main);
        assert_eq!(
            single,
            model[revision].get(&key).copied(),
            "{key} at {revision}"
        );
    }
}

proptest! {
    /// With so few shards keys take one another's places all the time.
    #[test]
    fn every_revision_that_is_not_compacted_is_as_in_a_plain_map(ops in ops(), shards in 1..4_u32) {
        let mut index = KeyIndex::with_shards(shards);
        let mut model: Model = vec![BTreeMap::new()];
        let mut compacted = 0;
        for op in ops {
            let revision = i64::try_from(model.len()).unwrap();
            let mut now = model.last().unwrap().clone();
            match op {
                Op::Put(key) => {
                    now.insert(key, revision);
                    index.put(&[key], rev(revision, 0));
                }
                Op::Delete(key) => {
                    if now.remove(&key).is_none() {
                        continue;
                    }
                    index.delete(&[key], rev(revision, 0));
                }
                Op::Compact(back, keys, revs) => {
                    compacted = compacted.max(revision - 1 - back);
                    let mut cursor = None;
                    while let Swept::UpTo(after) =
                        index.sweep(compacted, cursor, (keys, revs), &mut Vec::new())
                    {
                        cursor = after;
                    }
                    continue;
                }
            }
            model.push(now);
        }
        for revision in usize::try_from(compacted).unwrap()..model.len() {
            assert_like_model(&index, &model, revision);
        }
    }
}
