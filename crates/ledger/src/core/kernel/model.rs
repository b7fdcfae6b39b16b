//! The kernel again, as naively as it can be written: a list of everything that ever happened,
//! sums instead of counters, copies instead of undoing. Slow, and too plain to be wrong.

use std::collections::BTreeMap;

use hansa_types::id::{AccountId, TransferId};
use hansa_types::time::LogTime;

use super::{AccountSpec, Act, Field, Limit, Outcome, Side, TIMEOUT_MS_MAX, Transfer};

#[derive(Clone, Default)]
pub struct Model {
    pub window_ms: u64,
    pub now: u64,
    pub accounts: BTreeMap<AccountId, AccountSpec>,
    pub history: Vec<Past>,
}

/// A transfer that had an id, and what it is now.
#[derive(Clone)]
pub struct Past {
    pub transfer: Transfer,
    pub is: Is,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Is {
    Moved,
    Live {
        expires: Option<u64>,
    },
    /// A hold, posted in part or whole.
    Posted(u64),
    Voided,
    Expired,
    /// A post or void, which did its work.
    Done,
    Failed(Outcome),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sums {
    pub debits_pending: u64,
    pub debits_posted: u64,
    pub credits_pending: u64,
    pub credits_posted: u64,
}

impl Model {
    pub fn advance(&mut self, at: LogTime) {
        self.now = at.ms();
        for past in &mut self.history {
            if let Is::Live { expires: Some(expires) } = past.is
                && expires <= self.now
            {
                past.is = Is::Expired;
            }
        }
    }

    pub fn sums(&self, id: &AccountId) -> Sums {
        let mut sums = Sums::default();
        for past in &self.history {
            let (debit, credit, pending, posted) = match (past.transfer.act, past.is) {
                (Act::Move { debit, credit, amount }, Is::Moved) => (debit, credit, 0, amount),
                (Act::Hold { debit, credit, amount, .. }, Is::Live { .. }) => {
                    (debit, credit, amount, 0)
                }
                (Act::Hold { debit, credit, .. }, Is::Posted(part)) => (debit, credit, 0, part),
                _ => continue,
            };
            if debit == *id {
                sums.debits_pending += pending;
                sums.debits_posted += posted;
            }
            if credit == *id {
                sums.credits_pending += pending;
                sums.credits_posted += posted;
            }
        }
        sums
    }

    pub fn apply(&mut self, batch: &[Transfer]) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let mut chain = Vec::new();
        for (n, transfer) in batch.iter().enumerate() {
            chain.push(*transfer);
            if !transfer.linked || n + 1 == batch.len() {
                outcomes.extend(self.chain(&chain));
                chain.clear();
            }
        }
        outcomes
    }

    fn chain(&mut self, chain: &[Transfer]) -> Vec<Outcome> {
        let failed = |nth: usize, why: Outcome| {
            let answer = |n| if n == nth { why } else { Outcome::LinkedFailed };
            (0..chain.len()).map(answer).collect::<Vec<_>>()
        };
        for (n, transfer) in chain.iter().enumerate() {
            if let Some(why) = malformed(transfer) {
                return failed(n, why);
            }
        }
        if chain.last().is_some_and(|last| last.linked) {
            return failed(chain.len() - 1, Outcome::ChainOpen);
        }
        let mut ids: Vec<_> = chain.iter().map(|transfer| transfer.id).collect();
        ids.sort();
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            let nth = chain.iter().rposition(|transfer| transfer.id == pair[0]);
            return failed(nth.unwrap(), Outcome::ChainRepeatsId);
        }
        let known: Vec<_> = chain.iter().map(|transfer| self.known(transfer)).collect();
        for (n, known) in known.iter().enumerate() {
            if let Some(
                why @ (Outcome::IdTooOld | Outcome::IdTooNew | Outcome::ExistsWithDifferent(_)),
            ) = known
            {
                return failed(n, *why);
            }
        }
        if known.iter().all(Option::is_some) {
            return known.into_iter().flatten().collect();
        }
        if let Some(n) = known.iter().position(Option::is_some) {
            return failed(n, Outcome::ExistsWithDifferent(Field::Chain));
        }
        let before = self.clone();
        for (n, transfer) in chain.iter().enumerate() {
            if let Err(why) = self.effect(transfer) {
                *self = before;
                let outcomes = failed(n, why);
                for (transfer, outcome) in chain.iter().zip(&outcomes) {
                    self.history.push(Past { transfer: *transfer, is: Is::Failed(*outcome) });
                }
                return outcomes;
            }
        }
        vec![Outcome::Created; chain.len()]
    }

    fn find(&self, id: TransferId) -> Option<&Past> {
        self.history.iter().find(|past| past.transfer.id == id)
    }

    fn too_old(&self, id: TransferId) -> bool {
        id.at().ms() + self.window_ms < self.now
    }

    fn known(&self, transfer: &Transfer) -> Option<Outcome> {
        if self.too_old(transfer.id) {
            return Some(Outcome::IdTooOld);
        }
        if transfer.id.at().ms() > self.now + self.window_ms {
            return Some(Outcome::IdTooNew);
        }
        let past = self.find(transfer.id)?;
        if let Some(field) = past.transfer.differs_from(transfer) {
            return Some(Outcome::ExistsWithDifferent(field));
        }
        match past.is {
            Is::Failed(why) => Some(why),
            _ => Some(Outcome::Exists),
        }
    }

    fn effect(&mut self, transfer: &Transfer) -> Result<(), Outcome> {
        let is = match transfer.act {
            Act::Move { debit, credit, amount } => {
                self.check(debit, credit, amount)?;
                Is::Moved
            }
            Act::Hold { debit, credit, amount, timeout_ms } => {
                self.check(debit, credit, amount)?;
                Is::Live { expires: timeout_ms.map(|ms| self.now + ms) }
            }
            Act::Post { hold, amount } => {
                let held = self.held(hold)?;
                if amount.is_some_and(|amount| amount > held) {
                    return Err(Outcome::ExceedsHold);
                }
                self.set(hold, Is::Posted(amount.unwrap_or(held)));
                Is::Done
            }
            Act::Void { hold } => {
                self.held(hold)?;
                self.set(hold, Is::Voided);
                Is::Done
            }
        };
        self.history.push(Past { transfer: *transfer, is });
        Ok(())
    }

    fn set(&mut self, hold: TransferId, is: Is) {
        let past = self.history.iter_mut().find(|past| past.transfer.id == hold);
        past.unwrap().is = is;
    }

    fn held(&self, id: TransferId) -> Result<u64, Outcome> {
        let past = self.find(id).ok_or(Outcome::HoldNotFound)?;
        if let (Act::Hold { amount, .. }, Is::Live { .. }) = (past.transfer.act, past.is) {
            return Ok(amount); // However old.
        }
        if self.too_old(id) || id.at().ms() > self.now + self.window_ms {
            return Err(Outcome::HoldNotFound);
        }
        Err(match past.is {
            Is::Failed(_) => Outcome::HoldNotFound,
            Is::Posted(_) => Outcome::AlreadyPosted,
            Is::Voided => Outcome::AlreadyVoided,
            Is::Expired => Outcome::Expired,
            Is::Moved | Is::Done | Is::Live { .. } => Outcome::NotAHold,
        })
    }

    fn check(&self, debit: AccountId, credit: AccountId, amount: u64) -> Result<(), Outcome> {
        let from = self.accounts.get(&debit).ok_or(Outcome::AccountNotFound(Side::Debit))?;
        let to = self.accounts.get(&credit).ok_or(Outcome::AccountNotFound(Side::Credit))?;
        if from.unit != to.unit {
            return Err(Outcome::UnitsDiffer);
        }
        let (left, right) = (self.sums(&debit), self.sums(&credit));
        let max = i128::from(u64::MAX);
        let wide = i128::from;
        let amount = wide(amount);
        if wide(left.debits_pending) + wide(left.debits_posted) + amount > max {
            return Err(Outcome::Overflow(Side::Debit));
        }
        if wide(right.credits_pending) + wide(right.credits_posted) + amount > max {
            return Err(Outcome::Overflow(Side::Credit));
        }
        if let Limit::Debits { floor } = from.limit
            && wide(left.debits_pending) + wide(left.debits_posted) + amount
                > wide(left.credits_posted) + i128::from(floor)
        {
            return Err(Outcome::ExceedsAvailable);
        }
        if let Limit::Credits { floor } = to.limit
            && wide(right.credits_pending) + wide(right.credits_posted) + amount
                > wide(right.debits_posted) + i128::from(floor)
        {
            return Err(Outcome::ExceedsCreditLimit);
        }
        Ok(())
    }
}

fn malformed(transfer: &Transfer) -> Option<Outcome> {
    let (accounts, amount, timeout) = match transfer.act {
        Act::Move { debit, credit, amount } => (Some((debit, credit)), amount, None),
        Act::Hold { debit, credit, amount, timeout_ms } => {
            (Some((debit, credit)), amount, timeout_ms)
        }
        Act::Post { amount, .. } => (None, amount.unwrap_or(1), None),
        Act::Void { .. } => (None, 1, None),
    };
    if amount == 0 {
        Some(Outcome::AmountZero)
    } else if accounts.is_some_and(|(debit, credit)| debit == credit) {
        Some(Outcome::SameAccount)
    } else if timeout.is_some_and(|ms| ms == 0 || ms > TIMEOUT_MS_MAX) {
        Some(Outcome::TimeoutOutOfRange)
    } else {
        None
    }
}
