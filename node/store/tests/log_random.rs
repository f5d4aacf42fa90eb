//! The log against a model: random calls, crashes, kills and failures of the disk, and after each
//! reopening exactly what a log must then hold.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod support;

use std::collections::BTreeMap;
use std::io::ErrorKind;

use proptest::prelude::*;
use standby_core::{Entry, Index, Position};
use standby_store::log::{LogError, LogReader, LogWriter};
use support::{Dice, Fault, FaultyDisk, at, entry, open, read_all, try_open};

/// One thing that happens to a log.
#[derive(Clone, Debug)]
enum Step {
    Append {
        count: u64,
        size: usize,
        new_epoch: bool,
    },
    Sync,
    Mark,
    Truncate {
        back: u64,
    },
    Reset {
        ahead: u64,
    },
    Release {
        back: u64,
    },
    Read {
        back: u64,
    },
    Crash {
        seed: u64,
    },
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..8_u64, 0..3000_usize, prop::bool::weighted(0.2))
            .prop_map(|(count, size, new_epoch)| Step::Append { count, size, new_epoch }),
        6 => Just(Step::Sync),
        1 => Just(Step::Mark),
        2 => (0..12_u64).prop_map(|back| Step::Truncate { back }),
        1 => (0..30_u64).prop_map(|ahead| Step::Reset { ahead }),
        3 => (0..20_u64).prop_map(|back| Step::Release { back }),
        4 => (0..40_u64).prop_map(|back| Step::Read { back }),
        2 => any::<u64>().prop_map(|seed| Step::Crash { seed }),
        1 => Just(Step::Kill),
    ]
}

/// What a log must hold.
#[derive(Clone, Debug, Default)]
struct Model {
    base: Position,
    entries: BTreeMap<u64, Entry>,
    synced: u64,
    /// What a reset that may or may not have happened would leave.
    epoch: u64,
}

impl Model {
    fn last(&self) -> Position {
        self.entries
            .values()
            .next_back()
            .map_or(self.base, |entry| entry.position)
    }

    fn appended(&self, count: u64, size: usize, epoch: u64) -> Vec<Entry> {
        let next = self.last().index.0 + 1;
        (next..next + count)
            .map(|index| entry(epoch, index, size))
            .collect()
    }

    fn check(&self, reader: &LogReader) {
        assert_eq!((reader.base(), reader.last()), (self.base, self.last()));
        let all: Vec<_> = self.entries.values().cloned().collect();
        assert_eq!(read_all(reader), all);
        let mut epochs = Vec::new();
        for Entry { position, .. } in &all {
            if epochs
                .last()
                .is_none_or(|(epoch, _)| *epoch != position.epoch)
            {
                epochs.push((position.epoch, position.index));
            }
        }
        assert_eq!(reader.epochs(), epochs);
        for index in self.base.index.0..=self.last().index.0 {
            let expected = self
                .entries
                .get(&index)
                .map_or(self.base, |entry| entry.position);
            assert_eq!(reader.position_of(Index(index)), Some(expected));
        }
    }

    /// Takes over how much of the unsynced end survived a crash.
    fn take_survivors(&mut self, reader: &LogReader) {
        let last = reader.last().index.0;
        assert!(
            last >= self.synced,
            "synced {} and found {last}",
            self.synced
        );
        assert!(
            last <= self.last().index.0,
            "{last} was never written or was cut"
        );
        self.entries.retain(|index, _| *index <= last);
        self.synced = last;
        self.check(reader);
    }

    fn take_released(&mut self, base: Position) {
        self.base = base;
        self.entries.retain(|index, _| *index > base.index.0);
    }
}

/// Does the step to log and model. The model shows the step as done even if the log fails in it.
fn act(step: &Step, model: &mut Model, log: &mut LogWriter) -> Result<(), LogError> {
    match step {
        Step::Append {
            count,
            size,
            new_epoch,
        } => {
            model.epoch = model.epoch.max(1) + u64::from(*new_epoch);
            let new = model.appended(*count, *size, model.epoch);
            model.entries.extend(
                new.iter()
                    .map(|entry| (entry.position.index.0, entry.clone())),
            );
            log.append(&new)
        }
        Step::Sync | Step::Mark => {
            if matches!(step, Step::Sync) {
                log.sync()?;
            } else {
                log.mark()?;
            }
            model.synced = model.last().index.0;
            Ok(())
        }
        Step::Truncate { back } => {
            let index = model
                .last()
                .index
                .0
                .saturating_sub(*back)
                .max(model.base.index.0);
            let cut = index < model.last().index.0;
            model.entries.retain(|it, _| *it <= index);
            model.synced = model.synced.min(index);
            model.epoch += 1;
            log.truncate_after(Index(index))?;
            model.synced = if cut { index } else { model.synced };
            Ok(())
        }
        Step::Reset { ahead } => {
            model.epoch += 1;
            let base = at(model.epoch, model.last().index.0 + ahead);
            *model = Model {
                base,
                synced: base.index.0,
                epoch: model.epoch,
                ..Model::default()
            };
            log.reset(base)
        }
        Step::Release { back } => {
            let below = model.last().index.0.saturating_sub(*back);
            log.release_below(Index(below))?;
            assert!(log.base().index.0 < below.max(model.base.index.0 + 1));
            model.take_released(log.base());
            Ok(())
        }
        Step::Read { .. } | Step::Crash { .. } | Step::Kill => Ok(()),
    }
}

fn run(steps: &[Step]) {
    let disk = FaultyDisk::default();
    let mut model = Model::default();
    let (mut log, mut reader, _) = open(&disk);
    for step in steps {
        act(step, &mut model, &mut log).unwrap();
        match step {
            Step::Read { back } => {
                let from = Index(model.last().index.0.saturating_sub(*back));
                if from > model.base.index {
                    let read = reader.read(from, 5000).unwrap();
                    let expected = model.entries.range(from.0..).take(read.len());
                    assert!(read.iter().eq(expected.map(|(_, entry)| entry)));
                    assert!(!read.is_empty());
                }
            }
            Step::Crash { .. } | Step::Kill => {
                drop(log);
                match step {
                    Step::Crash { seed } => disk.crash(&mut Dice::new(*seed)),
                    _ => disk.kill(),
                }
                let recovered;
                (log, reader, recovered) = open(&disk);
                assert_eq!(recovered.damaged, None);
                model.take_survivors(&reader);
                model.epoch = model.epoch.max(reader.last().epoch.0);
            }
            _ => assert_eq!((log.base(), log.last()), (model.base, model.last())),
        }
    }
    model.check(&reader);
}

/// Runs the steps with one failing access, then takes the power away (or kills the process), and
/// checks that the log is what it was before the step or what it would be after it.
fn run_with_fault(steps: &[Step], access: u64, fault: Fault, seed: u64) -> bool {
    let disk = FaultyDisk::default();
    disk.fail_at(access, fault);
    let mut model = Model::default();
    let (mut before, mut after) = (model.clone(), model.clone());
    let mut failed = false;
    if let Ok((mut log, ..)) = try_open(&disk) {
        for step in steps {
            before = model.clone();
            let outcome = act(step, &mut model, &mut log);
            after = model.clone();
            if outcome.is_err() {
                failed = true;
                assert!(matches!(log.sync(), Err(LogError::Poisoned)), "{outcome:?}");
                assert!(matches!(log.append(&[]), Err(LogError::Poisoned)));
                assert!(matches!(
                    log.reset(Position::START),
                    Err(LogError::Poisoned)
                ));
                break;
            }
            before = after.clone();
        }
    } else {
        failed = true;
    }
    let mut dice = Dice::new(seed);
    if dice.roll(2) == 0 {
        disk.kill();
    } else {
        disk.crash(&mut dice);
    }
    let (_, reader, recovered) = open(&disk);
    assert_eq!(recovered.damaged, None);
    check_either(&before, &after, &reader);
    failed
}

fn check_either(before: &Model, after: &Model, reader: &LogReader) {
    let (base, last) = (reader.base(), reader.last());
    let found = read_all(reader);
    let fits = |model: &Model| {
        let known = found
            .iter()
            .all(|it| model.entries.get(&it.position.index.0) == Some(it));
        // A release may have stopped after any segment.
        let based = base == model.base
            || model
                .entries
                .get(&base.index.0)
                .is_some_and(|it| it.position == base);
        known && based && last.index.0 >= model.synced && last.index <= model.last().index
    };
    assert!(
        fits(before) || fits(after),
        "{base}..{last}\nbefore {before:?}\nafter {after:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_log_holds_what_a_model_holds(steps in prop::collection::vec(step(), 1..60)) {
        run(&steps);
    }

    #[test]
    fn any_failing_access_leaves_the_log_before_or_after_the_step(
        steps in prop::collection::vec(step(), 1..30),
        access in 0..150_u64,
        torn in prop::option::of(0..5000_usize),
        seed in any::<u64>(),
    ) {
        let fault = torn.map_or(Fault::Fails(ErrorKind::Other), Fault::Torn);
        run_with_fault(&steps, access, fault, seed);
    }
}

#[test]
fn every_single_access_of_a_long_run_may_fail() {
    let append = |count, size| Step::Append {
        count,
        size,
        new_epoch: false,
    };
    let steps = [
        append(5, 900),
        Step::Sync,
        append(30, 900),
        Step::Sync,
        Step::Release { back: 10 },
        append(3, 10),
        Step::Mark,
        Step::Truncate { back: 7 },
        append(20, 900),
        Step::Sync,
        Step::Truncate { back: 15 },
        Step::Reset { ahead: 10 },
        append(10, 900),
        Step::Sync,
    ];
    for fault in [
        Fault::Fails(ErrorKind::Other),
        Fault::Torn(0),
        Fault::Torn(1),
        Fault::Torn(4097),
    ] {
        let mut access = 0;
        while run_with_fault(&steps, access, fault, access) {
            access += 1;
        }
        assert!(access > 30, "only {access} accesses were tried");
    }
}
