//! The money books at one moment, on disk, and back.

use std::io::{self, Read, Write};

use hansa_pages::{FrozenTable, ReadError, Table};
use hansa_types::hash::StateHash;
use hansa_types::time::LogTime;

use super::chart::PaymentKey;
use super::{Payment, Payments, Settings};
use crate::core::kernel::{FrozenKernel, Kernel};

pub(super) const PAYMENTS: &str = "payments";

pub struct Frozen {
    id_window_ms: u64,
    now: LogTime,
    kernel: FrozenKernel,
    payments: FrozenTable<PaymentKey, Payment>,
}

impl Frozen {
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        to.write_all(&self.id_window_ms.to_le_bytes())?;
        to.write_all(&self.now.ms().to_le_bytes())?;
        self.kernel.write(to)?;
        self.payments.write(to)
    }

    /// The digest computed anew from every record.
    pub fn recompute_digest(&self) -> StateHash {
        let mut sum = self.kernel.recompute_digest();
        sum.add(self.payments.recompute_digest());
        sum.add(StateHash::of_record("payments-head", &self.id_window_ms, &self.now));
        sum
    }
}

impl Payments {
    pub fn freeze(&self) -> Frozen {
        Frozen {
            id_window_ms: self.settings.id_window_ms,
            now: self.now,
            kernel: self.kernel.freeze(),
            payments: self.payments.freeze(),
        }
    }

    /// The books that [`Frozen::write`] wrote.
    pub fn read(from: &mut dyn Read) -> Result<Self, ReadError> {
        let (mut window, mut now) = ([0; 8], [0; 8]);
        from.read_exact(&mut window)?;
        from.read_exact(&mut now)?;
        let settings = Settings { id_window_ms: u64::from_le_bytes(window) };
        Ok(Self {
            now: LogTime(u64::from_le_bytes(now)),
            kernel: Kernel::read(settings.id_window_ms, from)?,
            payments: Table::read(PAYMENTS, from)?,
            outcomes: Vec::new(),
            settings,
        })
    }

    /// The digest of the whole state, kept with each write.
    pub fn digest(&self) -> StateHash {
        let mut sum = self.kernel.digest();
        sum.add(self.payments.digest());
        sum.add(StateHash::of_record("payments-head", &self.settings.id_window_ms, &self.now));
        sum
    }

    /// The digest computed anew from every record.
    pub fn recompute_digest(&self) -> StateHash {
        let mut sum = self.kernel.recompute_digest();
        sum.add(self.payments.recompute_digest());
        sum.add(StateHash::of_record("payments-head", &self.settings.id_window_ms, &self.now));
        sum
    }
}
