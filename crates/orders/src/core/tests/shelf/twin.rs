//! The same group beside another, of which orders leave: whatever happens, callers hear the same.

use hansa_consensus::{Frozen, Machine, Records, inspect};
use hansa_pages::shelf::{Proof, Was};
use hansa_types::hash::StateHash;
use hansa_types::time::LogTime;

use super::archive::{Archive, recall};
use crate::core::command::{Command, Outcome, Refused};
use crate::core::near::{Near, NearBooks};
use crate::core::settings::Settings;
use crate::core::shelf::{INDEX, ORDERS, SPENT};
use crate::core::state::State;
use crate::core::subjects::SubjectRow;
use crate::core::tests::{START, holds, settings};
use crate::machine::OrdersMachine;

pub struct Twin {
    machine: OrdersMachine,
    /// A replica that never falls.
    other: Option<OrdersMachine>,
    pub archive: Archive,
    pub recalled: usize,
}

impl Twin {
    /// `before`: records that left before the story began.
    pub fn new(evict_after_ms: u64, near: bool, before: u64) -> Self {
        let replica = || {
            let mut machine = OrdersMachine::new(Settings { evict_after_ms, ..settings() });
            machine.state.keeps_books = near;
            (0..before).for_each(|n| spend(&mut machine.state, n));
            machine
        };
        // Books are one world's.
        let other = (!near).then(replica);
        Self { machine: replica(), other, archive: Archive::default(), recalled: 0 }
    }

    pub fn state(&self) -> &State {
        &self.machine.state
    }

    pub fn advance(&mut self, at: LogTime) {
        let mut out = Records::new();
        self.machine.advance(at, &mut out);
        if let Some(other) = &mut self.other {
            let mut same = Records::new();
            other.advance(at, &mut same);
            assert!(out.iter().eq(same.iter()));
        }
        self.archive.take(out);
    }

    /// What came of a command, as a caller hears of it: the shell looks for what left.
    pub fn apply(
        &mut self,
        at: LogTime,
        command: &Command,
        mut books: Option<&mut dyn NearBooks>,
    ) -> Outcome {
        self.advance(at);
        let outcome = self.once(at, command, &mut books);
        if !away(command, &outcome) {
            return outcome;
        }
        let id = about(command);
        let Some(recalled) = self.archive.recalled(self.state(), id) else {
            return Outcome::Refused(Refused::OrderNotFound);
        };
        assert_eq!(self.once(at, &recall(recalled), &mut books), Outcome::Noted);
        self.recalled += 1;
        self.once(at, command, &mut books)
    }

    fn once(
        &mut self,
        at: LogTime,
        command: &Command,
        books: &mut Option<&mut dyn NearBooks>,
    ) -> Outcome {
        let near = match books {
            Some(books) => Near::new(&mut **books),
            None => Near::none(),
        };
        let mut out = Records::new();
        let outcome = self.machine.apply_with(at, &command.encode(), near, &mut out);
        if let Some(other) = &mut self.other {
            let mut same = Records::new();
            assert_eq!(other.apply(at, &command.encode(), &mut same), outcome);
            assert!(out.iter().eq(same.iter()) && other.digest() == self.machine.digest());
        }
        self.archive.take(out);
        outcome
    }

    /// A checkpoint, and a start from it.
    pub fn fall(&mut self) {
        let (mut bytes, near) = (Vec::new(), self.state().keeps_books);
        self.machine.freeze().write(&mut bytes).unwrap();
        let digest = self.machine.digest();
        self.machine = inspect::machine(&mut &bytes[..]).unwrap();
        self.machine.state.keeps_books = near;
        assert_eq!(self.machine.digest(), digest);
    }

    /// Nothing that a caller could see differs, and nothing that is to be decided.
    pub fn agrees(&self, all: &State) {
        let state = self.state();
        holds(state);
        assert_eq!((state.meta.seq, state.meta.next_work), (all.meta.seq, all.meta.next_work));
        assert_eq!(state.due(0, 1_000), all.due(0, 1_000));
        let (mut orders, mut contents) = (state.orders.digest(), state.contents.digest());
        let mut left = 0;
        for (id, _) in all.orders.iter().filter(|(id, _)| !state.orders.contains(id)) {
            let shelved = self.archive.shelved(*id).unwrap();
            let recalled = self.archive.recalled(state, *id).unwrap();
            let (key, note) = (u128::from(*id), shelved.order.last_seq);
            let record = &recalled.record;
            assert!(state.shelf.records.vouches(key, note, record, &recalled.proof), "{id}");
            orders.add(StateHash::of_record("orders", id, &shelved.order));
            contents.add(StateHash::of_record("contents", id, &shelved.contents));
            left += 1;
        }
        assert_eq!((orders, contents), (all.orders.digest(), all.contents.digest()));
        assert_eq!(left, all.orders.len() - state.orders.len());
        let mut counted = 0;
        assert_eq!(state.subjects.table.len(), all.subjects.table.len());
        for (id, row) in state.subjects.table.iter() {
            counted += row.left.iter().map(|left| left.orders as usize).sum::<usize>();
            let row = SubjectRow { left: Vec::new(), ..row.clone() };
            assert_eq!(Some(&row), all.subjects.table.get(id));
        }
        assert_eq!(counted, left);
        assert_eq!(state.moves.digest(), all.moves.digest());
        assert_eq!(state.owed.digest(), all.owed.digest());
    }

    /// How many orders left, chunks closed, and orders came back from a closed one.
    pub fn sent(&self) -> [usize; 3] {
        [ORDERS, INDEX, SPENT].map(|table| self.archive.sent.get(&table).copied().unwrap_or(0))
    }
}

/// A number is given, and spent.
pub fn spend(state: &mut State, key: u64) {
    let (records, record) = (&mut state.shelf.records, b"another");
    let proof = Proof::open(records.next());
    let closed = records.put(START, key.into(), 0, record);
    if closed.is_none() {
        assert_eq!(records.take(key.into(), 0, record, &proof), Ok(Was::Open));
    }
}

fn away(command: &Command, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Refused(Refused::Shelved) => true,
        // Its id is older than what left: the shell would have drawn a newer one.
        Outcome::Refused(Refused::OrderIdTaken) => panic!("{command:?}"),
        _ => false,
    }
}

fn about(command: &Command) -> hansa_types::id::OrderId {
    match command {
        Command::Cancel { order, .. }
        | Command::Ship { order, .. }
        | Command::Return { order, .. }
        | Command::Refund { order, .. }
        | Command::Resume { order } => *order,
        other => panic!("{other:?}"),
    }
}
