//! Payments that are over leave hot state, and come back when something is asked of them.
//!
//! A payment leaves with its account once nothing is held of it and nothing has happened to it for
//! [`super::Settings::evict_after_ms`]: by log time and state alone, so that every replica lets go
//! of the same in the same entry. What its account had is then the closed account's, so that debits
//! and credits stay even. One that began in another region's books stays: what the books began with
//! cites it.
//!
//! Nothing is decided on what is not here: a command on a payment that may have left is refused
//! with `Shelved` and burns nothing. Whoever sent it puts what the archive has of the payment in
//! front, a [`Recalled`] or a [`Looked`].

use std::collections::BTreeSet;

use hansa_pages::shelf::{Chunk, Proof, Was};
use hansa_pages::{Shelf, Table};
use hansa_types::id::OrderId;
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use super::chart::{House, PaymentKey};
use super::{Payment, Payments};
use crate::core::kernel::{Account, Books};
use crate::core::outcome::{Outcome, OutcomeCode};

/// Payments that leave in one entry, so that one after a long silence stays short.
const LEAVE_MAX: usize = 256;
/// In an idle group those leave together that are due by the next multiple of this.
const TOGETHER_MS: u64 = 10_000;

/// A payment as it left. Its value in the archive is [`Self::encode`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShelvedPayment {
    /// Its number on the shelf.
    pub number: u64,
    pub key: PaymentKey,
    pub payment: Payment,
    pub account: Account,
}

/// In front of a shelved payment.
const FORMAT: u8 = 1;

impl ShelvedPayment {
    pub fn encode(&self) -> Vec<u8> {
        match postcard::to_extend(self, vec![FORMAT]) {
            Ok(record) => record,
            Err(error) => unreachable!("plain values always encode: {error}"),
        }
    }

    /// Its key in the archive: an order's payments lie together.
    pub fn place(&self) -> [u8; 32] {
        let mut place = [0; 32];
        place[..16].copy_from_slice(&self.payment.order.to_bytes());
        place[16..].copy_from_slice(&self.key.to_bytes());
        place
    }

    /// `None` for what [`Self::encode`] did not make, to the last byte.
    pub fn decode(record: &[u8]) -> Option<Self> {
        let (&FORMAT, rest) = record.split_first()? else { return None };
        let shelved: Self = postcard::from_bytes(rest).ok()?;
        (shelved.encode() == record).then_some(shelved)
    }
}

/// What the archive has of a payment, and that it is on the shelf.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recalled {
    pub record: Vec<u8>,
    pub proof: Proof,
}

/// At this time the payment was not here, and the archive, read after that, has nothing of it.
///
/// Good for the rest of its log command, and only as long as no payment can have come and left
/// since: nothing leaves sooner than `evict_after_ms` after it came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Looked {
    pub payment: PaymentKey,
    pub at: LogTime,
}

/// What goes to the archive of payments that left and came back.
pub enum Gone {
    Payment {
        place: [u8; 32],
        record: Vec<u8>,
    },
    Chunk(Chunk),
    /// The number of a record that came back out of a closed chunk.
    Spent(u64),
}

/// Which payments may leave, by when something last happened to them.
///
/// # Invariant
/// Derived from the tables: exactly those of which nothing is held, and that began here.
#[derive(PartialEq, Eq, Debug, Default)]
pub struct Idle(BTreeSet<(LogTime, PaymentKey)>);

impl Idle {
    pub fn rebuild(payments: &Table<PaymentKey, Payment>, books: &Books, after_ms: u64) -> Self {
        let idle = payments.iter().filter(|(key, payment)| is_idle(books, key, payment));
        match after_ms {
            0 => Self::default(),
            _ => Self(idle.map(|(key, payment)| (payment.touched, *key)).collect()),
        }
    }
}

fn is_idle(books: &Books, key: &PaymentKey, payment: &Payment) -> bool {
    let held = books.account(&key.account()).is_none_or(|account| account.credits_pending > 0);
    !held && payment.opened.is_none()
}

impl Payments {
    /// What has left.
    pub fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Whether the index of those that may leave is what the tables say.
    pub fn idle_agrees(&self) -> bool {
        let books = self.kernel.books();
        self.idle == Idle::rebuild(&self.payments, books, self.settings.evict_after_ms)
    }

    /// What goes to the archive of payments that left or came back since the last call.
    pub fn take_gone(&mut self) -> Vec<Gone> {
        std::mem::take(&mut self.gone)
    }

    /// Ends a log command: what was looked up for it says nothing of what follows.
    pub fn forget_looked(&mut self) {
        self.looked.clear();
    }

    /// When the first payment may leave, with others that are due a little later.
    pub(super) fn leaves_at(&self) -> Option<LogTime> {
        let (touched, _) = self.idle.0.first()?;
        let due = touched.plus_ms(self.settings.evict_after_ms);
        Some(LogTime(due.ms().div_ceil(TOGETHER_MS).saturating_mul(TOGETHER_MS)))
    }

    /// Lets payments leave that are over. Comes before a time's commands, after
    /// [`Self::advance`].
    ///
    /// `stays`: whether an order is in the same log. What it does in near books is done within its
    /// own entry, which reads no archive; so its payment is looked at again later.
    pub fn leave(&mut self, at: LogTime, stays: impl Fn(OrderId) -> bool) {
        for _ in 0..LEAVE_MAX {
            let Some(&(touched, key)) = self.idle.0.first() else { return };
            if touched.plus_ms(self.settings.evict_after_ms) > at {
                return;
            }
            match self.order_of(&key).is_some_and(&stays) {
                true => self.touch(at, key),
                false => self.shelve(at, key),
            }
        }
    }

    fn shelve(&mut self, at: LogTime, key: PaymentKey) {
        let Some(payment) = self.payments.remove(&key) else {
            unreachable!("`idle` lists payments that are here")
        };
        self.idle.0.remove(&(payment.touched, key));
        let closed = House::Closed.account(payment.unit);
        let books = self.kernel.books_mut();
        books.open(closed, House::Closed.spec(payment.unit));
        let account = books.close(&key.account(), &closed);
        let shelved = ShelvedPayment { number: self.shelf.next(), key, payment, account };
        let record = shelved.encode();
        let chunk = self.shelf.put(at, key.0, 0, &record);
        self.gone.push(Gone::Payment { place: shelved.place(), record });
        self.gone.extend(chunk.map(Gone::Chunk));
    }

    /// Notes that something happened to a payment.
    pub(super) fn touch(&mut self, at: LogTime, key: PaymentKey) {
        if self.settings.evict_after_ms == 0 {
            return;
        }
        let before = self.payments.update(&key, |of| std::mem::replace(&mut of.touched, at));
        if let Some(before) = before {
            self.idle.0.remove(&(before, key));
        }
        let payment = self.payments.get(&key);
        if payment.is_some_and(|payment| is_idle(self.kernel.books(), &key, payment)) {
            self.idle.0.insert((at, key));
        }
    }

    /// Whether a payment that is not here may have left, and nobody has said what the archive has.
    pub(super) fn may_have_left(&self, key: PaymentKey) -> bool {
        !self.shelf.never_left(key.0)
            && !self.payments.contains(&key)
            && !self.looked.contains(&key)
    }

    /// Brings a payment back as it left.
    ///
    /// # Outcomes
    /// `Exists` for one that is here; `Shelved` when the shelf does not vouch for it: it is
    /// another, somebody was quicker, or its chunk has changed since. `Malformed` for no record.
    pub(super) fn recall(&mut self, recalled: &Recalled) -> Outcome {
        let Recalled { record, proof } = recalled;
        let Some(shelved) = ShelvedPayment::decode(record) else {
            return OutcomeCode::Malformed.into();
        };
        let ShelvedPayment { number: _, key, payment, account } = shelved;
        if self.payments.contains(&key) {
            return OutcomeCode::Exists.into();
        }
        match self.shelf.take(key.0, 0, record, proof) {
            Err(_not_there) => return OutcomeCode::Shelved.into(),
            Ok(Was::Open) => {}
            Ok(Was::Closed) => self.gone.push(Gone::Spent(proof.number)),
        }
        let closed = House::Closed.account(payment.unit);
        self.kernel.books_mut().reopen(key.account(), account, &closed);
        self.payments.insert(key, payment);
        self.idle.0.insert((payment.touched, key));
        OutcomeCode::Applied.into()
    }

    /// Believes, for the rest of a log command, that a payment that is not here never was.
    ///
    /// # Outcomes
    /// `Exists` for one that is here; `Shelved` when it may have come and left since.
    pub(super) fn look(&mut self, at: LogTime, looked: Looked) -> Outcome {
        if self.payments.contains(&looked.payment) {
            return OutcomeCode::Exists.into();
        }
        let upto = looked.at.plus_ms(self.settings.evict_after_ms);
        if looked.at > at || upto <= at {
            return OutcomeCode::Shelved.into();
        }
        self.looked.push(looked.payment);
        OutcomeCode::Applied.into()
    }
}

#[cfg(test)]
mod tests;
