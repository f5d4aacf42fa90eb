//! The engine under the real state machine: a sorted map, whose content is shared and copied only when
//! it is written to while a checkpoint holds it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use standby_store::engine::{Batch, Engine, EngineError, EngineSnapshot, PairIter};

/// What an engine holds.
pub type Map = BTreeMap<Bytes, Bytes>;

/// The engine of one run of a process.
#[derive(Debug, Default)]
pub struct SimEngine(Mutex<Arc<Map>>);

struct Image(Arc<Map>);

impl SimEngine {
    /// An engine with this content.
    #[must_use]
    pub fn new(content: Arc<Map>) -> Self {
        Self(Mutex::new(content))
    }

    /// What it holds now.
    #[must_use]
    pub fn content(&self) -> Arc<Map> {
        self.0.lock().clone()
    }
}

fn pairs(map: &Map, from: Bound<&[u8]>, to: Bound<&[u8]>) -> PairIter<'static> {
    let wrong_way = match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (
            Bound::Included(from) | Bound::Excluded(from),
            Bound::Included(to) | Bound::Excluded(to),
        ) => from >= to,
    };
    if wrong_way {
        return Box::new(std::iter::empty());
    }
    let found: Vec<_> = map
        .range::<[u8], _>((from, to))
        .map(|(key, value)| Ok((key.clone(), value.clone())))
        .collect();
    Box::new(found.into_iter())
}

impl EngineSnapshot for Image {
    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> PairIter<'_> {
        pairs(&self.0, from, to)
    }
}

impl Engine for SimEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.0.lock().get(key).cloned())
    }

    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> PairIter<'_> {
        pairs(&self.0.lock(), from, to)
    }

    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        let mut map = self.0.lock();
        let map = Arc::make_mut(&mut map);
        for (key, value) in batch.changes {
            match value {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        Ok(())
    }

    fn persist(&self) -> Result<(), EngineError> {
        Ok(())
    }

    fn snapshot(&self) -> Box<dyn EngineSnapshot> {
        Box::new(Image(self.content()))
    }

    fn clear(&self) -> Result<(), EngineError> {
        *self.0.lock() = Arc::new(Map::new());
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}
