//! What is over leaves, and comes back when somebody asks for it.

mod archive;
mod back;
mod twin;

use hansa_consensus::{Machine, Records};

use self::archive::Archive;
pub use self::twin::Twin;
use self::twin::spend;
use super::*;
use crate::core::effect::{Reference, Refusal, RefusalCode, SettleResult};
use crate::core::repair::{Action, Answer, Begin, End, PlanId, RepairStep};
use crate::core::restored::{Restore, Step as RestoreStep};
use crate::core::shelf::INDEX;
use crate::core::takeover;
use crate::machine::OrdersMachine;

const AFTER: u64 = 60_000;

struct Group {
    machine: OrdersMachine,
    archive: Archive,
}

impl Group {
    fn new() -> Self {
        let mut settings = settings();
        settings.evict_after_ms = AFTER;
        let mut group = Self { machine: OrdersMachine::new(settings), archive: Archive::default() };
        group.advance(START);
        group
    }

    fn state(&self) -> &State {
        &self.machine.state
    }

    fn advance(&mut self, at: LogTime) {
        let mut out = Records::new();
        self.machine.advance(at, &mut out);
        self.archive.take(out);
        holds(self.state());
    }

    fn apply(&mut self, at: LogTime, command: &Command) -> Outcome {
        let mut out = Records::new();
        let outcome = self.machine.apply(at, &command.encode(), &mut out);
        self.archive.take(out);
        holds(self.state());
        outcome
    }

    /// Every step goes well, but those that this says something else of.
    fn run(&mut self, at: LogTime, but: impl Fn(&Todo) -> Option<StepResult>) {
        for _ in 0..100 {
            let Some(call) = self.state().due(0, 1).pop() else { return };
            let result = but(&call.todo).unwrap_or_else(|| well(&call.todo));
            let report = Report { order: call.order, no: call.no, result };
            self.apply(at, &Command::Report(vec![report]));
        }
    }

    fn place(&mut self, n: u64, contents: Contents) {
        let placed = self.apply(START, &accept(n, contents));
        assert!(matches!(placed, Outcome::Done(_)), "{placed:?}");
    }

    /// Order `n`, shipped.
    fn complete(&mut self, n: u64) {
        self.place(n, contents());
        self.run(START, |_| None);
        assert!(matches!(self.apply(START, &ship(n)), Outcome::Done(_)));
        self.run(START, |_| None);
        assert_eq!(status(self.state(), order_id(n)), OrderStatus::Completed);
    }

    /// Orders without goods or price, over at once.
    fn cards(&mut self, numbers: std::ops::RangeInclusive<u64>) {
        for n in numbers {
            self.place(n, with_lines(vec![line("CARD", 1, 0, None)]));
            self.run(START, |_| None);
        }
    }

    fn is_here(&self, n: u64) -> bool {
        self.state().orders.contains(&order_id(n))
    }

    /// Whether order `n` leaves at its time, and not before.
    fn leaves(&mut self, n: u64) -> bool {
        let since = self.state().orders.get(&order_id(n)).unwrap().updated;
        let seq = self.state().meta.seq;
        self.advance(since.plus_ms(AFTER - 1));
        assert!(self.is_here(n), "too early");
        self.advance(since.plus_ms(AFTER));
        assert_eq!(self.state().meta.seq, seq, "nobody is told");
        !self.is_here(n)
    }
}

fn well(todo: &Todo) -> StepResult {
    match todo {
        Todo::Authorize { .. } => StepResult::Authorized(Reference("ref".into())),
        Todo::Lookup => StepResult::NotFound,
        Todo::Settle(settle) => StepResult::Settled(SettleResult {
            committed: settle.parts.iter().fold(0, |all, part| all | 1 << part),
            captured: settle.capture.is_some(),
            booked: settle.capture.is_some(),
            refusal: None,
        }),
        Todo::Book(_) | Todo::CancelPayment { .. } | Todo::Refund(_) => StepResult::Done,
    }
}

fn ship(n: u64) -> Command {
    let (lines, note) = (Vec::new(), Note::default());
    Command::Ship { order: order_id(n), key: key(500 + u128::from(n)), lines, note }
}

fn cancel(n: u64) -> Command {
    let (order, key) = (order_id(n), key(600 + u128::from(n)));
    Command::Cancel { order, key, reason: String::new() }
}

fn no(code: RefusalCode) -> StepResult {
    StepResult::Refused(Refusal::new(code, ""))
}

#[test]
fn what_is_shipped_leaves() {
    let mut group = Group::new();
    group.complete(1);
    let next = group.state().next_due().unwrap();
    let since = group.state().orders.get(&order_id(1)).unwrap().updated;
    assert_eq!(next.ms(), (since.ms() + AFTER).next_multiple_of(10_000));
    let order = group.state().orders.get(&order_id(1)).unwrap().clone();
    let sold = group.state().shelf.sold.len();
    assert!(group.leaves(1));
    assert_eq!(group.archive.shelved(order_id(1)).unwrap().order, order);
    let state = group.state();
    assert_eq!((state.orders.len(), state.contents.len(), state.next_due()), (0, 0, None));
    assert_eq!((sold, state.shelf.sold.len()), (0, 2), "of A and of B");
    let sold = state.shelf.sold.get(&"A".parse().unwrap()).unwrap();
    assert_eq!((sold.shipped, sold.returned, sold.elsewhere), (2, 0, 0));
    let paid = state.shelf.paid.get(&(0, "GBP".parse().unwrap())).unwrap();
    assert_eq!((paid.captured, paid.refunded), (900, 0));
}

#[test]
fn what_was_never_sold_leaves() {
    let mut group = Group::new();
    group.place(1, contents());
    group.run(START, |todo| stock(todo).then(|| no(RefusalCode::OutOfStock)));
    assert_eq!(status(group.state(), order_id(1)), OrderStatus::Rejected);
    group.place(2, contents());
    group.apply(START, &cancel(2));
    group.run(START, |_| None);
    assert_eq!(status(group.state(), order_id(2)), OrderStatus::Cancelled);
    group.cards(3..=3);
    assert_eq!(status(group.state(), order_id(3)), OrderStatus::Confirmed);
    assert!((1..=3).all(|n| group.is_here(n)));
    assert!(group.leaves(1) && !group.is_here(2) && !group.is_here(3));
}

#[test]
fn what_is_not_over_stays() {
    let mut group = Group::new();
    group.place(1, contents());
    group.run(START, |_| None);
    assert_eq!(status(group.state(), order_id(1)), OrderStatus::Confirmed, "not shipped");
    // A step back was refused for good: it is parked.
    group.place(2, contents());
    let first = group.state().due(0, 9).into_iter().filter(|call| stock(&call.todo));
    let reports =
        first.map(|Call { order, no, .. }| Report { order, no, result: StepResult::Done });
    let reports = Command::Report(reports.collect());
    group.apply(START, &reports);
    group.apply(START, &cancel(2));
    group.run(START, |todo| match todo {
        Todo::Book(Booking::Stock(_)) => Some(no(RefusalCode::Other)),
        _ => None,
    });
    assert_eq!(status(group.state(), order_id(2)), OrderStatus::Parked);
    // Whoever answered so may hold something.
    group.place(3, contents());
    group.run(START, |todo| stock(todo).then(|| no(RefusalCode::Other)));
    assert_eq!(status(group.state(), order_id(3)), OrderStatus::Rejected);
    assert!((1..=3).all(|n| !group.leaves(n)));
    assert!(!group.state().may_have_left(order_id(4)));
}

/// The provider may have charged: until that is known nothing is over.
#[test]
fn a_charge_in_doubt_is_waited_for() {
    let mut group = Group::new();
    group.place(1, contents());
    for _ in 0..9 {
        let calls = group.state().due(0, 9);
        let asks = |call: &Call| matches!(call.todo, Todo::Authorize { .. });
        let Some(call) = calls.into_iter().find(|call| !asks(call)) else {
            break;
        };
        let report = Report { order: call.order, no: call.no, result: well(&call.todo) };
        group.apply(START, &Command::Report(vec![report]));
    }
    let no = group.state().due(0, 1)[0].no;
    let doubt = Report { order: order_id(1), no, result: StepResult::InDoubt };
    group.apply(START, &Command::Report(vec![doubt]));
    group.apply(START, &cancel(1));
    group.run(START, |todo| {
        matches!(todo, Todo::CancelPayment { .. }).then_some(StepResult::NotFound)
    });
    assert_eq!(status(group.state(), order_id(1)), OrderStatus::Cancelled);
    let settles = START.plus_ms(settings().settle_ms);
    group.advance(settles.plus_ms(AFTER));
    assert!(group.is_here(1), "it is asked for still");
    group.run(settles.plus_ms(AFTER), |_| None);
    group.advance(settles.plus_ms(2 * AFTER));
    assert!(!group.is_here(1));
}

#[test]
fn one_entry_lets_no_more_leave_than_it_has_time_for() {
    let mut group = Group::new();
    group.cards(1..=300);
    let due = START.plus_ms(AFTER);
    group.advance(due);
    assert_eq!((group.state().orders.len(), group.archive.sent.get(&INDEX)), (44, Some(&1)));
    assert!(!group.is_here(256) && group.is_here(257), "the oldest first");
    assert!(group.state().next_due().unwrap() <= due, "the others at once");
    group.advance(due);
    assert_eq!((group.state().orders.len(), group.state().next_due()), (0, None));
    assert_eq!(group.state().shelf.records.len(), 300);
}

#[test]
fn what_another_region_owns_stays() {
    let mut group = Group::new();
    group.complete(1);
    let (birth, owner) = (1.try_into().unwrap(), 2.try_into().unwrap());
    let (loss, handed) = (None, false);
    let elsewhere = takeover::Step::Elsewhere { birth, owner, epoch: 2, loss, handed };
    assert_eq!(group.apply(START, &Command::Takeover(elsewhere)), Outcome::Noted);
    assert_eq!(group.state().next_due(), None);
    assert!(!group.leaves(1));
}

#[test]
fn what_people_are_at_work_on_stays() {
    let mut group = Group::new();
    group.complete(1);
    let plan = PlanId([7; 32]);
    let (by, reason) = ("one".to_owned(), "a test".to_owned());
    let hash = group.state().hash_of(order_id(1)).map(|hash| hash.0);
    let action = Action::ReleaseStock { group: 0, hold: no_id(), committed: false };
    let (rests_on, looked) = (Some((order_id(1), hash)), false);
    let (entry, why) = ((plan, 1), "a test".to_owned());
    for step in [
        RepairStep::Propose { plan, by: by.clone(), reason, entries: 1 },
        RepairStep::Approve { plan, by: "two".into(), ticket: "T".into() },
        RepairStep::Begin(Box::new(Begin { entry, by, why, rests_on, looked, action })),
    ] {
        match group.apply(START, &Command::Repair(step)) {
            Outcome::Repair(answer) => assert!(!matches!(*answer, Answer::Refused(_))),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(group.state().next_due(), None);
    assert!(!group.leaves(1));
    let ended = RepairStep::Ended { entry, end: End::Done };
    group.apply(START, &Command::Repair(ended));
    assert!(group.leaves(1));
}

#[test]
fn nothing_leaves_while_a_restore_is_settled() {
    let mut group = Group::new();
    group.complete(1);
    let apply = |group: &mut Group, step| group.apply(START, &Command::Restore(step));
    let restore = Restore {
        backup: "b".into(),
        epoch: 2,
        cut_ms: START.ms(),
        restored_ms: START.ms(),
        skew_ms: 0,
        cancel_strays: true,
    };
    assert_eq!(apply(&mut group, RestoreStep::Begin(Box::new(restore))), Outcome::Noted);
    assert!(!group.leaves(1));
    let listed = RestoreStep::Listed { found: Vec::new(), last: true, looked: Vec::new() };
    assert_eq!(apply(&mut group, listed), Outcome::Noted);
    assert_eq!(apply(&mut group, RestoreStep::End), Outcome::Noted);
    assert!(group.leaves(1));
}

#[test]
fn without_a_time_nothing_ever_leaves() {
    let mut group = Group::new();
    group.machine = OrdersMachine::new(settings());
    group.advance(START);
    group.complete(1);
    assert_eq!(group.state().next_due(), None);
    assert!(!group.leaves(1));
    let begun = OrdersMachine::begin(&group.machine.beginning().unwrap()).unwrap();
    assert_eq!(begun.state.meta.settings, settings());
}
