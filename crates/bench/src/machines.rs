//! What the groups of `raft` and `transfers` replicate.

use std::io;

use hansa_consensus::{Frozen, Machine, Records, ThawError};
use hansa_ledger::core::kernel::{
    AccountSpec, Act, Code, FrozenKernel, Kernel, Limit, Outcome, Reference, Transfer, Unit,
};
use hansa_ledger::machine::POSTINGS;
use hansa_types::hash::StateHash;
use hansa_types::id::{AccountId, TransferId};
use hansa_types::time::LogTime;

use crate::dice::draw;

/// Commands that change nothing.
pub struct Nothing;

impl Machine for Nothing {
    type Outcome = u64;
    type Frozen = Self;

    fn advance(&mut self, _at: LogTime, _out: &mut Records) {}

    fn apply(&mut self, _at: LogTime, _command: &[u8], _out: &mut Records) -> u64 {
        1
    }

    fn next_due(&self) -> Option<LogTime> {
        None
    }

    fn freeze(&self) -> Self {
        Self
    }

    fn thaw(_from: &mut dyn io::Read) -> Result<Self, ThawError> {
        Ok(Self)
    }

    fn digest(&self) -> StateHash {
        StateHash::default()
    }

    fn digest_full(&self) -> StateHash {
        StateHash::default()
    }
}

impl Frozen for Nothing {
    fn write(&self, _to: &mut dyn io::Write) -> io::Result<()> {
        Ok(())
    }

    fn digest_full(&self) -> StateHash {
        StateHash::default()
    }
}

/// As many as TigerBeetle's own benchmark has.
pub const ACCOUNTS: u64 = 10_000;
/// How long ids are remembered here: long enough for any retry of a run, short enough for memory.
const WINDOW_MS: u64 = 5_000;

/// The ledger's kernel by itself: a command is a batch of transfers in postcard, back to back.
pub struct Books {
    kernel: Kernel,
    batch: Vec<Transfer>,
    outcomes: Vec<Outcome>,
}

impl Books {
    pub fn open() -> Self {
        let mut kernel = Kernel::new(WINDOW_MS);
        let spec = AccountSpec { unit: Unit(1), code: Code(1), limit: Limit::None };
        (0..ACCOUNTS).for_each(|number| kernel.books_mut().open(account(number), spec));
        Self::of(kernel)
    }

    fn of(kernel: Kernel) -> Self {
        Self { kernel, batch: Vec::new(), outcomes: Vec::new() }
    }
}

impl Machine for Books {
    /// How many transfers were made.
    type Outcome = u64;
    type Frozen = FrozenBooks;

    fn advance(&mut self, at: LogTime, _out: &mut Records) {
        self.kernel.advance(at);
    }

    fn apply(&mut self, at: LogTime, command: &[u8], out: &mut Records) -> u64 {
        self.batch.clear();
        self.outcomes.clear();
        let mut rest = command;
        while let Ok((transfer, after)) = postcard::take_from_bytes(rest) {
            self.batch.push(transfer);
            rest = after;
        }
        self.kernel.apply(at, &self.batch, &mut self.outcomes);
        self.kernel.journal_mut().seal(|first, postings| {
            // Plain values always encode.
            let value = postcard::to_allocvec(postings).unwrap_or_default();
            out.archive(POSTINGS, &first.to_be_bytes(), value);
        });
        self.outcomes.iter().filter(|outcome| **outcome == Outcome::Created).count() as u64
    }

    fn next_due(&self) -> Option<LogTime> {
        self.kernel.next_due()
    }

    fn freeze(&self) -> FrozenBooks {
        FrozenBooks(self.kernel.freeze())
    }

    fn thaw(from: &mut dyn io::Read) -> Result<Self, ThawError> {
        let read = Kernel::read(WINDOW_MS, from).map(Self::of);
        read.map_err(|error| ThawError::Damaged(error.to_string()))
    }

    fn digest(&self) -> StateHash {
        self.kernel.digest()
    }

    fn digest_full(&self) -> StateHash {
        self.kernel.recompute_digest()
    }
}

/// The books at one moment.
pub struct FrozenBooks(FrozenKernel);

impl Frozen for FrozenBooks {
    fn write(&self, to: &mut dyn io::Write) -> io::Result<()> {
        self.0.write(to)
    }

    fn digest_full(&self) -> StateHash {
        self.0.recompute_digest()
    }
}

fn account(number: u64) -> AccountId {
    AccountId::from_bytes(u128::from(number + 1).to_be_bytes())
}

/// An id minted now, by a number that comes once.
pub fn transfer_id(at: LogTime, seed: u64, number: u64) -> TransferId {
    let id = u128::from(at.ms()) << 80 | u128::from(draw(seed, number));
    TransferId::from_bytes(id.to_be_bytes())
}

/// A batch of moves between accounts drawn uniformly, as a command.
pub fn moves(at: LogTime, seed: u64, first: u64, count: u64) -> Vec<u8> {
    let mut command = Vec::with_capacity(count as usize * 72);
    for number in first..first + count {
        let drawn = draw(!seed, number);
        let (debit, credit) = (drawn % ACCOUNTS, (drawn >> 32) % ACCOUNTS);
        let credit = if credit == debit { (credit + 1) % ACCOUNTS } else { credit };
        let (debit, credit) = (account(debit), account(credit));
        let transfer = Transfer {
            id: transfer_id(at, seed, number),
            act: Act::Move { debit, credit, amount: 1 },
            code: Code(1),
            reference: Reference(u128::from(number)),
            linked: false,
        };
        // Plain values always encode.
        command = postcard::to_extend(&transfer, command).unwrap_or_default();
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: LogTime = LogTime(1_700_000_000_000);

    #[test]
    fn every_transfer_of_a_batch_is_made_once() {
        let (mut books, mut out) = (Books::open(), Records::new());
        let command = moves(NOW, 1, 0, 100);
        books.advance(NOW, &mut out);
        assert_eq!(books.apply(NOW, &command, &mut out), 100);
        assert_eq!(books.apply(NOW, &command, &mut out), 0, "the ids are known");
        assert_eq!(books.apply(NOW, &moves(NOW, 1, 100, 1), &mut out), 1);
        assert_eq!(books.digest(), books.digest_full());
    }

    #[test]
    fn books_read_back_as_they_were_written() {
        let (mut books, mut out) = (Books::open(), Records::new());
        books.apply(NOW, &moves(NOW, 1, 0, 10), &mut out);
        let mut bytes = Vec::new();
        books.freeze().write(&mut bytes).unwrap();
        let thawed = Books::thaw(&mut bytes.as_slice()).unwrap();
        assert_eq!(thawed.digest_full(), books.digest());
    }
}
