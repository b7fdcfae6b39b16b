//! Money: a vocabulary on the kernel.
//!
//! Each payment has one account. A hold from the provider's clearing account authorizes it,
//! posting the hold captures, and a refund goes from the payment's account to the refunds account.
//! The payment's account must not be debited beyond its credits, so refunded ≤ captured holds by
//! construction, and a hold cannot be posted for more than was held, so captured ≤ authorized.
//!
//! Payments of which nothing more happens may leave ([`Recalled`]); until the service brings them
//! back, no config says so.

mod chart;
mod command;
mod facts;
mod frozen;
mod leave;
mod open;

pub use chart::{House, Movement, PaymentKey, currency_of, unit_of};
pub use command::{Authorize, Capture, Command, Open, Refund, Void};
pub use facts::MoneyFrozen;
pub use frozen::Frozen;
pub use hansa_pages::shelf::{Chunk, Proof};
pub use leave::{Gone, Looked, Recalled, ShelvedPayment};

use hansa_pages::{Shelf, Table};
use hansa_types::id::{OrderId, TransferId};
use hansa_types::money::Currency;
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use super::kernel::{self, Act, Journal, Kernel, Reference, Seen, Transfer, Unit};
use super::outcome::{Outcome, OutcomeCode};

/// What a payments group is started with: it begins its log, so that all its replicas decide alike.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// How long transfer ids are remembered.
    pub id_window_ms: u64,
    /// A payment leaves when nothing has happened to it for so long; 0: none ever does.
    pub evict_after_ms: u64,
}

/// The money books of one shard.
pub struct Payments {
    settings: Settings,
    now: LogTime,
    kernel: Kernel,
    payments: Table<PaymentKey, Payment>,
    outcomes: Vec<kernel::Outcome>,
    /// What has left.
    shelf: Shelf,
    idle: leave::Idle,
    /// For the archive.
    gone: Vec<Gone>,
    /// Payments that never were, by who sent the log command under way.
    looked: Vec<PaymentKey>,
}

/// What is known of a payment besides its account.
///
/// # Units
/// `authorized`: minor units ever held, whatever became of the holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Payment {
    pub order: OrderId,
    pub unit: Unit,
    pub authorized: u64,
    /// There for one that began in another region's books.
    pub opened: Option<Opened>,
    /// When something last happened to it, or its order was last found in the same log; its first
    /// hold or opening where no payment ever leaves.
    pub touched: LogTime,
}

/// What a payment's books began with, and the epoch that they cite.
///
/// # Units
/// Minor units.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Opened {
    pub ended: u64,
    pub captured: u64,
    pub refunded: u64,
}

/// The books of one payment, in minor units of its currency.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PaymentBooks {
    pub order: OrderId,
    pub currency: Currency,
    pub authorized: u64,
    /// Held and not resolved.
    pub held: u64,
    pub captured: u64,
    pub refunded: u64,
}

impl Payments {
    pub fn new(settings: Settings) -> Self {
        Self {
            now: LogTime::ZERO,
            kernel: Kernel::new(settings.id_window_ms),
            payments: Table::new(frozen::PAYMENTS),
            outcomes: Vec::new(),
            shelf: Shelf::new(),
            idle: leave::Idle::default(),
            gone: Vec::new(),
            looked: Vec::new(),
            settings,
        }
    }

    /// The rules that the group began with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The time as of which everything is read.
    pub fn now(&self) -> LogTime {
        self.now
    }

    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    pub fn journal_mut(&mut self) -> &mut Journal {
        self.kernel.journal_mut()
    }

    /// Every payment, in an order that is the same on every replica.
    pub fn payments(&self) -> impl Iterator<Item = (&PaymentKey, &Payment)> {
        self.payments.iter()
    }

    pub fn payment(&self, key: &PaymentKey) -> Option<PaymentBooks> {
        let payment = self.payments.get(key)?;
        let account = self.kernel.books().account(&key.account())?;
        Some(PaymentBooks {
            order: payment.order,
            currency: currency_of(payment.unit)?,
            authorized: payment.authorized,
            held: account.credits_pending,
            captured: account.credits_posted,
            refunded: account.debits_posted,
        })
    }

    /// The order that a payment was made for.
    pub fn order_of(&self, key: &PaymentKey) -> Option<OrderId> {
        self.payments.get(key).map(|payment| payment.order)
    }

    /// Lets time pass: due holds expire, old ids are forgotten. Comes before a time's commands.
    pub fn advance(&mut self, at: LogTime) {
        self.now = at;
        for payment in self.kernel.advance(at) {
            self.touch(at, PaymentKey(payment.0));
        }
    }

    pub fn next_due(&self) -> Option<LogTime> {
        [self.kernel.next_due(), self.leaves_at()].into_iter().flatten().min()
    }

    /// Applies one command; the outcomes are the kernel's, in the words of payments.
    ///
    /// # Outcomes
    /// `Shelved` for a payment that may have left; then nothing was looked at, nothing is burnt.
    pub fn apply(&mut self, at: LogTime, command: &Command) -> Outcome {
        let payment = command.payment();
        if payment.is_some_and(|payment| self.may_have_left(payment)) {
            return OutcomeCode::Shelved.into();
        }
        let outcome = match command {
            Command::Authorize(authorize) => self.authorize(at, authorize),
            Command::Capture(capture) => self.capture(at, capture),
            Command::Void(void) => self.void(at, void),
            Command::Refund(refund) => self.refund(at, refund),
            Command::Open(open) => self.open(at, open),
            Command::Recall(recalled) => self.recall(recalled),
            Command::Looked(looked) => self.look(at, *looked),
        };
        if let (OutcomeCode::Applied, Some(payment)) = (outcome.code, payment) {
            self.touch(at, payment);
        }
        outcome
    }

    /// Holds an amount that the provider is about to be asked for.
    ///
    /// # Outcomes
    /// `UnitMismatch` when the payment was opened in another currency.
    fn authorize(&mut self, at: LogTime, authorize: &Authorize) -> Outcome {
        let Authorize { id, payment, order, amount, currency, timeout_ms } = *authorize;
        let unit = unit_of(currency);
        if self.payments.get(&payment).is_some_and(|known| known.order != order) {
            return Outcome::differs("order");
        }
        let books = self.kernel.books_mut();
        books.open(payment.account(), PaymentKey::spec(unit));
        books.open(House::Clearing.account(unit), House::Clearing.spec(unit));
        let act = Act::Hold {
            debit: House::Clearing.account(unit),
            credit: payment.account(),
            amount,
            timeout_ms: (timeout_ms > 0).then_some(timeout_ms),
        };
        let outcome = self.one(at, transfer(id, act, Movement::Authorize, payment));
        if outcome == kernel::Outcome::Created {
            let known = self.payments.get(&payment);
            let opened = known.and_then(|known| known.opened);
            let before = known.map_or(0, |known| known.authorized);
            // Holds that were voided count on, so the sum may outgrow what one account can hold.
            let authorized = before.saturating_add(amount);
            let touched = known.map_or(at, |known| known.touched);
            self.payments.insert(payment, Payment { order, unit, authorized, opened, touched });
        }
        let expires = self.kernel.books().hold(&id).and_then(|hold| hold.expires);
        Outcome { expires, ..outcome.into() }
    }

    /// Posts a hold or a part of it. What is left is released, or held again under `remainder`:
    /// then both are a chain.
    ///
    /// # Outcomes
    /// `ExceedsHold` with what is held.
    fn capture(&mut self, at: LogTime, capture: &Capture) -> Outcome {
        let Capture { id, hold, payment, amount, remainder } = *capture;
        let held = self.kernel.books().hold(&hold).copied();
        if held.is_some_and(|held| held.reference != Reference(payment.0)) {
            return OutcomeCode::HoldNotFound.into();
        }
        let mut post = transfer(id, Act::Post { hold, amount }, Movement::Capture, payment);
        let Some(remainder) = remainder else {
            let outcome = self.one(at, post);
            return resolved(outcome, held.map(|held| held.amount));
        };
        // A repeat finds no hold: what it left was remembered with the second link.
        let again = self.kernel.seen(&remainder).map(|seen| seen.transfer.act);
        let left = held.map_or(0, |held| held.amount.saturating_sub(amount.unwrap_or(held.amount)));
        let act = match (held, again) {
            (_, Some(act @ Act::Hold { .. })) => act,
            (Some(held), _) if left > 0 => Act::Hold {
                debit: held.debit,
                credit: held.credit,
                amount: left,
                timeout_ms: held.expires.map(|expires| expires.ms().saturating_sub(at.ms())),
            },
            // Nothing to hold again.
            _ => return resolved(self.one(at, post), held.map(|held| held.amount)),
        };
        post.linked = true;
        let rest = transfer(remainder, act, Movement::Authorize, payment);
        self.outcomes.clear();
        self.kernel.apply(at, &[post, rest], &mut self.outcomes);
        match (self.outcomes.first(), self.outcomes.get(1)) {
            (Some(kernel::Outcome::LinkedFailed), Some(&second)) => second.into(),
            (Some(&first), _) => resolved(first, held.map(|held| held.amount)),
            (None, _) => unreachable!("one outcome for each transfer"),
        }
    }

    /// Releases a hold.
    fn void(&mut self, at: LogTime, void: &Void) -> Outcome {
        let Void { id, hold, payment } = *void;
        let held = self.kernel.books().hold(&hold);
        if held.is_some_and(|held| held.reference != Reference(payment.0)) {
            return OutcomeCode::HoldNotFound.into();
        }
        self.one(at, transfer(id, Act::Void { hold }, Movement::Void, payment)).into()
    }

    /// Gives back part of what was captured: any amount, many times, never more in sum.
    ///
    /// # Outcomes
    /// `PaymentNotFound`; `ExceedsCaptured` with what is left to give back.
    fn refund(&mut self, at: LogTime, refund: &Refund) -> Outcome {
        let Refund { id, payment, amount } = *refund;
        let refunds = match (self.kernel.seen(&id), self.payments.get(&payment)) {
            // A repeat is the same transfer, although the payment may be known by now.
            (Some(Seen { transfer: Transfer { act: Act::Move { credit, .. }, .. }, .. }), _) => {
                *credit
            }
            (_, known) => {
                let unit = known.map_or(Unit(0), |payment| payment.unit);
                let refunds = House::Refunds.account(unit);
                if unit != Unit(0) {
                    self.kernel.books_mut().open(refunds, House::Refunds.spec(unit));
                }
                refunds
            }
        };
        let act = Act::Move { debit: payment.account(), credit: refunds, amount };
        let outcome = self.one(at, transfer(id, act, Movement::Refund, payment));
        match outcome {
            kernel::Outcome::AccountNotFound(_) => OutcomeCode::PaymentNotFound.into(),
            kernel::Outcome::ExceedsAvailable => {
                let left =
                    self.payment(&payment).map_or(0, |books| books.captured - books.refunded);
                let available = i64::try_from(left).unwrap_or(i64::MAX);
                Outcome { available, ..OutcomeCode::ExceedsCaptured.into() }
            }
            outcome => outcome.into(),
        }
    }

    fn one(&mut self, at: LogTime, transfer: Transfer) -> kernel::Outcome {
        self.outcomes.clear();
        self.kernel.apply(at, &[transfer], &mut self.outcomes);
        match self.outcomes.first() {
            Some(&outcome) => outcome,
            None => unreachable!("one outcome for each transfer"),
        }
    }
}

fn transfer(id: TransferId, act: Act, movement: Movement, payment: PaymentKey) -> Transfer {
    Transfer { id, act, code: movement.code(), reference: Reference(payment.0), linked: false }
}

fn resolved(outcome: kernel::Outcome, held: Option<u64>) -> Outcome {
    let available = match outcome {
        kernel::Outcome::ExceedsHold => i64::try_from(held.unwrap_or(0)).unwrap_or(i64::MAX),
        _ => 0,
    };
    Outcome { available, ..outcome.into() }
}

#[cfg(test)]
mod tests;
