//! An archive in memory, and what a shell makes of it.

use std::collections::BTreeMap;

use hansa_consensus::Records;
use hansa_pages::shelf::{CHUNK, Chunk, Proof};
use hansa_types::id::OrderId;

use crate::core::command::Command;
use crate::core::shelf::recall::{Recalled, Step};
use crate::core::shelf::{INDEX, ORDERS, SPENT, Shelved};
use crate::core::state::State;

/// The newest record under each key.
#[derive(Default)]
pub struct Archive {
    records: BTreeMap<(u8, Vec<u8>), Vec<u8>>,
    /// How many records a table was sent.
    pub sent: BTreeMap<u8, usize>,
}

impl Archive {
    pub fn take(&mut self, mut out: Records) {
        for record in out.take() {
            *self.sent.entry(record.table).or_default() += 1;
            self.records.insert((record.table, record.key), record.value);
        }
    }

    fn get(&self, table: u8, key: &[u8]) -> Option<&Vec<u8>> {
        self.records.get(&(table, key.to_vec()))
    }

    pub fn record(&self, id: OrderId) -> Option<&Vec<u8>> {
        self.get(ORDERS, &id.to_bytes())
    }

    pub fn chunk(&self, number: u64) -> Option<(u64, &Vec<u8>)> {
        Some((number, self.get(INDEX, &number.to_be_bytes())?))
    }

    /// The order as it left last.
    pub fn shelved(&self, id: OrderId) -> Option<Shelved> {
        Shelved::decode(self.record(id)?)
    }

    /// What brings it back, as far as the archive and the state can say.
    pub fn recalled(&self, state: &State, id: OrderId) -> Option<Recalled> {
        let record = self.record(id)?.clone();
        let number = Shelved::decode(&record)?.number;
        let proof = match state.shelf.records.row(number) {
            Some(_) => Proof::open(number),
            None => self.proof(state, number)?,
        };
        Some(Recalled { order: id, record: record.into(), proof })
    }

    fn proof(&self, state: &State, number: u64) -> Option<Proof> {
        let key = (number / CHUNK).to_be_bytes();
        let chunk = Chunk::decode(&key, self.get(INDEX, &key)?)?;
        let mut tree = chunk.tree();
        let spent = chunk.numbers().filter(|of| self.get(SPENT, &of.to_be_bytes()).is_some());
        spent.for_each(|number| tree.spend(number));
        assert_eq!(state.shelf.records.root(number / CHUNK).map(|of| of.root), Some(tree.root()));
        tree.proof(number)
    }
}

pub fn recall(recalled: Recalled) -> Command {
    Command::Shelf(Step::Recall(vec![recalled]))
}
