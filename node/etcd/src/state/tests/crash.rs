//! A process that ends at any instant: the engine keeps some first part of what was written, the log
//! gives back the rest.

use std::ops::Bound;
use std::sync::Mutex;

use proptest::prelude::*;
use standby_store::engine::{Batch, EngineError, EngineSnapshot, PairIter};

use super::property::commands;
use super::*;

#[derive(Clone)]
enum Written {
    Batch(Batch),
    Clear,
}

/// An engine that remembers what was written, to lose the end of it.
#[derive(Default)]
struct Losing {
    inner: MemoryEngine,
    written: Mutex<Vec<Written>>,
    durable: Mutex<usize>,
}

impl Losing {
    /// The engine as a crash may leave it: `lost` of what was not yet durable is gone.
    fn crashed(&self, lost: usize) -> Self {
        let written = self.written.lock().unwrap();
        let durable = *self.durable.lock().unwrap();
        let kept = written.len() - lost.min(written.len() - durable);
        let after = Self::default();
        for written in &written[..kept] {
            match written {
                Written::Batch(batch) => after.write(batch.clone()).unwrap(),
                Written::Clear => after.clear().unwrap(),
            }
        }
        after.persist().unwrap();
        after
    }
}

impl Engine for Losing {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.inner.get(key)
    }

    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> PairIter<'_> {
        self.inner.range(from, to)
    }

    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        self.written
            .lock()
            .unwrap()
            .push(Written::Batch(batch.clone()));
        self.inner.write(batch)
    }

    fn persist(&self) -> Result<(), EngineError> {
        *self.durable.lock().unwrap() = self.written.lock().unwrap().len();
        Ok(())
    }

    fn snapshot(&self) -> Box<dyn EngineSnapshot> {
        self.inner.snapshot()
    }

    fn clear(&self) -> Result<(), EngineError> {
        self.written.lock().unwrap().push(Written::Clear);
        self.inner.clear()
    }

    fn disk_bytes(&self) -> u64 {
        self.inner.disk_bytes()
    }
}

fn group() -> impl Strategy<Value = (Vec<Command>, bool, Option<usize>)> {
    let lost = prop::option::weighted(0.3, 0_usize..6);
    (
        prop::collection::vec(commands(), 1..5),
        prop::bool::weighted(0.3),
        lost,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_crash_at_any_instant_applies_nothing_twice_and_skips_nothing(
        groups in prop::collection::vec(group(), 1..20),
    ) {
        let mut engine = Arc::new(Losing::default());
        let open = |engine: &Arc<Losing>| {
            EtcdState::open(Arc::<Losing>::clone(engine)).unwrap()
        };
        let mut state = open(&engine);
        // The same log, applied without any crash.
        let mut smooth = Machine::new();
        let (mut log, mut outcomes) = (Vec::new(), Vec::new());
        for (commands, checkpoint, lost) in groups {
            let entries: Vec<Entry> =
                (0..).zip(commands).map(|(n, c)| smooth.entry(n, c)).collect();
            outcomes.extend(smooth.state.apply(&entries).unwrap());
            state.apply(&entries).unwrap();
            log.extend(entries);
            if checkpoint {
                state.checkpoint().unwrap();
            }
            if let Some(lost) = lost {
                engine = Arc::new(engine.crashed(lost));
                state = open(&engine);
                let from = usize::try_from(state.applied().index.0).unwrap();
                let again = state.apply(&log[from..]).unwrap();
                prop_assert_eq!(&again[..], &outcomes[from..]);
            }
            let all = range("\0", "\0");
            let view = state.view();
            prop_assert_eq!(view.range(&all), smooth.range(&all));
            prop_assert_eq!(view.compacted_revision(), smooth.state.view().compacted_revision());
            prop_assert_eq!(view.lease(1), smooth.state.view().lease(1));
            prop_assert_eq!(state.applied(), smooth.state.applied());
        }
    }
}
