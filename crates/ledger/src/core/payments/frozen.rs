//! The money books at one moment, on disk, and back.

use std::io::{self, Read, Write};

use hansa_pages::shelf::FrozenShelf;
use hansa_pages::{FrozenTable, ReadError, Shelf, Table};
use hansa_types::hash::StateHash;
use hansa_types::time::LogTime;

use super::chart::PaymentKey;
use super::leave::Idle;
use super::{Payment, Payments, Settings};
use crate::core::kernel::{FrozenKernel, Kernel};

pub(super) const PAYMENTS: &str = "payments";

pub struct Frozen {
    settings: Settings,
    now: LogTime,
    kernel: FrozenKernel,
    payments: FrozenTable<PaymentKey, Payment>,
    shelf: FrozenShelf,
}

impl Frozen {
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let Settings { id_window_ms, evict_after_ms } = self.settings;
        to.write_all(&id_window_ms.to_le_bytes())?;
        to.write_all(&evict_after_ms.to_le_bytes())?;
        to.write_all(&self.now.ms().to_le_bytes())?;
        self.kernel.write(to)?;
        self.payments.write(to)?;
        self.shelf.write(to)
    }

    /// The digest computed anew from every record.
    pub fn recompute_digest(&self) -> StateHash {
        let mut sum = self.kernel.recompute_digest();
        sum.add(self.payments.recompute_digest());
        sum.add(self.shelf.recompute_digest());
        sum.add(head(&self.settings, self.now));
        sum
    }
}

impl Payments {
    pub fn freeze(&self) -> Frozen {
        Frozen {
            settings: self.settings.clone(),
            now: self.now,
            kernel: self.kernel.freeze(),
            payments: self.payments.freeze(),
            shelf: self.shelf.freeze(),
        }
    }

    /// The books that [`Frozen::write`] wrote.
    pub fn read(from: &mut dyn Read) -> Result<Self, ReadError> {
        let [id_window_ms, evict_after_ms, now] = read_u64s(from)?;
        let settings = Settings { id_window_ms, evict_after_ms };
        let kernel = Kernel::read(id_window_ms, from)?;
        let payments = Table::read(PAYMENTS, from)?;
        let shelf = Shelf::read(from)?;
        let idle = Idle::rebuild(&payments, kernel.books(), evict_after_ms);
        let now = LogTime(now);
        Ok(Self { now, kernel, payments, shelf, idle, ..Self::new(settings) })
    }

    /// The digest of the whole state, kept with each write.
    pub fn digest(&self) -> StateHash {
        let mut sum = self.kernel.digest();
        sum.add(self.payments.digest());
        sum.add(self.shelf.digest());
        sum.add(head(&self.settings, self.now));
        sum
    }

    /// The digest computed anew from every record.
    pub fn recompute_digest(&self) -> StateHash {
        let mut sum = self.kernel.recompute_digest();
        sum.add(self.payments.recompute_digest());
        sum.add(self.shelf.recompute_digest());
        sum.add(head(&self.settings, self.now));
        sum
    }
}

fn head(settings: &Settings, now: LogTime) -> StateHash {
    let Settings { id_window_ms, evict_after_ms } = settings;
    StateHash::of_record("payments-head", &(id_window_ms, evict_after_ms), &now)
}

fn read_u64s<const N: usize>(from: &mut dyn Read) -> io::Result<[u64; N]> {
    let mut values = [0; N];
    for value in &mut values {
        let mut bytes = [0; 8];
        from.read_exact(&mut bytes)?;
        *value = u64::from_le_bytes(bytes);
    }
    Ok(values)
}
