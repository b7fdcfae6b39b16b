//! The stock books at one moment, on disk, and back.

use std::io::{self, Read, Write};
use std::sync::Arc;

use hansa_pages::{FrozenTable, ReadError, Table};
use hansa_types::hash::StateHash;
use hansa_types::id::TransferId;
use hansa_types::time::LogTime;

use super::names::Names;
use super::{Done, Inventory, RequestKey, Reservation, Settings};
use crate::core::kernel::{Books, FrozenBooks, Ids, Journal};

pub(super) const SKUS: &str = "skus";
pub(super) const WAREHOUSES: &str = "warehouses";
pub(super) const RESERVATIONS: &str = "reservations";
pub(super) const DONE: &str = "commands";
pub(super) const REQUESTS: &str = "requests";

pub struct Frozen {
    settings: Vec<u8>,
    /// The digest of what lies beside the tables.
    head: StateHash,
    now: LogTime,
    next: u64,
    books: FrozenBooks,
    skus: FrozenTable<u32, Arc<str>>,
    warehouses: FrozenTable<u32, Arc<str>>,
    reservations: FrozenTable<TransferId, Reservation>,
    done: FrozenTable<TransferId, Done>,
    requests: FrozenTable<RequestKey, TransferId>,
}

impl Frozen {
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        to.write_all(&(self.settings.len() as u32).to_le_bytes())?;
        to.write_all(&self.settings)?;
        to.write_all(&self.now.ms().to_le_bytes())?;
        to.write_all(&self.next.to_le_bytes())?;
        self.books.write(to)?;
        self.skus.write(to)?;
        self.warehouses.write(to)?;
        self.reservations.write(to)?;
        self.done.write(to)?;
        self.requests.write(to)
    }

    /// The digest computed anew from every record.
    pub fn recompute_digest(&self) -> StateHash {
        let mut sum = self.books.recompute_digest();
        sum.add(self.skus.recompute_digest());
        sum.add(self.warehouses.recompute_digest());
        sum.add(self.reservations.recompute_digest());
        sum.add(self.done.recompute_digest());
        sum.add(self.requests.recompute_digest());
        sum.add(self.head);
        sum
    }
}

impl Inventory {
    pub fn freeze(&self) -> Frozen {
        Frozen {
            settings: postcard::to_allocvec(&self.settings).unwrap_or_default(),
            head: self.head_digest(),
            now: self.now,
            next: self.journal.next(),
            books: self.books.freeze(),
            skus: self.skus.table().freeze(),
            warehouses: self.warehouses.table().freeze(),
            reservations: self.reservations.freeze(),
            done: self.done.table().freeze(),
            requests: self.requests.freeze(),
        }
    }

    /// The books that [`Frozen::write`] wrote.
    pub fn read(from: &mut dyn Read) -> Result<Self, ReadError> {
        let mut len = [0; 4];
        from.read_exact(&mut len)?;
        let mut bytes = Vec::new();
        from.take(u64::from(u32::from_le_bytes(len))).read_to_end(&mut bytes)?;
        let settings: Settings = postcard::from_bytes(&bytes)?;
        let (mut now, mut next) = ([0; 8], [0; 8]);
        from.read_exact(&mut now)?;
        from.read_exact(&mut next)?;
        let books = Books::read(from)?;
        let skus = Names::read(SKUS, from)?;
        let warehouses = Names::read(WAREHOUSES, from)?;
        let reservations = Table::read(RESERVATIONS, from)?;
        let done = Ids::from_table(Table::read(DONE, from)?, settings.id_window_ms);
        let requests: Table<RequestKey, TransferId> = Table::read(REQUESTS, from)?;
        let mut order: Vec<_> = requests.iter().map(|(key, id)| (id.at(), *key)).collect();
        order.sort_unstable_by_key(|(seen, key)| (*seen, key.0));
        Ok(Self {
            settings,
            now: LogTime(u64::from_le_bytes(now)),
            books,
            skus,
            warehouses,
            reservations,
            done,
            requests,
            request_order: order.into(),
            journal: Journal::resume(u64::from_le_bytes(next)),
            notes: Vec::new(),
        })
    }

    /// The digest of the whole state, kept with each write.
    pub fn digest(&self) -> StateHash {
        let mut sum = self.books.digest();
        sum.add(self.skus.table().digest());
        sum.add(self.warehouses.table().digest());
        sum.add(self.reservations.digest());
        sum.add(self.done.table().digest());
        sum.add(self.requests.digest());
        sum.add(self.head_digest());
        sum
    }

    /// The digest computed anew from every record.
    pub fn recompute_digest(&self) -> StateHash {
        let mut sum = self.books.recompute_digest();
        sum.add(self.skus.table().recompute_digest());
        sum.add(self.warehouses.table().recompute_digest());
        sum.add(self.reservations.recompute_digest());
        sum.add(self.done.table().recompute_digest());
        sum.add(self.requests.recompute_digest());
        sum.add(self.head_digest());
        sum
    }

    fn head_digest(&self) -> StateHash {
        // Settings too: replicas that decide by other rules must not look alike until they differ.
        let Settings { id_window_ms, hold_ms_max, default_warehouse } = &self.settings;
        let rules = (id_window_ms, hold_ms_max, default_warehouse);
        StateHash::of_record("inventory", &self.now, &(self.journal.next(), rules))
    }
}
