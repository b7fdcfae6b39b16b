//! Accounts and live holds, and the four things that happen to them.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use hansa_pages::{FrozenTable, ReadError, Table};
use hansa_types::hash::StateHash;
use hansa_types::id::{AccountId, TransferId};
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

use super::account::{Account, AccountSpec, Code, Limit};
use super::outcome::{Outcome, Side};
use super::transfer::Reference;

const ACCOUNTS: &str = "accounts";
const HOLDS: &str = "holds";

/// A hold that is not resolved yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Hold {
    pub debit: AccountId,
    pub credit: AccountId,
    pub amount: u64,
    pub expires: Option<LogTime>,
    pub code: Code,
    pub reference: Reference,
}

/// The books themselves, without memory of ids: whoever calls keeps repeats away.
///
/// # Invariant
/// Σ debits = Σ credits per unit, posted and pending; `due` lists exactly the holds that expire.
pub struct Books {
    accounts: Table<AccountId, Account>,
    holds: Table<TransferId, Hold>,
    due: BTreeSet<(LogTime, TransferId)>,
    undo: Vec<Undo>,
    in_chain: bool,
}

/// How to take one change of a chain back.
enum Undo {
    Account(AccountId, Account),
    Placed(TransferId),
    Resolved(TransferId, Hold),
}

impl Default for Books {
    fn default() -> Self {
        Self::from_tables(Table::new(ACCOUNTS), Table::new(HOLDS))
    }
}

impl Books {
    fn from_tables(accounts: Table<AccountId, Account>, holds: Table<TransferId, Hold>) -> Self {
        let due = holds.iter().filter_map(|(id, hold)| Some((hold.expires?, *id))).collect();
        Self { accounts, holds, due, undo: Vec::new(), in_chain: false }
    }

    pub fn account(&self, id: &AccountId) -> Option<&Account> {
        self.accounts.get(id)
    }

    /// Every account, in an order that is the same on every replica.
    pub fn accounts(&self) -> impl Iterator<Item = (&AccountId, &Account)> {
        self.accounts.iter()
    }

    pub fn hold(&self, id: &TransferId) -> Option<&Hold> {
        self.holds.get(id)
    }

    /// Every live hold, in an order that is the same on every replica.
    pub fn holds(&self) -> impl Iterator<Item = (&TransferId, &Hold)> {
        self.holds.iter()
    }

    pub fn holds_len(&self) -> usize {
        self.holds.len()
    }

    /// Opens an account on first use; one that is open stays as it is.
    pub fn open(&mut self, id: AccountId, spec: AccountSpec) {
        if !self.accounts.contains(&id) {
            self.accounts.insert(id, Account::open(spec));
        }
    }

    /// Changes an account's limit, unless the account would break the new one at once.
    pub fn set_limit(&mut self, id: &AccountId, limit: Limit) -> Result<(), Outcome> {
        let mut changed =
            self.accounts.get(id).ok_or(Outcome::AccountNotFound(Side::Debit))?.clone();
        changed.limit = limit;
        if !changed.within_limit() {
            return Err(Outcome::ExceedsAvailable);
        }
        self.change(id, |account| account.limit = limit);
        Ok(())
    }

    /// Closes an account of which nothing is held: what was posted to it goes to the account
    /// `into`, which has the same unit and no limit. The account as it was.
    ///
    /// # Panics
    /// There are no two such accounts, or something is held, or a chain is under way.
    pub fn close(&mut self, id: &AccountId, into: &AccountId) -> Account {
        assert!(!self.in_chain, "a closed account is not taken back");
        let Some(account) = self.accounts.remove(id) else { unreachable!("no account {id}") };
        assert!(
            (account.debits_pending, account.credits_pending) == (0, 0),
            "{id} holds something"
        );
        let fits = |into: &Account| into.unit == account.unit && into.limit == Limit::None;
        assert!(self.accounts.get(into).is_some_and(fits), "{into} does not take in {id}");
        // The other sides of what was posted here have counted it all, so neither sum overflows.
        self.change(into, |into| {
            into.debits_posted += account.debits_posted;
            into.credits_posted += account.credits_posted;
        });
        account
    }

    /// Opens an account again as [`Self::close`] closed it into `from`.
    ///
    /// # Panics
    /// The account is open, or never was closed into that one; a chain is under way.
    pub fn reopen(&mut self, id: AccountId, account: Account, from: &AccountId) {
        assert!(!self.in_chain, "a closed account is not taken back");
        self.change(from, |from| {
            let posted = (
                from.debits_posted.checked_sub(account.debits_posted),
                from.credits_posted.checked_sub(account.credits_posted),
            );
            let (Some(debits), Some(credits)) = posted else {
                unreachable!("{id} is no part of what was closed")
            };
            (from.debits_posted, from.credits_posted) = (debits, credits);
        });
        let before = self.accounts.insert(id, account);
        assert!(before.is_none(), "{id} was not closed");
    }

    /// Whether `amount` may go from `debit` to `credit`. The order of the checks is `Outcome`'s.
    fn check(&self, debit: &AccountId, credit: &AccountId, amount: u64) -> Result<(), Outcome> {
        let debit = self.accounts.get(debit).ok_or(Outcome::AccountNotFound(Side::Debit))?;
        let credit = self.accounts.get(credit).ok_or(Outcome::AccountNotFound(Side::Credit))?;
        if debit.unit != credit.unit {
            return Err(Outcome::UnitsDiffer);
        }
        if !debit.debits_fit(amount) {
            return Err(Outcome::Overflow(Side::Debit));
        }
        if !credit.credits_fit(amount) {
            return Err(Outcome::Overflow(Side::Credit));
        }
        if !debit.may_debit(amount) {
            return Err(Outcome::ExceedsAvailable);
        }
        if !credit.may_credit(amount) {
            return Err(Outcome::ExceedsCreditLimit);
        }
        Ok(())
    }

    /// Moves `amount` at once.
    pub fn transfer(
        &mut self,
        debit: &AccountId,
        credit: &AccountId,
        amount: u64,
    ) -> Result<(), Outcome> {
        self.check(debit, credit, amount)?;
        self.change(debit, |account| account.debits_posted += amount);
        self.change(credit, |account| account.credits_posted += amount);
        Ok(())
    }

    /// Places a hold under `id`, which must not be a live hold's.
    pub fn place(&mut self, id: TransferId, hold: Hold) -> Result<(), Outcome> {
        self.check(&hold.debit, &hold.credit, hold.amount)?;
        self.change(&hold.debit, |account| account.debits_pending += hold.amount);
        self.change(&hold.credit, |account| account.credits_pending += hold.amount);
        self.put_hold(id, hold);
        if self.in_chain {
            self.undo.push(Undo::Placed(id));
        }
        Ok(())
    }

    /// Posts a hold, or `amount` of it, and releases the rest.
    ///
    /// # Outcomes
    /// The hold as it was and what was posted; `HoldNotFound` when no such hold is live,
    /// `ExceedsHold` when less is held.
    pub fn post(&mut self, id: &TransferId, amount: Option<u64>) -> Result<(Hold, u64), Outcome> {
        let hold = *self.holds.get(id).ok_or(Outcome::HoldNotFound)?;
        let posted = amount.unwrap_or(hold.amount);
        if posted > hold.amount {
            return Err(Outcome::ExceedsHold);
        }
        self.resolve(id, &hold, posted);
        Ok((hold, posted))
    }

    /// Releases a hold; `HoldNotFound` when no such hold is live.
    pub fn void(&mut self, id: &TransferId) -> Result<Hold, Outcome> {
        let hold = *self.holds.get(id).ok_or(Outcome::HoldNotFound)?;
        self.resolve(id, &hold, 0);
        Ok(hold)
    }

    /// Moves a hold's expiry; `HoldNotFound` when no such hold is live.
    pub fn extend(&mut self, id: &TransferId, expires: LogTime) -> Result<(), Outcome> {
        assert!(!self.in_chain, "an extension is not taken back");
        let hold = *self.holds.get(id).ok_or(Outcome::HoldNotFound)?;
        if let Some(old) = hold.expires {
            self.due.remove(&(old, *id));
        }
        self.due.insert((expires, *id));
        self.holds.update(id, |hold| hold.expires = Some(expires));
        Ok(())
    }

    /// Releases one hold whose time has come: the earliest, and among equals the lowest id.
    pub fn expire_one(&mut self, at: LogTime) -> Option<(TransferId, Hold)> {
        let &(expires, id) = self.due.first()?;
        if expires > at {
            return None;
        }
        let hold = self.holds.get(&id).copied();
        let Some(hold) = hold else { unreachable!("`due` lists live holds only") };
        self.resolve(&id, &hold, 0);
        Some((id, hold))
    }

    pub fn next_due(&self) -> Option<LogTime> {
        self.due.first().map(|&(at, _)| at)
    }

    /// Begins a chain: what follows can be taken back until [`Self::keep`].
    pub fn begin(&mut self) {
        assert!(!self.in_chain && self.undo.is_empty(), "chains do not nest");
        self.in_chain = true;
    }

    /// Ends a chain and keeps what it did.
    pub fn keep(&mut self) {
        self.undo.clear();
        self.in_chain = false;
    }

    /// Ends a chain and takes back what it did, latest first.
    pub fn take_back(&mut self) {
        self.in_chain = false;
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Account(id, before) => {
                    self.change(&id, |account| *account = before);
                }
                Undo::Placed(id) => self.drop_hold(&id),
                Undo::Resolved(id, hold) => self.put_hold(id, hold),
            }
        }
    }

    fn resolve(&mut self, id: &TransferId, hold: &Hold, posted: u64) {
        self.change(&hold.debit, |account| {
            account.debits_pending -= hold.amount;
            account.debits_posted += posted;
        });
        self.change(&hold.credit, |account| {
            account.credits_pending -= hold.amount;
            account.credits_posted += posted;
        });
        self.drop_hold(id);
        if self.in_chain {
            self.undo.push(Undo::Resolved(*id, *hold));
        }
    }

    fn change(&mut self, id: &AccountId, change: impl FnOnce(&mut Account)) {
        if self.in_chain
            && let Some(account) = self.accounts.get(id)
        {
            self.undo.push(Undo::Account(*id, account.clone()));
        }
        let found = self.accounts.update(id, change);
        assert!(found.is_some(), "an account closes between two transfers only");
    }

    fn put_hold(&mut self, id: TransferId, hold: Hold) {
        if let Some(expires) = hold.expires {
            self.due.insert((expires, id));
        }
        let before = self.holds.insert(id, hold);
        assert!(before.is_none(), "a hold's id is its own");
    }

    fn drop_hold(&mut self, id: &TransferId) {
        let hold = self.holds.remove(id);
        if let Some(expires) = hold.and_then(|hold| hold.expires) {
            self.due.remove(&(expires, *id));
        }
    }

    pub fn digest(&self) -> StateHash {
        let mut sum = self.accounts.digest();
        sum.add(self.holds.digest());
        sum
    }

    pub fn recompute_digest(&self) -> StateHash {
        let mut sum = self.accounts.recompute_digest();
        sum.add(self.holds.recompute_digest());
        sum
    }

    pub fn freeze_accounts(&self) -> FrozenTable<AccountId, Account> {
        self.accounts.freeze()
    }

    pub fn freeze_holds(&self) -> FrozenTable<TransferId, Hold> {
        self.holds.freeze()
    }

    pub fn freeze(&self) -> FrozenBooks {
        assert!(!self.in_chain, "a chain is whole before anyone looks");
        FrozenBooks { accounts: self.accounts.freeze(), holds: self.holds.freeze() }
    }

    pub fn read(from: &mut dyn Read) -> Result<Self, ReadError> {
        let accounts = Table::read(ACCOUNTS, from)?;
        let holds = Table::read(HOLDS, from)?;
        Ok(Self::from_tables(accounts, holds))
    }
}

/// Books at one moment.
pub struct FrozenBooks {
    accounts: FrozenTable<AccountId, Account>,
    holds: FrozenTable<TransferId, Hold>,
}

impl FrozenBooks {
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        self.accounts.write(to)?;
        self.holds.write(to)
    }

    pub fn recompute_digest(&self) -> StateHash {
        let mut sum = self.accounts.recompute_digest();
        sum.add(self.holds.recompute_digest());
        sum
    }
}
