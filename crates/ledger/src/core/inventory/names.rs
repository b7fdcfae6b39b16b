//! The names that a shard knows, each with the number that stands for it in the books.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Bound;
use std::sync::Arc;

use hansa_pages::{ReadError, Table};

/// Names numbered in the order of their first use; none is ever forgotten.
///
/// # Invariant
/// `by_name` is `table` turned round.
pub struct Names {
    table: Table<u32, Arc<str>>,
    by_name: BTreeMap<Arc<str>, u32>,
}

impl Names {
    pub fn new(tag: &'static str) -> Self {
        Self { table: Table::new(tag), by_name: BTreeMap::new() }
    }

    pub fn read(tag: &'static str, from: &mut dyn Read) -> Result<Self, ReadError> {
        let table = Table::<u32, Arc<str>>::read(tag, from)?;
        let by_name = table.iter().map(|(no, name)| (Arc::clone(name), *no)).collect();
        Ok(Self { table, by_name })
    }

    pub fn table(&self) -> &Table<u32, Arc<str>> {
        &self.table
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn number(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    pub fn name(&self, number: u32) -> Option<&str> {
        self.table.get(&number).map(AsRef::as_ref)
    }

    /// The number of `name`, a new one at its first use.
    pub fn number_or_new(&mut self, name: &str) -> u32 {
        if let Some(number) = self.number(name) {
            return number;
        }
        let (number, name) = (self.len() as u32, Arc::<str>::from(name));
        self.table.insert(number, Arc::clone(&name));
        self.by_name.insert(name, number);
        number
    }

    /// Names after `after`, in order.
    pub fn after(&self, after: Option<&str>) -> impl Iterator<Item = (&str, u32)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_name
            .range::<str, _>((start, Bound::Unbounded))
            .map(|(name, number)| (name.as_ref(), *number))
    }
}
