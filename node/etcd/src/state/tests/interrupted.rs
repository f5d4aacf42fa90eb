//! A snapshot begins to replace the state in the middle of a read: whoever watches must not take what is
//! missing then for nothing.

use std::ops::Bound;

use parking_lot::Mutex;
use standby_store::engine::{Batch, EngineError, EngineSnapshot, PairIter};

use super::*;
use crate::watch::{History, HistoryChunk, HistoryError, Want};

type Happens = Box<dyn FnOnce() + Send>;

/// An engine in which something happens at a chosen moment, once.
#[derive(Default)]
struct Interrupted {
    engine: MemoryEngine,
    before_range: Mutex<Option<Happens>>,
    once_clear: Mutex<Option<Happens>>,
}

fn happen(what: &Mutex<Option<Happens>>) {
    let what = what.lock().take();
    if let Some(what) = what {
        what();
    }
}

impl Engine for Interrupted {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.engine.get(key)
    }

    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> PairIter<'_> {
        happen(&self.before_range);
        self.engine.range(from, to)
    }

    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        self.engine.write(batch)
    }

    fn persist(&self) -> Result<(), EngineError> {
        self.engine.persist()
    }

    fn snapshot(&self) -> Box<dyn EngineSnapshot> {
        self.engine.snapshot()
    }

    fn clear(&self) -> Result<(), EngineError> {
        self.engine.clear()?;
        happen(&self.once_clear);
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        self.engine.disk_bytes()
    }
}

type Read = Result<HistoryChunk, HistoryError>;

/// A state with revisions 2 and 3, on an engine that can be interrupted.
fn written() -> (Machine, Arc<Interrupted>) {
    let engine = Arc::new(Interrupted::default());
    let mut m = Machine::on(Arc::<Interrupted>::clone(&engine));
    m.put(put("a", "1")).unwrap();
    m.put(put("b", "2")).unwrap();
    (m, engine)
}

fn read(view: &crate::state::ReadView) -> Read {
    let all = |_: &Bytes| Want::Events;
    view.read(2, 3, &all, usize::MAX)
}

#[test]
fn nothing_is_read_from_an_engine_that_was_emptied() {
    let (mut m, engine) = written();
    let view = m.state.view();
    let noted: Arc<Mutex<Option<Read>>> = Arc::default();
    let for_reader = Arc::clone(&noted);
    *engine.once_clear.lock() = Some(Box::new(move || *for_reader.lock() = Some(read(&view))));
    m.state.begin_restore().unwrap();
    let seen = noted.lock().take().expect("it was read once it was empty");
    assert!(matches!(seen, Err(HistoryError::Storage(_))), "{seen:?}");
}

#[test]
fn a_snapshot_that_begins_or_is_taken_in_whole_while_history_is_read_is_noticed() {
    for whole in [false, true] {
        let (m, engine) = written();
        let view = m.state.view();
        assert_eq!(read(&view).unwrap().revisions.len(), 2);
        let mut state = m.state;
        *engine.before_range.lock() = Some(Box::new(move || {
            state.begin_restore().unwrap();
            if whole {
                let position = Position::new(Epoch(1), Index(9));
                state.finish_restore(position).unwrap();
            }
        }));
        let seen = read(&view);
        assert!(matches!(seen, Err(HistoryError::Storage(_))), "{seen:?}");
    }
}
