//! fjall against the model engine.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::fs;
use std::ops::Bound;
use std::path::Path;

use proptest::prelude::*;
use standby_store::engine::{
    Batch, Engine, EngineSnapshot, FjallEngine, FjallOptions, MemoryEngine, PairIter,
};

/// Few keys, so that they meet.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(b'a'..=b'd', 1..3)
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    Range(Bound<Vec<u8>>, Bound<Vec<u8>>),
    Persist,
    Snapshot,
    CheckSnapshot,
    Clear,
    /// With the keys from here on apart.
    Reopen(Option<&'static [u8]>),
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        Just(Bound::Unbounded),
        key().prop_map(Bound::Included),
        key().prop_map(Bound::Excluded),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
    prop_oneof![
        10 => prop::collection::vec((key(), value), 1..8).prop_map(Step::Write),
        6 => (bound(), bound()).prop_map(|(from, to)| Step::Range(from, to)),
        1 => Just(Step::Persist),
        1 => Just(Step::Snapshot),
        1 => Just(Step::CheckSnapshot),
        1 => Just(Step::Clear),
        1 => prop_oneof![Just(None), Just(Some(&b"b"[..])), Just(Some(&b"cb"[..]))]
            .prop_map(Step::Reopen),
    ]
}

fn batch(changes: &[(Vec<u8>, Option<Vec<u8>>)]) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in changes {
        match value {
            Some(value) => batch.put(key.clone(), value.clone()),
            None => batch.remove(key.clone()),
        }
    }
    batch
}

fn collect(pairs: PairIter<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    pairs
        .map(Result::unwrap)
        .map(|(key, value)| (key.to_vec(), value.to_vec()))
        .collect()
}

fn all(engine: &dyn Engine) -> Vec<(Vec<u8>, Vec<u8>)> {
    collect(engine.range(Bound::Unbounded, Bound::Unbounded))
}

fn open(dir: &Path) -> FjallEngine {
    open_apart(dir, None)
}

fn open_apart(dir: &Path, apart_from: Option<&'static [u8]>) -> FjallEngine {
    let options = FjallOptions {
        apart_from,
        ..FjallOptions::default()
    };
    FjallEngine::open(dir, &options).unwrap()
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

type Image = Box<dyn EngineSnapshot>;

fn run(steps: &[Step]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engine");
    let model = MemoryEngine::default();
    let mut engine = open(&path);
    let mut image: Option<(Image, Image)> = None;
    for step in steps {
        match step {
            Step::Write(changes) => {
                model.write(batch(changes)).unwrap();
                engine.write(batch(changes)).unwrap();
                for (key, _) in changes {
                    assert_eq!(engine.get(key).unwrap(), model.get(key).unwrap());
                }
            }
            Step::Range(from, to) => {
                let (from, to) = (as_slice(from), as_slice(to));
                assert_eq!(
                    collect(engine.range(from, to)),
                    collect(model.range(from, to))
                );
            }
            Step::Persist => engine.persist().unwrap(),
            Step::Snapshot => image = Some((engine.snapshot(), model.snapshot())),
            Step::CheckSnapshot => {
                if let Some((engine, model)) = &image {
                    let whole = (Bound::Unbounded, Bound::Unbounded);
                    assert_eq!(
                        collect(engine.range(whole.0, whole.1)),
                        collect(model.range(whole.0, whole.1))
                    );
                }
            }
            Step::Clear => {
                image = None;
                model.clear().unwrap();
                engine.clear().unwrap();
            }
            Step::Reopen(apart_from) => {
                image = None;
                drop(engine);
                engine = open_apart(&path, *apart_from);
            }
        }
    }
    assert_eq!(all(&engine), all(&model));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn fjall_holds_what_the_model_holds(steps in prop::collection::vec(step(), 1..40)) {
        run(&steps);
    }
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn after_a_kill_a_prefix_of_the_batches_is_there_and_all_that_was_persisted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engine");
    let engine = open_apart(&path, Some(b"b"));
    for round in 0..300_u32 {
        let mut batch = Batch::default();
        batch.put(format!("a{round:04}"), vec![7; 100]);
        batch.put(format!("b{round:04}"), vec![8; 100]);
        engine.write(batch).unwrap();
        if round == 199 {
            engine.persist().unwrap();
        }
    }
    // What the files hold at this moment is what a killed process leaves.
    let killed = dir.path().join("killed");
    copy_dir(&path, &killed);
    let reopened = open_apart(&killed, Some(b"b"));
    let found = all(&reopened);
    let batches = found.len() / 2;
    assert_eq!(found.len() % 2, 0, "no batch is there by half");
    assert!((200..=300).contains(&batches), "{batches}");
    let names = (0..batches).map(|at| format!("a{at:04}"));
    let names = names.chain((0..batches).map(|at| format!("b{at:04}")));
    assert!(
        found
            .iter()
            .map(|(key, _)| key.clone())
            .eq(names.map(String::into_bytes))
    );
}

#[test]
fn a_cleared_engine_stays_empty_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engine");
    let engine = open(&path);
    let changes = [
        (b"a".to_vec(), Some(b"1".to_vec())),
        (b"b".to_vec(), Some(b"2".to_vec())),
    ];
    engine.write(batch(&changes)).unwrap();
    engine.clear().unwrap();
    let killed = dir.path().join("killed");
    copy_dir(&path, &killed);
    assert_eq!(all(&open(&killed)), []);
    engine.write(batch(&changes[..1])).unwrap();
    drop(engine);
    assert_eq!(all(&open(&path)).len(), 1);
}

/// The largest sorted file, in memtables, that comes of ascending keys, each written beside one that is
/// written again and again.
fn largest_file(apart_from: Option<&'static [u8]>) -> u64 {
    const MEMTABLE_BYTES: u64 = 128 << 10;
    let dir = tempfile::tempdir().unwrap();
    let options = FjallOptions {
        memtable_bytes: MEMTABLE_BYTES,
        apart_from,
        ..FjallOptions::default()
    };
    let engine = FjallEngine::open(dir.path(), &options).unwrap();
    for number in 0..10_000_u32 {
        let mut batch = Batch::default();
        batch.put([&b"k"[..], &number.to_be_bytes()].concat(), vec![7; 300]);
        batch.put(&b"position"[..], number.to_be_bytes().to_vec());
        engine.write(batch).unwrap();
    }
    // Closing waits for what runs.
    drop(engine);
    let tables = dir.path().join("keyspaces/1/tables");
    let sizes = fs::read_dir(tables).unwrap();
    let sizes = sizes.map(|entry| entry.unwrap().metadata().unwrap().len());
    sizes.max().unwrap() / MEMTABLE_BYTES
}

#[test]
fn ascending_keys_are_never_merged_when_what_is_rewritten_lies_apart() {
    // Memtables that wait are flushed together, and writes halt when there are four.
    let apart = largest_file(Some(b"l"));
    assert!(apart <= 5, "{apart} memtables in one file");
    // As they are otherwise: it is seen here.
    let together = largest_file(None);
    assert!(together > 10, "{together} memtables in one file");
}

#[test]
fn what_many_short_runs_write_is_flushed_too() {
    let dir = tempfile::tempdir().unwrap();
    let options = FjallOptions {
        memtable_bytes: 64 << 10,
        ..FjallOptions::default()
    };
    for run in 0..4_u8 {
        let engine = FjallEngine::open(dir.path(), &options).unwrap();
        for number in 0..100_u8 {
            let mut batch = Batch::default();
            batch.put(vec![run, number], vec![7; 300]);
            engine.write(batch).unwrap();
        }
        engine.persist().unwrap();
    }
    let tables = fs::read_dir(dir.path().join("keyspaces/1/tables")).unwrap();
    assert!(tables.count() > 0, "nothing was flushed");
}

#[test]
fn a_destroyed_engine_opens_empty() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engine");
    let engine = open(&path);
    engine
        .write(batch(&[(b"a".to_vec(), Some(b"1".to_vec()))]))
        .unwrap();
    engine.persist().unwrap();
    assert!(engine.disk_bytes() > 0);
    drop(engine);
    FjallEngine::destroy(&path).unwrap();
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing is left over"
    );
    assert_eq!(all(&open(&path)), []);
    FjallEngine::destroy(&dir.path().join("never there")).unwrap();
}

#[test]
fn readers_never_see_half_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&dir.path().join("engine"));
    let write = |round: u32| {
        let mut batch = Batch::default();
        for key in 0..50_u8 {
            batch.put(vec![key], round.to_be_bytes().to_vec());
        }
        engine.write(batch).unwrap();
    };
    write(0);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut last = 0;
            while last < 500 {
                let pairs = all(&engine);
                assert_eq!(pairs.len(), 50);
                assert!(pairs.iter().all(|(_, value)| *value == pairs[0].1));
                last = u32::from_be_bytes(pairs[0].1[..].try_into().unwrap());
            }
        });
        (1..=500).for_each(write);
        reader.join().unwrap();
    });
}
