//! The model engine: a sorted map in memory. Nothing survives the process.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use super::{Batch, Engine, EngineError, EngineSnapshot, PairIter, is_empty_range};

/// What an engine holds. Shared, and copied only when it is written to while somebody else holds it.
pub type Content = BTreeMap<Bytes, Bytes>;

/// An engine in memory, for tests and simulation.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    map: RwLock<Arc<Content>>,
}

impl MemoryEngine {
    /// An engine with this content.
    #[must_use]
    pub fn with_content(content: Arc<Content>) -> Self {
        Self {
            map: RwLock::new(content),
        }
    }

    /// What it holds now.
    #[must_use]
    pub fn content(&self) -> Arc<Content> {
        Arc::clone(&self.map.read())
    }
}

struct MemorySnapshot(Arc<Content>);

fn range_of(map: &Content, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Vec<(Bytes, Bytes)> {
    if is_empty_range(from, to) {
        return Vec::new();
    }
    map.range::<[u8], _>((from, to))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

impl EngineSnapshot for MemorySnapshot {
    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> PairIter<'_> {
        Box::new(range_of(&self.0, from, to).into_iter().map(Ok))
    }
}

impl Engine for MemoryEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.map.read().get(key).cloned())
    }

    fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> PairIter<'_> {
        Box::new(range_of(&self.map.read(), from, to).into_iter().map(Ok))
    }

    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        let mut map = self.map.write();
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
        Box::new(MemorySnapshot(self.content()))
    }

    fn clear(&self) -> Result<(), EngineError> {
        *self.map.write() = Arc::default();
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        self.map
            .read()
            .iter()
            .map(|(k, v)| (k.len() + v.len()) as u64)
            .sum()
    }
}
