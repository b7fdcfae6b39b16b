//! A view in memory: the twin that says what the one on disk has to do.

use std::collections::BTreeMap;

use parking_lot::RwLock;

use crate::{Batch, Entry, Error, Order, Range, View};

/// A view that is gone when the process is.
#[derive(Default)]
pub struct MemoryView {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    position: Option<u64>,
}

impl View for MemoryView {
    fn apply(&self, batch: Batch, position: u64) -> Result<(), Error> {
        let mut state = self.state.write();
        for (key, value) in batch.changes {
            match value {
                Some(value) => state.entries.insert(key, value),
                None => state.entries.remove(&key),
            };
        }
        state.position = Some(position);
        Ok(())
    }

    fn position(&self) -> Result<Option<u64>, Error> {
        Ok(self.state.read().position)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.state.read().entries.get(key).cloned())
    }

    fn scan(&self, range: &Range, limit: usize) -> Result<Vec<Entry>, Error> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let state = self.state.read();
        let entries = state.entries.range((range.from.clone(), range.to.clone()));
        let owned = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
        Ok(match range.order {
            Order::Ascending => entries.take(limit).map(owned).collect(),
            Order::Descending => entries.rev().take(limit).map(owned).collect(),
        })
    }

    fn reset(&self) -> Result<(), Error> {
        *self.state.write() = State::default();
        Ok(())
    }
}
