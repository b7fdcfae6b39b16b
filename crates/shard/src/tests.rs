//! The machine beside those that it is made of.

mod agrees;
mod births;
mod carried;
mod group;
mod left;
mod shelved;
mod story;
mod two_ways;

use bytes::Bytes;
use hansa_consensus::{Frozen as _, Holds, Machine, Record, Records, ThawError, inspect};
use hansa_ledger::core::inventory::Inventory;
use hansa_ledger::core::outcome::OutcomeCode;
use hansa_ledger::core::payments::Payments;
use hansa_orders::core::command::Outcome as OrdersOutcome;
use hansa_orders::machine::OrdersMachine;
use hansa_types::hash::StateHash;
use hansa_types::time::LogTime;

use self::story::{Story, money_rules, rules, stock_rules};
use crate::machine::{MONEY, Outcome, STOCK, Shard, whole};

const STEPS: usize = 300;

fn joint() -> Shard {
    Shard::new(rules(), Some((stock_rules(), money_rules())))
}

fn written<M: Machine>(machine: &M) -> Vec<u8> {
    let mut state = Vec::new();
    machine.freeze().write(&mut state).unwrap();
    state
}

fn orders_of(shard: &Shard) -> &OrdersMachine {
    shard.part().unwrap()
}

fn tagged(tag: u8, command: &[u8]) -> Vec<u8> {
    [&[tag], command].concat()
}

#[test]
fn without_books_it_is_the_order_machine_to_the_byte() {
    let (mut alone, mut shard) = (OrdersMachine::new(rules()), Shard::new(rules(), None));
    assert_eq!(shard.beginning(), alone.beginning());
    assert_eq!(Shard::VERSIONS, OrdersMachine::VERSIONS);
    let mut story = Story::new(1);
    for step in 0..STEPS {
        let at = story.pass();
        let command = story.orders(&alone);
        let (mut one, mut other) = (Records::new(), Records::new());
        alone.advance(at, &mut one);
        shard.advance(at, &mut other);
        let (outcome, same) =
            (alone.apply(at, &command, &mut one), shard.apply(at, &command, &mut other));
        assert!(matches!(same, Outcome::Orders(same) if same == outcome), "step {step}");
        assert_eq!(Shard::lasting(&command), OrdersMachine::lasting(&command));
        assert!(one.iter().eq(other.iter()) && shard.next_due() == alone.next_due());
        assert_eq!((shard.digest(), shard.digest_full()), (alone.digest(), alone.digest_full()));
        if step % 20 == 0 {
            let state = written(&shard);
            assert_eq!(state, written(&alone));
            assert_eq!(shard.freeze().digest_full(), alone.digest());
            shard = inspect::machine(&mut &state[..]).unwrap();
        }
    }
    assert!(alone.state.orders.len() > 20, "a story of some orders");
    assert!(!shard.keeps_books() && Holds::<Inventory>::part(&shard).is_none());
}

/// The three machines that a shard is made of, each with a log of its own.
struct Apart {
    orders: OrdersMachine,
    stock: Inventory,
    money: Payments,
}

impl Apart {
    fn new() -> Self {
        let (stock, money) = (Inventory::new(stock_rules()), Payments::new(money_rules()));
        Self { orders: OrdersMachine::new(rules()), stock, money }
    }

    fn advance(&mut self, at: LogTime) {
        let mut none = Records::new();
        Machine::advance(&mut self.stock, at, &mut none);
        Machine::advance(&mut self.money, at, &mut none);
        self.orders.advance(at, &mut none);
        assert!(none.is_empty(), "time alone archives nothing");
    }

    fn agree(&self, shard: &Shard) {
        let stock: &Inventory = shard.part().unwrap();
        let money: &Payments = shard.part().unwrap();
        assert_eq!(Machine::digest(stock), Machine::digest(&self.stock));
        assert_eq!(Machine::digest(money), Machine::digest(&self.money));
        assert_eq!(orders_of(shard).digest(), self.orders.digest());
        assert_eq!(
            (shard.digest(), shard.freeze().digest_full()),
            (shard.digest_full(), shard.digest())
        );
        let due = [Machine::next_due(&self.stock), Machine::next_due(&self.money)];
        let due = due.into_iter().chain([self.orders.next_due()]).flatten().min();
        assert_eq!(shard.next_due(), due);
    }
}

/// The records as a part of a whole emits them.
fn raised(tables: u8, mut records: Records) -> Vec<Record> {
    let records = records.take().into_iter();
    records.map(|record| Record { table: record.table + tables, ..record }).collect()
}

fn books(outcome: Outcome) -> hansa_ledger::machine::Outcomes {
    match outcome {
        Outcome::Stock(outcomes) | Outcome::Money(outcomes) => outcomes,
        Outcome::Orders(outcome) => panic!("of the orders: {outcome:?}"),
    }
}

#[test]
fn with_books_each_part_does_what_it_does_alone() {
    for seed in 1..=8 {
        let (mut apart, mut shard, mut story) = (Apart::new(), joint(), Story::new(seed));
        let mut kept = [0; 3];
        for step in 0..STEPS {
            let at = story.pass();
            apart.advance(at);
            shard.advance(at, &mut Records::new());
            for _ in 0..=story.draw(4) {
                let (mut whole, mut alone) = (Records::new(), Records::new());
                let part = story.draw(3) as usize;
                let tables = match part {
                    0 => {
                        let command = story.orders(&apart.orders);
                        let outcome = shard.apply(at, &command, &mut whole);
                        let same = apart.orders.apply(at, &command, &mut alone);
                        assert!(matches!(outcome, Outcome::Orders(of) if of == same));
                        0
                    }
                    1 => {
                        let command = story.stock();
                        let outcome = shard.apply(at, &tagged(STOCK, &command), &mut whole);
                        let same = Machine::apply(&mut apart.stock, at, &command, &mut alone);
                        assert_eq!(books(outcome), same);
                        <Shard as Holds<Inventory>>::TABLES
                    }
                    _ => {
                        let command = story.money();
                        let outcome = shard.apply(at, &tagged(MONEY, &command), &mut whole);
                        let same = Machine::apply(&mut apart.money, at, &command, &mut alone);
                        assert_eq!(books(outcome), same);
                        <Shard as Holds<Payments>>::TABLES
                    }
                };
                kept[part] += whole.len();
                assert_eq!(whole.take(), raised(tables, alone), "seed {seed}, step {step}");
            }
            apart.agree(&shard);
            if step % 50 == 0 {
                shard = inspect::machine(&mut &written(&shard)[..]).unwrap();
                apart.agree(&shard);
            }
        }
        assert!(kept[0] == 0 && kept[1] > 20 && kept[2] > 20, "seed {seed}: {kept:?} records");
    }
}

#[test]
fn the_books_commands_last_whole_and_the_orders_as_ever() {
    let mut story = Story::new(1);
    for _ in 0..50 {
        assert_eq!(Shard::lasting(&tagged(STOCK, &story.stock())), None);
        assert_eq!(Shard::lasting(&tagged(MONEY, &story.money())), None);
    }
}

#[test]
fn what_is_sent_to_books_that_are_elsewhere_is_malformed() {
    let mut shard = Shard::new(rules(), None);
    let before = shard.digest();
    for tag in [STOCK, MONEY] {
        let mut story = Story::new(1);
        let command = tagged(tag, &if tag == STOCK { story.stock() } else { story.money() });
        let outcome = books(shard.apply(LogTime(7), &command, &mut Records::new()));
        assert_eq!(
            (outcome.at, outcome.outcomes),
            (LogTime(7), vec![OutcomeCode::Malformed.into()])
        );
    }
    assert_eq!(shard.digest(), before);
}

#[test]
fn the_same_tables_in_the_other_books_are_another_state() {
    let [orders, one, other] = [1, 2, 3].map(StateHash);
    assert_ne!(whole(orders, Some((one, other))), whole(orders, Some((other, one))));
    assert_ne!(whole(orders, Some((one, orders))), whole(one, Some((orders, orders))));
    assert_eq!(whole(orders, None), orders);
}

#[test]
fn a_group_begins_with_its_books_or_without() {
    for shard in [joint(), Shard::new(rules(), None)] {
        let beginning = shard.beginning().unwrap();
        let begun = Shard::begin(&beginning).unwrap();
        assert!(begun.same_parts(&shard) && begun.digest() == shard.digest());
        assert_eq!(begun.beginning(), Some(beginning.clone()));
        let longer = [&beginning[..], &[0]].concat();
        assert!(Shard::begin(&longer).is_none(), "a tail");
        for cut in 0..beginning.len() {
            assert!(Shard::begin(&beginning[..cut]).is_none(), "cut at {cut}");
        }
        // A release that knows no books refuses rather than begins without them.
        assert_eq!(OrdersMachine::begin(&beginning).is_some(), !shard.keeps_books());
    }
    assert!(!joint().same_parts(&Shard::new(rules(), None)));
}

/// A shard that has lived for a while.
fn lived() -> Shard {
    let (mut shard, mut story) = (joint(), Story::new(3));
    let mut none = Records::new();
    for _ in 0..40 {
        let at = story.pass();
        shard.advance(at, &mut none);
        let orders = story.orders(orders_of(&shard));
        shard.apply(at, &orders, &mut none);
        shard.apply(at, &tagged(STOCK, &story.stock()), &mut none);
        shard.apply(at, &tagged(MONEY, &story.money()), &mut none);
    }
    shard
}

fn version(thawed: Result<impl Sized, ThawError>) -> Option<u32> {
    match thawed {
        Err(ThawError::Version(of)) => Some(of),
        _ => None,
    }
}

#[test]
fn a_state_of_another_format_is_refused_by_that() {
    let state = written(&lived());
    let format = |at: usize| u32::from_le_bytes(state[at..at + 4].try_into().unwrap());
    // An older release, or a node that is to keep no books: another format, not damage.
    assert_eq!(version(OrdersMachine::thaw(&mut &state[..])), Some(format(0)));
    assert_eq!(version(Inventory::thaw(&mut &state[..])), Some(format(0)));
    let shard = lived();
    let orders = 4 + written(orders_of(&shard)).len();
    let stock: &Inventory = shard.part().unwrap();
    let money = orders + written(stock).len();
    for at in [0, 4, orders, money] {
        let mut other = state.clone();
        other[at..at + 4].copy_from_slice(&99_u32.to_le_bytes());
        assert_eq!(version(Shard::thaw(&mut &other[..])), Some(99), "at {at}");
    }
}

#[test]
fn a_cut_and_a_flip_of_a_state_is_found_wherever_it_is() {
    let shard = lived();
    let (state, digest) = (written(&shard), shard.digest());
    assert_eq!(Shard::thaw(&mut &state[..]).unwrap().digest(), digest);
    for cut in (0..state.len()).step_by(31) {
        assert!(Shard::thaw(&mut &state[..cut]).is_err(), "cut at {cut}");
    }
    for at in (0..state.len()).step_by(13) {
        let mut other = state.clone();
        other[at] ^= 1 << (at % 8);
        // As a replica does before it takes a state: the digest is compared, and then the bytes.
        let read = inspect::machine::<Shard>(&mut &other[..]);
        assert!(read.is_err() || read.is_ok_and(|read| read.digest() != digest), "flip at {at}");
    }
    let longer = Bytes::from([&state[..], &[0]].concat());
    assert!(inspect::machine::<Shard>(&mut &longer[..]).is_err());
}

#[test]
fn each_part_knows_its_own_outcomes_only() {
    let mut shard = joint();
    let mut apply = |command: &[u8]| shard.apply(LogTime(7), command, &mut Records::new());
    let stock = tagged(STOCK, &Story::new(1).stock());
    assert!(<Shard as Holds<OrdersMachine>>::outcome(apply(&stock)).is_none());
    assert!(<Shard as Holds<Inventory>>::outcome(apply(&stock)).is_some());
    assert!(<Shard as Holds<Payments>>::outcome(apply(&stock)).is_none());
    let money = tagged(MONEY, &Story::new(1).money());
    assert!(<Shard as Holds<Inventory>>::outcome(apply(&money)).is_none());
    assert!(<Shard as Holds<Payments>>::outcome(apply(&money)).is_some());
    assert!(<Shard as Holds<Payments>>::outcome(apply(b"none")).is_none());
    let refused = <Shard as Holds<OrdersMachine>>::outcome(apply(b"none"));
    assert!(matches!(refused, Some(OrdersOutcome::Refused(_))));
}
