//! Read views: ordered keys that are derived from a replicated machine, and how far they reach.
//!
//! Everything in a view can be lost: it is rebuilt by its owner from checkpoint and archive. The
//! contract: a view whose [`View::position`] is `None` is empty, and its owner feeds it from the
//! beginning. A folder that was deleted, does not open or turns out damaged becomes such a view.
//!
//! - [`memory::MemoryView`]: for tests, and for nodes that keep no views on disk.
//! - [`sled_view::SledView`]: `sled` behind the same trait. Nothing acknowledged rests on it.
//!
//! What is absent: whose views they are. Keys and values are bytes.

pub mod memory;
pub mod sled_view;

#[cfg(test)]
mod conformance;

use std::ops::Bound;

use thiserror::Error;

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// A view: one batch at a time in, ranges out.
///
/// Calls may block on a disk for a short while.
pub trait View: Send + Sync + 'static {
    /// Applies `batch` and moves the position, both or neither.
    fn apply(&self, batch: Batch, position: u64) -> Result<(), Error>;

    /// How far the view reaches, as its owner said with the last batch; `None` when it is empty
    /// and has to be built from the beginning.
    fn position(&self) -> Result<Option<u64>, Error>;

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// At most `limit` entries of a range, in order.
    fn scan(&self, range: &Range, limit: usize) -> Result<Vec<Entry>, Error>;

    /// Forgets everything; the position is `None` again. Also what heals a damaged view.
    fn reset(&self) -> Result<(), Error>;
}

/// Why a view could not answer. In each case the owner may [`View::reset`] and rebuild.
#[derive(Debug, Error)]
pub enum Error {
    #[error("the view's storage failed")]
    Storage(#[from] sled::Error),
    #[error("the view's folder could not be moved aside")]
    Folder(#[from] std::io::Error),
    #[error("the view is damaged: {0}")]
    Damaged(String),
}

/// Puts and deletes that happen together; of several on one key, the last counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.changes.push((key.into(), Some(value.into())));
    }

    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.changes.push((key.into(), None));
    }

    pub fn len(&self) -> usize {
        self.changes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// A range of keys, read in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub from: Bound<Vec<u8>>,
    pub to: Bound<Vec<u8>>,
    pub order: Order,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Ascending,
    Descending,
}

impl Range {
    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        let to = next_prefix(prefix).map_or(Bound::Unbounded, Bound::Excluded);
        Self { from: Bound::Included(prefix.to_vec()), to, order: Order::Ascending }
    }

    /// The part of the range that comes after `key` in the direction of reading.
    #[must_use]
    pub fn after(mut self, key: &[u8]) -> Self {
        match self.order {
            Order::Ascending => self.from = Bound::Excluded(key.to_vec()),
            Order::Descending => self.to = Bound::Excluded(key.to_vec()),
        }
        self
    }

    #[must_use]
    pub fn descending(mut self) -> Self {
        self.order = Order::Descending;
        self
    }

    /// Whether no key can lie in it; maps refuse to be asked for such a range.
    fn is_empty(&self) -> bool {
        use Bound::{Excluded, Included, Unbounded};
        match (&self.from, &self.to) {
            (Unbounded, _) | (_, Unbounded) => false,
            (Included(from), Included(to)) => from > to,
            (Included(from) | Excluded(from), Excluded(to)) | (Excluded(from), Included(to)) => {
                from >= to
            }
        }
    }
}

/// The least key above every key that begins with `prefix`.
fn next_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}
