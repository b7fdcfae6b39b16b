//! The kernel: accounts, transfers and holds, and nothing else.
//!
//! Stock and money are the same book-keeping; inventory and payments are two vocabularies on top.
//! [`Books`] keeps accounts and live holds, [`Ids`] keeps repeats away, [`Journal`] numbers what
//! was posted, and [`Kernel`] is the three together under the rules of `domain.md` §1.

mod account;
mod books;
mod ids;
mod journal;
mod outcome;
mod transfer;

pub use account::{Account, AccountSpec, Code, Limit, Unit};
pub use books::{Books, FrozenBooks, Hold};
pub use ids::{Ids, Known};
pub use journal::{Journal, Posting};
pub use outcome::{Field, Outcome, Side};
pub use transfer::{Act, Origin, Reference, TIMEOUT_MS_MAX, Transfer};

use std::io::{self, Read, Write};

use hansa_pages::{FrozenTable, ReadError, Table};
use hansa_types::hash::StateHash;
use hansa_types::id::TransferId;
use hansa_types::time::LogTime;
use serde::{Deserialize, Serialize};

const SEEN: &str = "transfers";

/// A transfer that was seen within the dedup window, and what became of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Seen {
    pub transfer: Transfer,
    pub fate: Fate,
}

/// What became of a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Fate {
    /// Applied; a hold may still be live.
    Applied,
    /// A hold that was posted, by the transfer named.
    Posted(TransferId),
    /// A hold that was voided, by the transfer named.
    Voided(TransferId),
    /// A hold that expired.
    Expired,
    /// Refused for what the state was then: the id answers this for ever.
    Burnt(Outcome),
}

/// Books whose transfers have ids: each is applied once, whatever is repeated.
///
/// # Invariant
/// Equal sequences of `advance` and `apply` give equal outcomes, digests and bytes.
pub struct Kernel {
    books: Books,
    ids: Ids<Seen>,
    journal: Journal,
    /// Fates that the chain under way has changed, to take back.
    fates: Vec<(TransferId, Fate)>,
    /// Spare room, so that a chain costs no allocation.
    scratch: Vec<TransferId>,
}

impl Kernel {
    /// Empty books that remember ids for `window_ms`.
    pub fn new(window_ms: u64) -> Self {
        Self::from_parts(Books::default(), Ids::new(SEEN, window_ms), Journal::default())
    }

    fn from_parts(books: Books, ids: Ids<Seen>, journal: Journal) -> Self {
        Self { books, ids, journal, fates: Vec::new(), scratch: Vec::new() }
    }

    pub fn books(&self) -> &Books {
        &self.books
    }

    /// For opening accounts and setting limits; transfers go through [`Self::apply`].
    pub fn books_mut(&mut self) -> &mut Books {
        &mut self.books
    }

    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    pub fn journal_mut(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// What is remembered of a transfer.
    pub fn seen(&self, id: &TransferId) -> Option<&Seen> {
        self.ids.get(id)
    }

    /// Lets time pass: due holds expire, old ids are forgotten. Comes before a time's transfers.
    /// What the holds that expired were for, once for each.
    pub fn advance(&mut self, at: LogTime) -> Vec<Reference> {
        let mut expired = Vec::new();
        while let Some((id, hold)) = self.books.expire_one(at) {
            self.ids.update(&id, |seen| seen.fate = Fate::Expired);
            expired.push(hold.reference);
        }
        self.ids.advance(at);
        expired
    }

    pub fn next_due(&self) -> Option<LogTime> {
        self.books.next_due()
    }

    /// Applies a batch in order and pushes one outcome for each transfer.
    pub fn apply(&mut self, at: LogTime, batch: &[Transfer], outcomes: &mut Vec<Outcome>) {
        let mut rest = batch;
        while let Some(first) = rest.first() {
            if !first.linked {
                outcomes.push(self.single(at, first));
                rest = &rest[1..];
                continue;
            }
            let links = rest.iter().take_while(|transfer| transfer.linked).count();
            let (chain, after) = rest.split_at((links + 1).min(rest.len()));
            self.chain(at, chain, outcomes);
            rest = after;
        }
    }

    fn single(&mut self, at: LogTime, transfer: &Transfer) -> Outcome {
        if let Some(refusal) = transfer.refused_by_itself() {
            return refusal;
        }
        if let Some(known) = self.known(at, transfer) {
            return known;
        }
        let outcome = self.effect(at, transfer).err().unwrap_or(Outcome::Created);
        self.remember(transfer, outcome);
        self.fates.clear();
        outcome
    }

    fn chain(&mut self, at: LogTime, chain: &[Transfer], outcomes: &mut Vec<Outcome>) {
        let begin = outcomes.len();
        if let Some((nth, refusal)) =
            self.chain_refused_by_itself(chain).or_else(|| self.chain_known(at, chain, outcomes))
        {
            outcomes.truncate(begin);
            outcomes.extend((0..chain.len()).map(|n| linked(n, nth, refusal)));
            return;
        }
        if outcomes.len() > begin {
            return; // Every link is a repeat and has its answer.
        }
        let mark = self.journal.mark();
        self.books.begin();
        let mut failed = None;
        for (n, transfer) in chain.iter().enumerate() {
            if let Err(outcome) = self.effect(at, transfer) {
                failed = Some((n, outcome));
                break;
            }
            self.remember(transfer, Outcome::Created);
        }
        let Some((nth, failure)) = failed else {
            self.books.keep();
            self.fates.clear();
            outcomes.extend(chain.iter().map(|_| Outcome::Created));
            return;
        };
        self.books.take_back();
        self.journal.take_back(mark);
        while let Some((id, fate)) = self.fates.pop() {
            self.ids.update(&id, |seen| seen.fate = fate);
        }
        for (n, transfer) in chain.iter().enumerate() {
            let outcome = linked(n, nth, failure);
            let burnt = |seen: &mut Seen| seen.fate = Fate::Burnt(outcome);
            if self.ids.update(&transfer.id, burnt).is_none() {
                self.remember(transfer, outcome);
            }
            outcomes.push(outcome);
        }
    }

    /// The first link that is refused without looking at the state.
    fn chain_refused_by_itself(&mut self, chain: &[Transfer]) -> Option<(usize, Outcome)> {
        let by_itself = chain
            .iter()
            .enumerate()
            .find_map(|(n, transfer)| Some((n, transfer.refused_by_itself()?)));
        if by_itself.is_some() {
            return by_itself;
        }
        let last = chain.len() - 1;
        if chain[last].linked {
            return Some((last, Outcome::ChainOpen));
        }
        self.scratch.clear();
        self.scratch.extend(chain.iter().map(|transfer| transfer.id));
        self.scratch.sort_unstable();
        let repeated = self.scratch.windows(2).find(|pair| pair[0] == pair[1])?[0];
        let nth = chain.iter().rposition(|transfer| transfer.id == repeated)?;
        Some((nth, Outcome::ChainRepeatsId))
    }

    /// What the ids alone say of a chain: a refusal of one link, or, pushed to `outcomes`, the
    /// answers of a repeat; neither when every link is new.
    fn chain_known(
        &mut self,
        at: LogTime,
        chain: &[Transfer],
        outcomes: &mut Vec<Outcome>,
    ) -> Option<(usize, Outcome)> {
        let mut first_seen = None;
        let begin = outcomes.len();
        for (n, transfer) in chain.iter().enumerate() {
            match self.known(at, transfer) {
                None => {}
                Some(
                    refusal @ (Outcome::IdTooOld
                    | Outcome::IdTooNew
                    | Outcome::ExistsWithDifferent(_)),
                ) => return Some((n, refusal)),
                Some(answer) => {
                    first_seen.get_or_insert(n);
                    outcomes.push(answer);
                }
            }
        }
        let seen = outcomes.len() - begin;
        if seen == chain.len() {
            return None;
        }
        // A chain is one thing: a part of it cannot be a repeat.
        first_seen.map(|n| (n, Outcome::ExistsWithDifferent(Field::Chain)))
    }

    /// What the id alone says: `None` when it is new.
    fn known(&self, at: LogTime, transfer: &Transfer) -> Option<Outcome> {
        match self.ids.look(at, transfer.id) {
            Known::New => None,
            Known::TooOld => Some(Outcome::IdTooOld),
            Known::TooNew => Some(Outcome::IdTooNew),
            Known::Seen(seen) => Some(match (seen.transfer.differs_from(transfer), seen.fate) {
                (Some(field), _) => Outcome::ExistsWithDifferent(field),
                (None, Fate::Burnt(outcome)) => outcome,
                (None, _) => Outcome::Exists,
            }),
        }
    }

    fn remember(&mut self, transfer: &Transfer, outcome: Outcome) {
        let fate = match outcome {
            Outcome::Created => Fate::Applied,
            failure => Fate::Burnt(failure),
        };
        self.ids.insert(transfer.id, Seen { transfer: *transfer, fate });
    }

    fn effect(&mut self, at: LogTime, transfer: &Transfer) -> Result<(), Outcome> {
        let Transfer { id, code, reference, .. } = *transfer;
        let posting = |debit, credit, amount, origin| Posting {
            id,
            at,
            debit,
            credit,
            amount,
            code,
            reference,
            origin,
        };
        match transfer.act {
            Act::Move { debit, credit, amount } => {
                self.books.transfer(&debit, &credit, amount)?;
                self.journal.post(posting(debit, credit, amount, Origin::Move));
            }
            Act::Hold { debit, credit, amount, timeout_ms } => {
                let expires = timeout_ms.map(|ms| at.plus_ms(ms));
                self.books.place(id, Hold { debit, credit, amount, expires, code, reference })?;
            }
            Act::Post { hold, amount } => {
                let (held, posted) =
                    self.books.post(&hold, amount).map_err(|why| self.why(at, &hold, why))?;
                let origin = Origin::Hold { hold, released: held.amount - posted };
                self.journal.post(posting(held.debit, held.credit, posted, origin));
                self.resolve(&hold, Fate::Posted(id));
            }
            Act::Void { hold } => {
                self.books.void(&hold).map_err(|why| self.why(at, &hold, why))?;
                self.resolve(&hold, Fate::Voided(id));
            }
        }
        Ok(())
    }

    /// Why a hold could not be resolved: books know only that it is not live.
    fn why(&self, at: LogTime, hold: &TransferId, outcome: Outcome) -> Outcome {
        if outcome != Outcome::HoldNotFound {
            return outcome;
        }
        let Known::Seen(seen) = self.ids.look(at, *hold) else { return outcome };
        match (seen.transfer.act, seen.fate) {
            (_, Fate::Burnt(_)) => Outcome::HoldNotFound,
            (_, Fate::Posted(_)) => Outcome::AlreadyPosted,
            (_, Fate::Voided(_)) => Outcome::AlreadyVoided,
            (_, Fate::Expired) => Outcome::Expired,
            (Act::Hold { .. }, Fate::Applied) => unreachable!("a live hold is in the books"),
            (_, Fate::Applied) => Outcome::NotAHold,
        }
    }

    fn resolve(&mut self, hold: &TransferId, fate: Fate) {
        let before = self.ids.update(hold, |seen| std::mem::replace(&mut seen.fate, fate));
        self.fates.extend(before.map(|before| (*hold, before)));
    }

    /// The digest of the whole state, kept with each write.
    pub fn digest(&self) -> StateHash {
        let mut sum = self.books.digest();
        sum.add(self.ids.table().digest());
        sum.add(self.head_digest());
        sum
    }

    /// The digest computed anew from every record.
    pub fn recompute_digest(&self) -> StateHash {
        let mut sum = self.books.recompute_digest();
        sum.add(self.ids.table().recompute_digest());
        sum.add(self.head_digest());
        sum
    }

    fn head_digest(&self) -> StateHash {
        head_digest(self.journal.next())
    }

    pub fn freeze(&self) -> FrozenKernel {
        FrozenKernel {
            books: self.books.freeze(),
            seen: self.ids.table().freeze(),
            next: self.journal.next(),
        }
    }

    /// The kernel that [`FrozenKernel::write`] wrote, remembering ids for `window_ms`.
    pub fn read(window_ms: u64, from: &mut dyn Read) -> Result<Self, ReadError> {
        let books = Books::read(from)?;
        let ids = Ids::from_table(Table::read(SEEN, from)?, window_ms);
        let mut next = [0; 8];
        from.read_exact(&mut next)?;
        Ok(Self::from_parts(books, ids, Journal::resume(u64::from_le_bytes(next))))
    }
}

/// A kernel at one moment.
pub struct FrozenKernel {
    books: FrozenBooks,
    seen: FrozenTable<TransferId, Seen>,
    next: u64,
}

impl FrozenKernel {
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        self.books.write(to)?;
        self.seen.write(to)?;
        to.write_all(&self.next.to_le_bytes())
    }

    /// The digest of the frozen kernel, from every record.
    pub fn recompute_digest(&self) -> StateHash {
        let mut sum = self.books.recompute_digest();
        sum.add(self.seen.recompute_digest());
        sum.add(head_digest(self.next));
        sum
    }
}

fn head_digest(next: u64) -> StateHash {
    StateHash::of_record("journal", &(), &next)
}

/// The outcome of link `n` of a chain whose link `nth` failed.
fn linked(n: usize, nth: usize, failure: Outcome) -> Outcome {
    if n == nth { failure } else { Outcome::LinkedFailed }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
