//! Books in the order's own log: what one entry does of an order, and what it leaves to the runner.

use crate::core::effect::{Booking, Effect, Reference, Refusal, RefusalCode, SettleResult, Todo};
use crate::core::near::{Near, NearBooks};
use crate::core::order::{Funds, Order, Provider, Stock};
use crate::core::restored::{Restore, Step};
use crate::core::saga;
use crate::core::status::FulfillmentStatus;

use super::*;

/// Books that write down what they are asked, and refuse what they are told to.
#[derive(Default)]
struct Books {
    asked: Vec<&'static str>,
    refuse: Option<(&'static str, RefusalCode)>,
}

fn name(booking: &Booking) -> &'static str {
    match booking {
        Booking::Stock(call) => call.verb.name(),
        Booking::HoldFunds { .. } => "hold",
        Booking::VoidFunds { .. } => "void",
        Booking::Capture { .. } => "capture",
        Booking::Refund { .. } => "refund",
        Booking::Open(_) => "open",
    }
}

impl NearBooks for Books {
    fn book(&mut self, _: LogTime, _: OrderId, booking: &Booking) -> StepResult {
        let name = name(booking);
        self.asked.push(name);
        match self.refuse {
            Some((what, code)) if what == name => StepResult::Refused(Refusal::new(code, name)),
            _ => StepResult::Done,
        }
    }

    fn has_payment(&self, _: TransferId) -> bool {
        true
    }
}

struct Group {
    state: State,
    books: Books,
    keys: u128,
}

impl Group {
    fn new() -> Self {
        let mut state = State::new(settings());
        state.keeps_books = true;
        state.advance(START);
        Self { state, books: Books::default(), keys: 100 }
    }

    fn apply(&mut self, command: Command) -> Outcome {
        let outcome = self.state.apply_with(START, command, Near::new(&mut self.books));
        holds(&self.state);
        outcome
    }

    fn place(&mut self, contents: Contents) -> OrderId {
        let outcome = self.apply(accept(1, contents));
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
        order_id(1)
    }

    /// What near books were asked since the last time.
    fn asked(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.books.asked)
    }

    fn due(&self) -> Vec<Effect> {
        let order = self.state.orders.get(&order_id(1)).unwrap();
        order.work.iter().map(|work| work.effect).collect()
    }

    fn order(&self) -> &Order {
        self.state.orders.get(&order_id(1)).unwrap()
    }

    fn todo(&self) -> Todo {
        self.state.due(0, 9).remove(0).todo
    }

    /// The runner's answer to the first outstanding step.
    fn told(&mut self, result: StepResult) {
        let no = self.order().work[0].no;
        self.apply(Command::Report(vec![Report { order: order_id(1), no, result }]));
    }

    fn key(&mut self) -> Key {
        self.keys += 1;
        key(self.keys)
    }

    fn cancel(&mut self) {
        let (order, key) = (order_id(1), self.key());
        self.apply(Command::Cancel { order, key, reason: String::new() });
    }

    fn status(&self) -> OrderStatus {
        status(&self.state, order_id(1))
    }

    fn confirmed() -> Self {
        let mut group = Self::new();
        group.place(near());
        group.told(StepResult::Authorized(Reference("ref".into())));
        group.told(captured());
        assert_eq!(group.status(), OrderStatus::Confirmed);
        group.asked();
        group
    }
}

/// All stock in the group of this index.
fn near() -> Contents {
    with_lines(vec![line("A", 2, 300, Some(0)), line("POST", 1, 100, None)])
}

fn captured() -> StepResult {
    let (committed, captured, booked) = (0, true, false);
    StepResult::Settled(SettleResult { committed, captured, booked, refusal: None })
}

#[test]
fn an_order_takes_three_entries_and_its_provider_two_questions() {
    let mut group = Group::new();
    group.place(near());
    assert_eq!(group.asked(), ["reserve", "hold"]);
    assert_eq!(group.due(), [Effect::Authorize]);
    assert_eq!((group.order().version, group.status()), (1, OrderStatus::Pending), "told once");

    group.told(StepResult::Authorized(Reference("ref".into())));
    assert_eq!(group.asked(), ["commit"]);
    let Todo::Settle(left) = group.todo() else { panic!() };
    assert!(left.commits.is_empty() && left.capture.is_some_and(|capture| capture.near));

    group.told(captured());
    assert_eq!(group.asked(), ["capture"]);
    assert_eq!(
        (group.status(), group.order().funds.clone()),
        (OrderStatus::Confirmed, Funds::Captured)
    );
    assert!(group.due().is_empty() && group.order().version == 3);
}

#[test]
fn its_payment_is_known_by_what_the_log_says_of_the_order() {
    let mut group = Group::new();
    let id = group.place(near());
    let payment = |group: &Group| group.order().money.payment.unwrap().timeless();
    assert_eq!(payment(&group), saga::payment_of(id, &near(), None));
    assert_ne!(payment(&group), saga::payment_of(id, &near(), Some(2)));
    let mut group = Group::new();
    group.place(contents());
    assert_eq!(payment(&group), saga::payment_of(id, &contents(), None));
}

#[test]
fn what_is_refused_is_over_in_its_first_entry() {
    let mut group = Group::new();
    group.books.refuse = Some(("reserve", RefusalCode::OutOfStock));
    group.place(near());
    assert_eq!((group.status(), group.order().version), (OrderStatus::Rejected, 1));
    assert_eq!(group.asked(), ["reserve", "hold", "void"]);
    assert!(group.due().is_empty() && group.order().closed());

    let mut group = Group::new();
    group.books.refuse = Some(("hold", RefusalCode::Other));
    group.place(near());
    assert_eq!(group.status(), OrderStatus::Rejected);
    assert_eq!(group.asked(), ["reserve", "hold", "release"]);
    assert!(group.due().is_empty() && group.order().closed());
}

#[test]
fn what_costs_nothing_is_confirmed_in_its_first_entry() {
    let mut group = Group::new();
    group.place(with_lines(vec![line("A", 2, 0, Some(0))]));
    assert_eq!((group.status(), group.order().version), (OrderStatus::Confirmed, 1));
    assert_eq!(group.asked(), ["reserve", "commit"]);
    assert!(group.due().is_empty());
}

#[test]
fn what_lies_in_another_group_is_the_runners() {
    let mut group = Group::new();
    group.place(contents());
    assert_eq!(group.asked(), ["reserve", "hold"]);
    assert_eq!(group.due(), [Effect::Reserve(1)]);
    group.told(StepResult::Done);
    assert_eq!(group.due(), [Effect::Authorize]);
    group.told(StepResult::Authorized(Reference("ref".into())));
    assert_eq!(group.asked(), ["commit"]);
    let Todo::Settle(left) = group.todo() else { panic!() };
    assert_eq!((left.parts.clone(), left.commits.len()), (vec![1], 1));
    assert_eq!(group.order().fulfillment_status(&contents()), FulfillmentStatus::Allocated);
    let (captured, booked) = (true, false);
    let came = SettleResult { committed: 0b10, captured, booked, refusal: None };
    group.told(StepResult::Settled(came));
    assert_eq!(group.asked(), ["capture"]);
    assert_eq!(group.status(), OrderStatus::Confirmed);
    assert!(group.order().parts.iter().all(|part| part.stock == Stock::Committed));
}

#[test]
fn what_was_committed_here_is_taken_back_when_the_other_group_refuses() {
    let mut group = Group::new();
    group.place(contents());
    group.told(StepResult::Done);
    group.told(StepResult::Authorized(Reference("ref".into())));
    group.asked();
    let refusal = Some(Refusal::new(RefusalCode::Expired, ""));
    let (committed, captured, booked) = (0, false, false);
    group.told(StepResult::Settled(SettleResult { committed, captured, booked, refusal }));
    assert_eq!(group.asked(), ["uncommit"]);
    assert_eq!(group.due(), [Effect::Release(1), Effect::CancelPayment]);
    group.told(StepResult::Done);
    group.told(StepResult::Done);
    assert_eq!(group.asked(), ["void"]);
    assert_eq!(group.status(), OrderStatus::Rejected);
    assert!(group.order().closed());
}

#[test]
fn a_commit_that_is_refused_gives_all_back_before_money_moves() {
    let mut group = Group::new();
    group.place(near());
    group.asked();
    group.books.refuse = Some(("commit", RefusalCode::Expired));
    group.told(StepResult::Authorized(Reference("ref".into())));
    assert_eq!(group.asked(), ["commit", "release"]);
    assert_eq!(group.due(), [Effect::CancelPayment]);
    group.told(StepResult::Done);
    assert_eq!(group.asked(), ["void"]);
    assert_eq!((group.status(), group.order().closed()), (OrderStatus::Rejected, true));
}

#[test]
fn a_capture_that_the_books_refuse_parks_the_order() {
    let mut group = Group::new();
    group.place(near());
    group.told(StepResult::Authorized(Reference("ref".into())));
    group.books.refuse = Some(("capture", RefusalCode::Other));
    group.told(captured());
    assert_eq!(group.status(), OrderStatus::Parked);
    assert_eq!(group.order().provider, Provider::Captured);
    // Two looked at it: the same capture under a new id, asked of the provider again.
    group.books.refuse = None;
    group.asked();
    group.apply(Command::Resume { order: order_id(1) });
    assert_eq!(group.due(), [Effect::Settle]);
    group.told(captured());
    assert_eq!(group.asked(), ["capture"]);
    assert_eq!(group.status(), OrderStatus::Confirmed);
}

#[test]
fn what_people_set_going_is_a_version_of_its_own_though_it_is_refused_again() {
    let mut group = Group::confirmed();
    let (order, ship, back) = (order_id(1), group.key(), group.key());
    group.apply(Command::Ship { order, key: ship, lines: vec![], note: Note::default() });
    group.books.refuse = Some(("restock", RefusalCode::Other));
    group.apply(Command::Return { order, key: back, lines: vec![(0, 1)], note: Note::default() });
    assert_eq!((group.status(), group.due()), (OrderStatus::Parked, vec![Effect::Refund(0)]));
    let (version, id) = (group.order().version, group.order().returns[0].id);
    group.asked();
    group.apply(Command::Resume { order });
    assert!(group.asked().is_empty() && group.order().returns[0].id != id);
    assert_eq!((group.status(), group.order().version), (OrderStatus::Completed, version + 1));
}

#[test]
fn a_capture_that_nobody_books_is_told() {
    let mut group = Group::new();
    group.place(near());
    group.told(StepResult::Authorized(Reference("ref".into())));
    let no = group.order().work[0].no;
    let report = Command::Report(vec![Report { order: order_id(1), no, result: captured() }]);
    group.state.apply(START, report);
    assert_eq!(group.status(), OrderStatus::Parked);
}

#[test]
fn a_cancel_goes_back_as_far_as_the_order_came() {
    let mut group = Group::new();
    group.place(near());
    group.asked();
    group.cancel();
    assert_eq!(group.asked(), ["release"]);
    // The charge may be on its way: only its key ends it.
    group.told(StepResult::Authorized(Reference("ref".into())));
    assert_eq!(group.due(), [Effect::CancelPayment]);
    group.told(StepResult::Done);
    assert_eq!(group.asked(), ["void"]);
    assert_eq!((group.status(), group.order().closed()), (OrderStatus::Cancelled, true));

    let mut group = Group::new();
    group.place(near());
    group.told(StepResult::Authorized(Reference("ref".into())));
    group.asked();
    // The last leg is one intent: how far it came is not known yet.
    group.cancel();
    assert_eq!((group.asked(), group.due()), (vec![], vec![Effect::Settle]));
    group.told(captured());
    assert_eq!(group.asked(), ["capture", "uncommit"]);
    assert_eq!(group.due(), [Effect::Refund(0)]);
    group.told(StepResult::Done);
    assert_eq!(group.asked(), ["refund"]);
    assert_eq!((group.status(), group.order().closed()), (OrderStatus::Cancelled, true));
}

#[test]
fn goods_move_in_the_entry_that_says_so_and_a_refund_is_booked_when_it_is_paid() {
    let mut group = Group::confirmed();
    let (order, ship, back) = (order_id(1), group.key(), group.key());
    group.apply(Command::Ship { order, key: ship, lines: vec![], note: Note::default() });
    assert_eq!((group.asked(), group.status()), (vec!["ship"], OrderStatus::Completed));
    group.apply(Command::Return { order, key: back, lines: vec![(0, 1)], note: Note::default() });
    assert_eq!((group.asked(), group.due()), (vec!["restock"], vec![Effect::Refund(0)]));
    let Todo::Refund(refund) = group.todo() else { panic!() };
    assert!(refund.near);
    group.told(StepResult::Done);
    assert_eq!((group.asked(), group.order().money.refunded_minor), (vec!["refund"], 300));

    let again = group.key();
    group.apply(Command::Return { order, key: again, lines: vec![(0, 1)], note: Note::default() });
    group.books.refuse = Some(("refund", RefusalCode::Other));
    group.told(StepResult::Done);
    assert_eq!(group.status(), OrderStatus::Parked, "paid, and the books say otherwise");
    assert_eq!(group.order().money.refunded_minor, 600);
}

#[test]
fn what_time_alone_decides_is_the_runners() {
    let mut group = Group::new();
    group.place(near());
    group.asked();
    let due = group.state.next_due().unwrap();
    group.state.advance(due);
    assert_eq!((group.asked(), group.due()), (vec![], vec![Effect::Authorize, Effect::Extend(0)]));
    // Nor does a later entry do what an earlier one left.
    group.cancel();
    assert!(!group.asked().contains(&"extend"));
}

#[test]
fn steps_that_may_not_begin_are_left() {
    let mut group = Group::new();
    group.place(near());
    group.asked();
    let begin = Restore {
        backup: "b-1".into(),
        epoch: 2,
        cut_ms: 4_000_000,
        restored_ms: 5_000_000,
        skew_ms: 10_000,
        cancel_strays: false,
    };
    group.apply(Command::Restore(Step::Begin(Box::new(begin))));
    group.told(StepResult::Authorized(Reference("ref".into())));
    assert_eq!((group.asked(), group.due()), (vec![], vec![Effect::Settle]));
    let Todo::Settle(left) = group.todo() else { panic!() };
    assert_eq!(left.commits.len(), 1, "by its lane, once it may");
}

#[test]
fn the_same_answer_twice_is_booked_once() {
    let mut group = Group::new();
    group.place(near());
    group.told(StepResult::Authorized(Reference("ref".into())));
    let no = group.order().work[0].no;
    group.told(captured());
    let late = Report { order: order_id(1), no, result: captured() };
    group.asked();
    group.apply(Command::Report(vec![late]));
    assert!(group.asked().is_empty());
}
